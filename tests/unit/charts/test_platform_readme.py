"""The generated tables of the platform chart's README: accounts from the rendered Roles, values from values.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from tests.helm_case import Helm, comments

OF_PODS = {
    "pipeline": "the steps of a run of Kubeflow Pipelines (`cluster.service_account`)",
    "train": "a training step that runs alone, as a launcher",
    "data": "other steps that run alone",
    "trainer": "the pods of a training",
}
RULE = re.compile(
    r"^  # (?P<why>.+)\n  - apiGroups: \[(?P<group>.*)\]\n    resources: \[(?P<resources>.*)\]\n"
    r"(?:    resourceNames: \[\"?(?P<names>.*?)\"?\]\n)?    verbs: \[(?P<verbs>.*)\]$",
    re.MULTILINE,
)


def accounts(rendered: str) -> Iterator[str]:
    """A row for each rule of each account, with the comment above the rule as the reason."""
    yield "| account | of | may | why |"
    yield "| --- | --- | --- | --- |"
    roles = [part for part in rendered.split("\n---\n") if "\nkind: Role\n" in part]
    for account, pods in OF_PODS.items():
        (role,) = [part for part in roles if f"  name: gristmill-{account}\n" in part] or [""]
        rules = list(RULE.finditer(role))
        assert len(rules) == role.count("- apiGroups"), "each rule has its reason in one line above it"
        if not rules:
            yield f"| `RELEASE-{account}` | {pods} | nothing | it asks the API nothing, and has no token to ask with |"
        for index, rule in enumerate(rules):
            who = [f"`RELEASE-{account}`", pods] if index == 0 else ["", ""]
            named = f" `{rule['names']}`" if rule["names"] else ""
            may = f"{rule['verbs']} {rule['resources']}{named}"
            yield f"| {' | '.join(who)} | {may} | {rule['why']} |"


def values(text: str) -> Iterator[str]:
    """A row for each key."""
    yield "| key | value | meaning |"
    yield "| --- | --- | --- |"
    document = yaml.safe_load(text)
    for key, said in comments(text).items():
        value = document
        for part in key.split("."):
            value = value[part]
        yield f"| `{key}` | `{json.dumps(value)}` | {said} |"


@pytest.mark.parametrize("table", ["accounts", "values"])
def test_the_tables_of_the_readme_are_fresh(table, request):
    helm = Helm("gristmill-platform")
    readme = helm.chart / "README.md"
    rows = accounts(helm.template()) if table == "accounts" else values((helm.chart / "values.yaml").read_text())
    begin, end = f"<!-- {table} -->\n", f"<!-- /{table} -->"
    before, _, rest = readme.read_text().partition(begin)
    fresh = before + begin + "\n".join(rows) + "\n" + end + rest.partition(end)[2]
    if request.config.getoption("--update-goldens"):
        readme.write_text(fresh)
    assert readme.read_text() == fresh, f"the table {table} is stale: make golden"
