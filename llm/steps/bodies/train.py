"""The step train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.config import RunConfig
    from llm.storage import Manifest
    from llm.training.train import Elsewhere


def body(context: Context, given: Given) -> Manifest:
    """It goes on from the last complete checkpoint, if there is one; stages come one after the other."""
    from llm.config.derived.stages import stages_of
    from llm.runs.event_kinds import Progress

    stages = stages_of(context.config)
    made: Manifest | None = None
    for number, config in enumerate(stages, start=1):
        if len(stages) > 1:
            shape = f"{config.model.num_hidden_layers} layers, sequences of {config.training.batch.sequence_length}"
            context.log.emit(Progress(step="train", message=f"stage {number} of {len(stages)}: {shape} tokens"))
        made = _trained(context, given, config, made, None if number == len(stages) else number)
    assert made is not None
    return made


def _trained(
    context: Context, given: Given, config: RunConfig, before: Manifest | None, number: int | None
) -> Manifest:
    """The checkpoint of a stage that starts from the one before it; `number` is None for the last."""
    from llm.tracking.live import LiveDelivery
    from llm.training.train import train, training_recipe

    training, start = config.training, None
    text = training.start_from if before is None else before.id
    if text is not None:
        from llm.adoption.start import starting_checkpoint

        grows = training.grow or before is not None
        start = starting_checkpoint(text, config.model, given["tokenizer"], context.store, context.log, grows=grows)
        training = training.model_copy(update={"start_from": text})
    of_all = (config.model, training, given["tokenize"], given["tokenizer"])
    if number is not None and not config.run.retrain:  # a dry run must come to the last one
        done = context.store.find(training_recipe(*of_all, start))
        if done is not None:
            return done
    with LiveDelivery(context.folder, config.tracking):
        return train(
            *of_all, context.store, context.log, retrain=config.run.retrain,
            elsewhere=_on_a_pool(context, config, number), start=start,
        )  # fmt: skip


def _on_a_pool(context: Context, config: RunConfig, stage: int | None) -> Elsewhere | None:
    """A function that takes the training to the pool that the configuration names; None: it is done here."""
    if config.training.pool is None:
        return None
    from llm.cluster.trainjobs.run_trainjob import train_job

    return train_job(context.folder.name, config, context.log, stage)


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
