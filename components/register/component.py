"""Component register. Made from `llm/steps/bodies/register.py` by `make reference`."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.REGISTRY, install_kfp_package=False)
def register(
    config: str,
    corpus: Input[Artifact],
    verdict: Input[Artifact],
    vocabulary: Input[Artifact],
    shards: Input[Artifact],
    checkpoint: Input[Artifact],
    scores: Input[Artifact],
    judgement: Input[Artifact],
    model: Input[Artifact],
    registration: Output[Artifact],
) -> None:
    """Put a model with its lineage into MLflow's registry.

    Args:
        config: The run's resolved configuration, one YAML document.
        corpus: Manifest of the corpus.
        verdict: Manifest of the validation.
        vocabulary: Manifest of the tokenizer.
        shards: Manifest of the token shards.
        checkpoint: Manifest of the checkpoint.
        scores: Manifest of the evaluation.
        judgement: Manifest of the gate's judgement.
        model: Manifest of the exported model.
        registration: Manifest that names the model version, written here.
    """
    from llm.steps import run_component

    run_component(
        "register",
        config,
        {
            "ingest": corpus.path,
            "validate": verdict.path,
            "tokenizer": vocabulary.path,
            "tokenize": shards.path,
            "train": checkpoint.path,
            "evaluate": scores.path,
            "gate": judgement.path,
            "export": model.path,
        },
        registration.path,
    )
