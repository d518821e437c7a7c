"""Component tokenize. Made from `llm/steps/bodies/tokenize.py` by `make reference`."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from components import images


@dsl.component(base_image=images.DATA, install_kfp_package=False)
def tokenize(
    config: str,
    corpus: Input[Artifact],
    vocabulary: Input[Artifact],
    shards: Output[Dataset],
    metrics: Output[Metrics],
) -> None:
    """Cut a validated corpus into token shards.

    Args:
        config: The run's resolved configuration, one YAML document.
        corpus: Manifest of the corpus.
        vocabulary: Manifest of the tokenizer.
        shards: Manifest of the token shards, written here.
        metrics: The manifest's figures.
    """
    from llm.steps import figures, run_component

    manifest = run_component("tokenize", config, {"ingest": corpus.path, "tokenizer": vocabulary.path}, shards.path)
    for name, value in figures(manifest).items():
        metrics.log_metric(name, value)
