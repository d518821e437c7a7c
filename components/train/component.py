"""Component train. Made from `llm/steps/bodies/train.py` by `make reference`."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Metrics, Model, Output

from components import images


@dsl.component(base_image=images.TRAIN, install_kfp_package=False)
def train(
    config: str,
    shards: Input[Artifact],
    vocabulary: Input[Artifact],
    checkpoint: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Train the model.

    Args:
        config: The run's resolved configuration, one YAML document.
        shards: Manifest of the token shards.
        vocabulary: Manifest of the tokenizer.
        checkpoint: Manifest of the checkpoint, written here.
        metrics: The manifest's figures.
    """
    from llm.steps import figures, run_component

    manifest = run_component("train", config, {"tokenize": shards.path, "tokenizer": vocabulary.path}, checkpoint.path)
    for name, value in figures(manifest).items():
        metrics.log_metric(name, value)
