"""A callback that goes wrong, for tests of what is made of it."""

from __future__ import annotations

from typing import Any

from llm.config.sections.training import CallbackConfig
from llm.training.callbacks import Callback, StepDone
from llm.training.trainer import Trainer


class Faulty(CallbackConfig):
    """Goes wrong on one rank after a step."""

    rank: int
    after_step: int = 5
    ours: bool = False
    """Whether it makes code of Gristmill fail, in the step after it, as a bug of ours would."""

    def build(self) -> Callback:
        return _Raises(self)


class _Raises(Callback):
    def __init__(self, config: Faulty) -> None:
        self._config = config

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        if (trainer.rank, done.number) == (self._config.rank, self._config.after_step):
            if not self._config.ours:
                raise ValueError(f"boom on rank {trainer.rank}")
            trainer.loader = f"boom on rank {trainer.rank}"  # type: ignore[assignment]


class Counting(CallbackConfig):
    """Counts the steps of the whole training, over all its attempts, into a file."""

    file: str

    def build(self) -> Callback:
        return _Counts(self.file)


class _Counts(Callback):
    def __init__(self, file: str) -> None:
        self._file, self._steps = file, 0

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        self._steps += 1
        if done.is_last and trainer.rank == 0:
            with open(self._file, "w") as file:
                file.write(str(self._steps))

    def state(self) -> dict[str, Any]:
        return {"steps": self._steps}

    def load(self, state: dict[str, Any]) -> None:
        self._steps = state["steps"]
