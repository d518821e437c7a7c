"""The memory of a device against the estimate: what does not fit is refused, and what `auto` stands for is found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.config import RunConfig, check_across_sections
from llm.config.quantity import size_bytes
from llm.errors import UserError
from llm.process.memory import usable_bytes
from llm.training.estimate.memory import RankMemory, fullest_rank
from llm.words import size

MICRO_BATCH, RECOMPUTE = "training.batch.micro_batch_size", "training.compute.recompute"
PARALLEL = "training.parallel"
RECOMPUTATIONS = (("none", 1), ("operations", 1), ("layers", 2), ("layers", 1))
"""How, and every which layer: those that cost the least time come first."""
DRIVER = Path("/proc/driver/nvidia/gpus")
"""A folder for each GPU, where there is one: reading a configuration must not import torch."""
Settings = dict[str, Any]
"""Values by their keys, as on a command line."""


@dataclass(frozen=True)
class Room:
    """The memory that a rank's tensors may take."""

    limit_bytes: float
    words: str
    """Where it is from."""


def memory_of(config: RunConfig, here: bool = True) -> RankMemory:
    """That of the fullest rank; the larger one where a pool may have GPUs or not. `here` as in `may_autocast`."""
    found = [
        fullest_rank(config.model, config.training, config.tokenizer.vocab_size, autocasts=autocasts)
        for autocasts in may_autocast(config, here)
    ]
    return max(found, key=lambda one: one.peak)


def may_autocast(config: RunConfig, here: bool) -> tuple[bool, ...]:
    """Whether the ranks compute on GPUs, which autocast: both where a pool has what nobody can know.

    `here`: the steps run on this machine, else in pods.
    """
    device = config.training.compute.device
    if device != "auto" or config.plan.device is not None:
        return (device != "cpu",)
    if config.training.pool is not None:
        return (True, False)
    return (DRIVER.exists() if here else bool(config.pods.of("train").accelerators),)


def named_room(config: RunConfig) -> Room | None:
    """The memory of the device that `plan` names; None if it names none."""
    if (found := config.plan.memory_bytes) is None:
        return None
    name = f"plan.device={config.plan.device}" if config.plan.memory is None else f"plan.memory={config.plan.memory}"
    share = config.plan.memory_share
    return Room(found * share, f"{name} has {size(found)}; a training may take plan.memory_share={share:g} of it")


def check_memory(config: RunConfig) -> None:
    """Raise UserError if a rank needs more memory than the device that `plan` names has."""
    room = named_room(config)
    if room is None or (needed := memory_of(config).peak) <= room.limit_bytes:
        return
    raise UserError(
        f"a rank needs {size(needed)} of memory at its highest, and may take {size(room.limit_bytes)}", room.words,
        _remedy(config, room),
    )  # fmt: skip


def _remedy(config: RunConfig, room: Room) -> str:
    """The changes that are enough, one by one if there are such, else together, else with more nodes."""
    training = config.training
    single: list[Settings] = []
    if fitting := [one for one in _micro_batch_sizes(config) if one < training.batch.micro_batch_size]:
        sizes = [{MICRO_BATCH: one} for one in fitting]
        single.append(next((one for one in sizes if _fits(config, one, room)), sizes[-1]))
    if training.compute.recompute != "layers":
        single.append({RECOMPUTE: "layers"})
    backend = training.parallel.backend
    if backend.name != "fsdp":
        single.append({f"{PARALLEL}.backend": {"name": "fsdp"}})
    together: Settings = {key: value for one in single for key, value in one.items()}
    if getattr(backend, "zero_stage", 0) and getattr(backend, "offload", "") is None:
        single.append({f"{PARALLEL}.backend.offload": "cpu"})
    more = [{f"{PARALLEL}.nodes": training.parallel.nodes * factor} for factor in (2, 4, 8)]
    for changes in (single, [together], more, [together | one for one in more]):
        if found := [one for one in changes if _fits(config, one, room)]:
            return f"By this estimate it fits with {', or with '.join(map(_words, found))}."
    return (
        f"Share the model between more ranks ({PARALLEL}.backend.name=fsdp, and {PARALLEL}.tensor or pipeline), shorten"
        " the sequences, or plan for a device with more memory."
    )


def _words(settings: Settings) -> str:
    return " and ".join(
        f"{key}.name={value['name']}" if isinstance(value, dict) else f"{key}={value}"
        for key, value in settings.items()
    )


def _fits(config: RunConfig, settings: Settings, room: Room, here: bool = True) -> bool:
    try:
        return memory_of(with_settings(config, settings), here).peak <= room.limit_bytes
    except UserError:
        return False


def with_settings(config: RunConfig, settings: Settings) -> RunConfig:
    """Another configuration; raises UserError if it cannot work."""
    document = config.model_dump(mode="json")
    for key, value in settings.items():
        *sections, last = key.split(".")
        place = document
        for section in sections:
            place = place[section]
        place[last] = value
    found = RunConfig.model_validate(document)
    check_across_sections(found)
    return found


def _micro_batch_sizes(config: RunConfig) -> list[int]:
    """All that share a rank's part of the batch equally, the largest first."""
    batch = config.training.batch
    share = batch.tokens // batch.sequence_length // max(1, config.training.parallel.data_shares)
    return [number for number in range(share, 0, -1) if share % number == 0]


def largest_micro_batch(config: RunConfig, here: bool) -> Settings:
    """The largest micro-batch that fits, of those that share the batch equally and that the other rules allow.

    `here`: the training is on this machine, else in a step's pod or on a pool. Raises UserError if the memory is not
    known, or if not even one sequence fits; and that of the configuration with one sequence, if it cannot work.
    """
    choices = [{MICRO_BATCH: number} for number in _micro_batch_sizes(config) or [1]]
    return _first_that_fits(config, here, MICRO_BATCH, "with one sequence", choices)


def least_recompute(config: RunConfig, here: bool) -> Settings:
    """The recomputation that costs the least time of those with which the training fits. Raises as the other one."""
    choices = [{RECOMPUTE: how, f"{RECOMPUTE}_every": every} for how, every in RECOMPUTATIONS]
    return _first_that_fits(config, here, RECOMPUTE, "with all layers computed again", choices)


def _first_that_fits(config: RunConfig, here: bool, key: str, at_least: str, choices: list[Settings]) -> Settings:
    smallest = with_settings(config, choices[-1])
    room = named_room(config) or _room_of_processors(config, here, key)
    for settings in choices:
        if _fits(config, settings, room, here):
            return settings
    raise UserError(
        f"{key}=auto: {at_least} a rank needs {size(memory_of(smallest, here).peak)} of memory,"
        f" and may take {size(room.limit_bytes)}",
        room.words,
        "`gristmill plan` with a value in its place says what would fit.",
    )


def _room_of_processors(config: RunConfig, here: bool, key: str) -> Room:
    training, share = config.training, config.plan.memory_share
    if training.pool is not None or True in may_autocast(config, here):
        raise UserError(
            f"{key}=auto: the memory of the device is not known",
            "Name it with plan.device=h100 or its like (docs/training.md has the table), or with plan.memory=80Gi.",
        )
    ranks = training.parallel.processes
    if here:
        whole, words = usable_bytes(), "this machine has"
    else:
        limit = config.pods.of("train").memory_limit
        if limit is None:
            raise UserError(
                f"{key}=auto: the pod of the step train has no limit of memory",
                "Set pods.steps.train.memory_limit, or plan.memory for each rank.",
            )
        whole, words = size_bytes(limit), f"pods give the step train {limit},"
    return Room(
        whole * share / ranks,
        f"{words} {size(whole)} for {ranks} ranks; they may take plan.memory_share={share:g} of it",
    )
