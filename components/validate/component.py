"""Component validate. Made from `llm/steps/bodies/validate.py` by `make reference`."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.DATA, install_kfp_package=False)
def validate(
    config: str,
    corpus: Input[Artifact],
    verdict: Output[Artifact],
) -> None:
    """Judge a corpus by its expectation suite.

    Args:
        config: The run's resolved configuration, one YAML document.
        corpus: Manifest of the corpus.
        verdict: Manifest of the validation, written here.
    """
    from llm.steps import run_component

    run_component("validate", config, {"ingest": corpus.path}, verdict.path)
