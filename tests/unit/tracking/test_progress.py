from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

from llm.runs.event_kinds import (
    Admitted,
    CheckpointSaved,
    Event,
    Evicted,
    Progress,
    Queued,
    StartsFrom,
    StepFailed,
    StepFinished,
    StepStarted,
    TrainJobBegun,
    TrainPlan,
    TrainResumed,
    TrainStep,
    TrainValidation,
    UnknownEvent,
    Warned,
)
from llm.runs.events import EventLog
from llm.tracking.progress import (
    Follower,
    Screen,
    lasting_line,
    live_line,
    progress_figures,
    training_figures,
)

TRAIN_STEP = TrainStep(
    time=10.0, step=300, steps=2000, loss=2.9141, tokens_per_second=41_230.0, mfu=0.381, memory_bytes=3 * 2**29,
    seconds_left=200.4,
)  # fmt: skip


class GoneTerminal(io.StringIO):
    """A terminal after its connection was lost."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_terminal_that_has_gone_does_not_end_the_one_who_writes():
    screen = Screen(GoneTerminal())
    screen.show(StepStarted(time=0.0, step="train"))
    screen.show(StepFinished(time=3.0, step="train", seconds=3.0))
    screen.close()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_training_step_is_told_with_units():
    assert training_figures(TRAIN_STEP) == (
        "step 300/2,000  loss 2.914 nats/token  41.2k tokens/s  MFU 38 %  1.5 GiB  3 min 20 s left"
    )


def test_what_is_not_known_is_left_out_or_not_a_number():
    bare = TrainStep(step=1, steps=2, loss=3.0)
    assert training_figures(bare) == "step 1/2  loss 3.000 nats/token  n/a tokens/s  n/a left"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (StepFinished(step="ingest", seconds=3.21, reused=False), "ingest     done in 3.2 s"),
        (StepFinished(step="ingest", reused=True, name="corpus/a@1"), "ingest     reused (corpus/a@1)"),
        (StepFinished(step="train", seconds=0.1, reused=True), "train      reused"),
        (StepFailed(step="train", seconds=12.0, message="no\n why"), "train      failed after 12 s: no"),
        (
            StepFailed(step="train", exit_code=75, seconds=43.0, message="stopped on request at step 101 of 200"),
            "train      stopped after 43 s: stopped on request at step 101 of 200",
        ),
        (Warned(message="careful"), "warning: careful"),
        (TrainJobBegun(namespace="ml", name="x", how="adopted"), "train      TrainJob ml/x adopted"),
        (Queued(queue="a"), "train      waits in queue a"),
        (Queued(queue="a", why="no room", place=2, again=True), "train      waits again in queue a, place 2: no room"),
        (
            Admitted(queue="a", cluster_queue="all", seconds=180),
            "train      admitted by queue a (ClusterQueue all) after 3 min",
        ),
        (Evicted(queue="a", reason="Preempted", message="for x"), "train      preempted in queue a: for x"),
        (
            Evicted(queue="a", reason="Preempted", message="for x; preemptor path: /b", by="ClusterQueue b"),
            "train      preempted in queue a by ClusterQueue b: for x",
        ),
        (
            Evicted(queue="a", reason="PodsReadyTimeout", message="not ready"),
            "train      stopped by queue a (PodsReadyTimeout): not ready",
        ),
        (TrainResumed(step=1200), "train      goes on from the checkpoint at step 1,200"),
        (
            StartsFrom(checkpoint="3f9a", kept=600, of_parts=0, of_all=0),
            "train      starts from checkpoint 3f9a: 600 rows of the vocabulary",
        ),
        (
            StartsFrom(checkpoint="3f9a", kept=600, of_parts=4, of_all=1),
            "train      starts from checkpoint 3f9a: 600 rows of the vocabulary, 4 of their parts, 1 of all",
        ),
        (TrainValidation(step=50, loss=2.0), "train      step 50  validation loss 2.000 nats/token"),
        (
            TrainPlan(steps=2000, tokens_per_step=8192, parameters=4_214_016, world_size=2, backend="torch"),
            "train      4.21M parameters, 2,000 steps of 8,192 tokens on 2 ranks, torch",
        ),
        (CheckpointSaved(step=50, seconds=0.3), None),
        (UnknownEvent(kind="of_a_later_version"), None),
    ],
)
def test_some_events_leave_a_line(event: Event, line: str | None):
    assert lasting_line(event) == line


def test_a_step_without_news_shows_how_long_it_has_run():
    assert live_line(StepStarted(step="gate", time=100.0), None, 112.0) == "gate       12 s"


def test_progress_shows_its_share():
    assert (
        progress_figures(Progress(step="evaluate", message="tokens scored", done=5, total=20)) == "tokens scored  25 %"
    )
    assert progress_figures(Progress(step="train", message="measuring")) == "measuring"


def test_a_terminal_has_one_line_redrawn():
    terminal = Terminal()
    screen = Screen(terminal)
    screen.show(StepStarted(time=0.0, step="train"))
    screen.show(TRAIN_STEP)
    screen.tick(1.0)
    screen.tick(2.0)
    screen.show(StepFinished(time=3.0, step="train", seconds=3.0, reused=False))
    screen.close()
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().count("\r\x1b[2Ktrain      step 300") == 2


def test_without_a_terminal_there_is_a_line_every_thirty_seconds_and_no_escape():
    stream = io.StringIO()
    screen = Screen(stream)
    screen.show(StepStarted(time=0.0, step="train"))
    screen.show(TRAIN_STEP)
    for now in range(0, 95, 5):
        screen.tick(float(now))
    assert stream.getvalue().count("step 300") == 3
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_the_follower_shows_what_came_after_it_and_nothing_from_before(tmp_path: Path):
    log, stream = EventLog(tmp_path / "events.jsonl"), io.StringIO()
    log.emit(Warned(message="of an earlier attempt"))
    with Follower(log.path, stream):
        log.emit(Warned(message="of this one"))
    assert stream.getvalue() == "warning: of this one\n"


def test_a_reader_that_went_away_does_not_end_the_run():
    stream = io.StringIO()
    screen = Screen(stream)
    stream.close()
    screen.show(Warned(message="lost"))
