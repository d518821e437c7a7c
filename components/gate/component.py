"""Component gate. Made from `llm/steps/bodies/gate.py` by `make reference`."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.TRAIN, install_kfp_package=False)
def gate(
    config: str,
    scores: Input[Artifact],
    corpus: Input[Artifact],
    judgement: Output[Artifact],
) -> int:
    """Compare a checkpoint's scores with the champion's.

    Args:
        config: The run's resolved configuration, one YAML document.
        scores: Manifest of the evaluation.
        corpus: Manifest of the corpus.
        judgement: Manifest of the gate's judgement, written here.

    Returns:
        1 if the verdict is PASS, else 0.
    """
    from llm.steps import run_component
    from llm.storage.products import GateCounts

    manifest = run_component("gate", config, {"evaluate": scores.path, "ingest": corpus.path}, judgement.path)
    return int(GateCounts.of(manifest).passed)
