"""Component reuse: the search for products before the first step."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.TRAIN, install_kfp_package=False)
def reuse(
    config: str,
    pipeline: str,
) -> int:
    """Do a run whose products are all in the store.

    Args:
        config: The run's resolved configuration, one YAML document.
        pipeline: Name of the pipeline.

    Returns:
        1 if the steps of the run must begin, 0 if it is done.
    """
    from llm.steps import reuse_component

    return reuse_component(config, pipeline)
