"""Component evaluate. Made from `llm/steps/bodies/evaluate.py` by `make reference`."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Metrics, Output

from components import images


@dsl.component(base_image=images.TRAIN, install_kfp_package=False)
def evaluate(
    config: str,
    checkpoint: Input[Artifact],
    vocabulary: Input[Artifact],
    corpus: Input[Artifact],
    scores: Output[Artifact],
    metrics: Output[Metrics],
) -> None:
    """Score a checkpoint on the test split.

    Args:
        config: The run's resolved configuration, one YAML document.
        checkpoint: Manifest of the checkpoint.
        vocabulary: Manifest of the tokenizer.
        corpus: Manifest of the corpus.
        scores: Manifest of the evaluation, written here.
        metrics: The manifest's figures.
    """
    from llm.steps import figures, run_component

    manifest = run_component(
        "evaluate", config, {"train": checkpoint.path, "tokenizer": vocabulary.path, "ingest": corpus.path}, scores.path
    )
    for name, value in figures(manifest).items():
        metrics.log_metric(name, value)
