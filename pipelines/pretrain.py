"""Pretraining: raw text to a served model.

    ingest ─ validate ─ tokenizer ─ tokenize ─ train ─ evaluate ─ gate ─ export ─ register ─┬─ promote ─ deploy
                                                                                            └─ (only on PASS)

A step names this pipeline in its own module (`llm.steps.bodies`); its place follows from its inputs.
"""

from kfp import dsl

from llm.steps import steps_of
from pipelines.wiring import reported, unless_reused, wire


@dsl.pipeline(name="pretrain", description="Raw text to a served model, every seam checked.")
def pretrain(config: str) -> None:
    """Compose the components; `config` is the run's resolved configuration, one YAML document."""
    with reported(config), unless_reused("pretrain", config):
        wire(steps_of("pretrain"), config)
