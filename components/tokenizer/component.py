"""Component tokenizer. Made from `llm/steps/bodies/tokenizer.py` by `make reference`."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Metrics, Output

from components import images


@dsl.component(base_image=images.DATA, install_kfp_package=False)
def tokenizer(
    config: str,
    corpus: Input[Artifact],
    vocabulary: Output[Artifact],
    metrics: Output[Metrics],
) -> None:
    """Train the tokenizer on a corpus.

    Args:
        config: The run's resolved configuration, one YAML document.
        corpus: Manifest of the corpus.
        vocabulary: Manifest of the tokenizer, written here.
        metrics: The manifest's figures.
    """
    from llm.steps import figures, run_component

    manifest = run_component("tokenizer", config, {"ingest": corpus.path}, vocabulary.path)
    for name, value in figures(manifest).items():
        metrics.log_metric(name, value)
