"""Component deploy. Made from `llm/steps/bodies/deploy.py` by `make reference`."""

from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

from components import images


@dsl.component(base_image=images.EXPORT, install_kfp_package=False)
def deploy(
    config: str,
    registration: Input[Artifact],
    model: Input[Artifact],
    repository: Output[Model],
) -> None:
    """Build the Triton model repository of a registered version.

    Args:
        config: The run's resolved configuration, one YAML document.
        registration: Manifest that names the model version.
        model: Manifest of the exported model.
        repository: Manifest of the Triton model repository, written here.
    """
    from llm.steps import run_component

    run_component("deploy", config, {"register": registration.path, "export": model.path}, repository.path)
