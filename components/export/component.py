"""Component export. Made from `llm/steps/bodies/export.py` by `make reference`."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from components import images


@dsl.component(base_image=images.EXPORT, install_kfp_package=False)
def export(
    config: str,
    checkpoint: Input[Artifact],
    vocabulary: Input[Artifact],
    corpus: Input[Artifact],
    model: Output[Model],
) -> None:
    """Export a checkpoint to Hugging Face and ONNX.

    Args:
        config: The run's resolved configuration, one YAML document.
        checkpoint: Manifest of the checkpoint.
        vocabulary: Manifest of the tokenizer.
        corpus: Manifest of the corpus.
        model: Manifest of the exported model, written here.
    """
    from llm.steps import run_component

    run_component(
        "export", config, {"train": checkpoint.path, "tokenizer": vocabulary.path, "ingest": corpus.path}, model.path
    )
