"""Component ingest. Made from `llm/steps/bodies/ingest.py` by `make reference`."""

from kfp import dsl
from kfp.dsl import Dataset, Metrics, Output

from components import images


@dsl.component(base_image=images.DATA, install_kfp_package=False)
def ingest(
    config: str,
    corpus: Output[Dataset],
    metrics: Output[Metrics],
) -> None:
    """Read the text into a corpus.

    Args:
        config: The run's resolved configuration, one YAML document.
        corpus: Manifest of the corpus, written here.
        metrics: The manifest's figures.
    """
    from llm.steps import figures, run_component

    manifest = run_component("ingest", config, {}, corpus.path)
    for name, value in figures(manifest).items():
        metrics.log_metric(name, value)
