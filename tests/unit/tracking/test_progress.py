from __future__ import annotations

import io
from pathlib import Path

import pytest

from llm.runs.events import EventLog
from llm.tracking.progress import (
    Follower,
    Screen,
    lasting_line,
    live_line,
    progress_figures,
    training_figures,
)

TRAIN_STEP = {
    "time": 10.0, "kind": "train_step", "step": 300, "steps": 2000, "loss": 2.9141, "tokens_per_second": 41_230.0,
    "mfu": 0.381, "memory_bytes": 1.5 * 2**30, "seconds_left": 200.4,
}  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_training_step_is_told_with_units():
    assert training_figures(TRAIN_STEP) == (
        "step 300/2,000  loss 2.914 nats/token  41.2k tokens/s  MFU 38 %  1.5 GiB  3 min 20 s left"
    )


def test_what_is_not_known_is_left_out_or_not_a_number():
    bare = {"step": 1, "steps": 2, "loss": 3.0}
    assert training_figures(bare) == "step 1/2  loss 3.000 nats/token  n/a tokens/s  n/a left"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"kind": "step_finished", "step": "ingest", "seconds": 3.21, "reused": False}, "ingest     done in 3.2 s"),
        ({"kind": "step_finished", "step": "train", "seconds": 0.1, "reused": True}, "train      reused"),
        (
            {"kind": "step_failed", "step": "train", "seconds": 12.0, "message": "no\n why"},
            "train      failed after 12 s: no",
        ),
        ({"kind": "warning", "message": "careful"}, "warning: careful"),
        ({"kind": "trainjob", "namespace": "ml", "name": "x", "how": "adopted"}, "train      TrainJob ml/x adopted"),
        ({"kind": "train_resumed", "step": 1200}, "train      goes on from the checkpoint at step 1,200"),
        ({"kind": "train_validation", "step": 50, "loss": 2.0}, "train      step 50  validation loss 2.000 nats/token"),
        ({"kind": "checkpoint_saved", "step": 50, "seconds": 0.3}, None),
    ],
)
def test_some_events_leave_a_line(event: dict[str, object], line: str | None):
    assert lasting_line(event) == line


def test_a_step_without_news_shows_how_long_it_has_run():
    assert live_line({"step": "gate", "time": 100.0}, None, 112.0) == "gate       12 s"


def test_progress_shows_its_share():
    assert progress_figures({"message": "tokens scored", "done": 5, "total": 20}) == "tokens scored  25 %"
    assert progress_figures({"message": "measuring"}) == "measuring"


def test_a_terminal_has_one_line_redrawn():
    terminal = Terminal()
    screen = Screen(terminal)
    screen.show({"time": 0.0, "kind": "step_started", "step": "train"})
    screen.show(TRAIN_STEP)
    screen.tick(1.0)
    screen.tick(2.0)
    screen.show({"time": 3.0, "kind": "step_finished", "step": "train", "seconds": 3.0, "reused": False})
    screen.close()
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().count("\r\x1b[2Ktrain      step 300") == 2


def test_without_a_terminal_there_is_a_line_every_thirty_seconds_and_no_escape():
    stream = io.StringIO()
    screen = Screen(stream)
    screen.show({"time": 0.0, "kind": "step_started", "step": "train"})
    screen.show(TRAIN_STEP)
    for now in range(0, 95, 5):
        screen.tick(float(now))
    assert stream.getvalue().count("step 300") == 3
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_the_follower_shows_what_came_after_it_and_nothing_from_before(tmp_path: Path):
    log, stream = EventLog(tmp_path / "events.jsonl"), io.StringIO()
    log.emit("warning", message="of an earlier attempt")
    with Follower(log.path, stream):
        log.emit("warning", message="of this one")
    assert stream.getvalue() == "warning: of this one\n"


def test_a_reader_that_went_away_does_not_end_the_run():
    stream = io.StringIO()
    screen = Screen(stream)
    stream.close()
    screen.show({"time": 0.0, "kind": "warning", "message": "lost"})
