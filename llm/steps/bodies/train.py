"""The step train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.storage import Manifest
    from llm.training.train import Elsewhere


def body(context: Context, given: Given) -> Manifest:
    """It goes on from the last complete checkpoint, if there is one."""
    from llm.tracking.live import LiveDelivery
    from llm.training.train import train

    with LiveDelivery(context.folder, context.config.tracking):
        return train(
            context.config.model,
            context.config.training,
            given["tokenize"],
            given["tokenizer"],
            context.store,
            context.log,
            retrain=context.config.run.retrain,
            elsewhere=_on_a_pool(context),
        )


def _on_a_pool(context: Context) -> Elsewhere | None:
    """A function that takes the training to the pool that the configuration names; None: it is done here."""
    if context.config.training.pool is None:
        return None
    from llm.cluster.trainjobs.run_trainjob import train_job

    return train_job(context.folder.name, context.config, context.log)


STEP = Step(
    name="train",
    reads=("tokenize", "tokenizer"),
    body=body,
    purpose="Train the model.",
    makes=Product("checkpoint", "of the checkpoint", "Model"),
    sections=("model", "training"),
    image="train",
    shows_figures=True,
)
