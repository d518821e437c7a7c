"""Component promote. Made from `llm/steps/bodies/promote.py` by `make reference`."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Output

from components import images


@dsl.component(base_image=images.REGISTRY, install_kfp_package=False)
def promote(
    config: str,
    registration: Input[Artifact],
    judgement: Input[Artifact],
    promotion: Output[Artifact],
) -> None:
    """Make a registered version the champion.

    Args:
        config: The run's resolved configuration, one YAML document.
        registration: Manifest that names the model version.
        judgement: Manifest of the gate's judgement.
        promotion: Manifest that names the promoted version, written here.
    """
    from llm.steps import run_component

    run_component("promote", config, {"register": registration.path, "gate": judgement.path}, promotion.path)
