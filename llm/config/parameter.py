"""A configuration as the parameter of a pipeline: one line of JSON, which is YAML too, that nobody on the way changes.

A parameter passes through several programs that replace text: Kubeflow Pipelines and Argo replace `{{…}}`, Kubernetes
replaces `$(NAME)` and `$$` in a container's arguments, and KFP's local runner replaces the path of its workspace. So
none of these texts is in it: JSON writes any character of a string as `\\uXXXX`, and every parser undoes that.
Law: `from_yaml(to_parameter(c)) == c`.
"""

from __future__ import annotations

import json
import re

from llm.config.sections import RunConfig

REPLACED = re.compile(r"\{(?=\{)|\$|/(?=kfp-workspace)|[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that begin a text which somebody replaces, and those that YAML does not take as they are."""


def to_parameter(config: RunConfig) -> str:
    """The whole configuration on one line: KFP's compiler (2.17) repeats it in a comment, which ends with the line."""
    document = json.dumps(config.model_dump(mode="json"), ensure_ascii=False)
    return REPLACED.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
