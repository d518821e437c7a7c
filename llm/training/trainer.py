"""The training loop of one rank.

Everything that decides the result follows from the plan and the number of the step (the batch, the learning rate)
or is in the checkpoint (weights, optimizer state, the state of callbacks), so a training that continues from a
checkpoint is the same training, bit for bit. Callbacks do all that happens after a step.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from llm.data.shards import TokenShards
from llm.data.shards.loader import Loader
from llm.errors import Preempted
from llm.process.signals import while_signals
from llm.runs.event_kinds import Warned
from llm.runs.events import EventLog
from llm.training.backend import Backend
from llm.training.begun import Begun
from llm.training.callbacks import StepDone
from llm.training.callbacks._all import added, in_order
from llm.training.callbacks._validate import Validate
from llm.training.checkpoint.history import History
from llm.training.checkpoint.saver import Saver
from llm.training.guards.budget import Budget
from llm.training.guards.rollback import batch_of
from llm.training.guards.spikes import Spikes
from llm.training.plan import TrainingPlan
from llm.training.rank.device import device_of, unused_gpu
from llm.training.rank.first_rows import first_rows
from llm.training.rank.mesh import Mesh
from llm.training.rank.meters import Wait
from llm.training.rank.task import Task
from llm.training.resume import resume
from llm.training.schedule import learning_rate


class Trainer:
    """One rank of a training; all ranks run the same code at the same time."""

    def __init__(self, plan: TrainingPlan, folder: Path, began: float | None = None) -> None:
        """`began`: when this process did, by `time.monotonic`; None: now."""
        self.plan, self.scratch, self.config = plan, folder, plan.training
        self.workspace = plan.objects
        self.device, self.mesh = device_of(self.config.compute.device), Mesh.here(self.config.parallel)
        self.rank, self.world = self.mesh.rank, self.mesh.ranks
        self.log = EventLog(plan.events)
        self.history = History()
        """The first rank's."""
        self.rolled_back: list[dict[str, int]] = []
        """The lines of the history about rollbacks, on all ranks."""
        self.saver = Saver()
        self.data_wait, self.checkpoint_wait = Wait(), Wait()
        self.budget = Budget(self.config.budget, self.world, began)
        self.is_stopping = False
        """Whether this rank was asked to stop."""
        self._warnings = [unused_gpu(self.config.compute.device), self.device.use(self.config.compute.precision)]
        if self.config.compute.deterministic:
            self.device.be_deterministic()
        batch = self.config.batch
        self.shards = TokenShards.open(plan.shards)
        tokens, sequences = self.shards.tokens("train"), batch.tokens // batch.sequence_length
        self.loader = Loader(tokens, batch.sequence_length, sequences, self.config.seed, batch.sequences_before)
        with first_rows(plan.start) as rows:
            self.task = Task(plan.model, plan.vocab_size, plan.end_of_text, self.config, self.device, rows)
            self.backend: Backend = self.config.parallel.backend.build(self.task, self.mesh, self.config)
        self.model = self.task.model
        self._drops = plan.model.attention_dropout > 0 or plan.model.residual_dropout > 0
        self.validate = Validate(self, self.shards)
        self.added = added(self.config.callbacks)
        """The callbacks that the configuration names."""
        guards = self.config.guards
        self.spikes = None if guards.spike_deviations is None else Spikes(guards)
        self.callbacks = in_order(self)

    def train(self, steps: int) -> None:
        """Go from the newest checkpoint, or the beginning, to the last step; a checkpoint is there at the end.

        Raises Preempted after a checkpoint when a stop was asked for, UserError when the loss is no number or the
        disk is full, and BeginsAgain when another trainer shall go on from an earlier checkpoint.
        """
        for warning in filter(None, self._warnings if self.mesh.is_first else ()):
            self.log.emit(Warned(message=warning))
        with while_signals(self.request_stop):
            first = resume(self, steps)
            for callback in self.callbacks:
                callback.started(self, first, steps)
            try:
                begun: Begun | None = None
                for number in range(first, steps):
                    begun = self._next(number, steps, begun)
            finally:
                self._leave()

    def _leave(self) -> None:
        """Wait for what is being saved."""
        try:
            self.saver.wait()
        finally:
            for callback in self.callbacks:
                callback.left(self)

    def _next(self, number: int, steps: int, before: Begun | None) -> Begun | None:
        """Begin a step, and end the one before it; returns the step if its numbers can wait for the next one."""
        begun = self.begin(number, steps)
        is_stopping = before is not None and self._end(before.done(), is_late=True)
        done = number + 1
        is_needed = done == steps or any(callback.needs_state(self, done) for callback in self.callbacks)
        if self.device.runs_ahead and not is_stopping and not is_needed:
            return begun
        if self._end(begun.done()) and done < steps:
            raise Preempted(f"stopped on request at step {done} of {steps}", "Run the same command to go on.")
        return None

    def _end(self, done: StepDone, *, is_late: bool = False) -> bool:
        """Let the callbacks know; returns whether the training stops.

        When a stop is learned late, the next step has begun: it is the one that is saved.
        """
        told = replace(done, stop_requested=False) if is_late else done
        for callback in self.callbacks:
            callback.step_ended(self, told)
        return done.stop_requested

    def step(self, number: int, steps: int) -> StepDone:
        """Do the optimizer step of this number (from 0); raises UserError on all ranks when it diverges."""
        return self.begin(number, steps).done()

    def begin(self, number: int, steps: int) -> Begun:
        """Queue the step of this number; a device that does not run ahead has done it then."""
        with self.data_wait:
            arrays = self.loader.batch(self.batch_of(number), self.mesh.share, self.mesh.shares)
            inputs_BT, targets_BT = (self.device.here(torch.from_numpy(array)) for array in arrays)
        if self._drops:  # of the step, so that a resumed training drops the same; ranks drop by themselves
            self.device.seed((self.config.seed * 1_000_003 + number) * 65_537 + self.rank)
        size = self.config.batch.micro_batch_size
        batches = list(zip(torch.split(inputs_BT, size), torch.split(targets_BT, size), strict=True))
        begun = Begun(self, number, steps, learning_rate(self.config.schedule, self.config.optimizer.lr, number, steps))
        return begun.queued(self.backend.step(batches, begun.lr, **begun.asked))

    def batch_of(self, number: int) -> int:
        """Number of the batch of a step (both from 0): another one after a rollback from spikes."""
        return batch_of(number, self.rolled_back)

    def request_stop(self, number: int) -> None:
        """Leave after the step that runs, with a checkpoint."""
        self.is_stopping = True
