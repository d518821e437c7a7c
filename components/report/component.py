"""Component report: the exit handler."""

from kfp import dsl
from kfp.dsl import HTML, Output

from components import images


@dsl.component(base_image=images.REGISTRY, install_kfp_package=False)
def report(
    config: str,
    page: Output[HTML],
) -> None:
    """Write the run's report, whatever happened.

    Args:
        config: The run's resolved configuration, one YAML document.
        page: The report, one self-contained page.
    """
    from llm.steps import report_component

    report_component(config, page.path)
