"""A stop is a stop, whichever signal asks for it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llm.process.signals import STOP_SIGNALS, ignore_stop_signals, while_signals

PROJECT = Path(__file__).parents[3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_signal_reaches_the_handler_and_afterwards_the_one_before(number: signal.Signals):
    seen: list[tuple[str, int]] = []
    with while_signals(lambda number: seen.append(("outer", number))):
        with while_signals(lambda number: seen.append(("inner", number))):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    assert seen == [("inner", number), ("outer", number)]


def test_the_handlers_are_as_they_were_after_an_error():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with pytest.raises(RuntimeError, match="the work failed"), while_signals(print):
        raise RuntimeError("the work failed")
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_ignoring_lasts_until_the_context_ends():
    with while_signals(lambda number: ignore_stop_signals()):
        for number in STOP_SIGNALS:
            os.kill(os.getpid(), number)
    assert signal.getsignal(signal.SIGHUP) != signal.SIG_IGN


def test_in_another_thread_nothing_is_handled():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    found: list[object] = []

    def work() -> None:
        with while_signals(print):
            found.extend(signal.getsignal(number) for number in STOP_SIGNALS)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert found == before


def test_under_nohup_a_hangup_is_still_ignored():
    code = (
        "import os, signal; from llm.process.signals import while_signals\n"
        "with while_signals(lambda number: os._exit(75)):\n"
        "    os.kill(os.getpid(), signal.SIGHUP); print('went on', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)"
    )
    ended = subprocess.run(
        ["nohup", sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=PROJECT
    )
    assert (ended.returncode, ended.stdout) == (75, "went on\n")


def test_no_module_keeps_a_list_of_stop_signals_or_a_handler_of_its_own():
    own = re.compile(r"signal\.signal\(|\(signal\.SIG(TERM|INT|HUP), ")
    found = [path for path in (PROJECT / "llm").rglob("*.py") if own.search(path.read_text(encoding="utf-8"))]
    names = sorted(str(path.relative_to(PROJECT)) for path in found)
    assert names == ["llm/process/signals.py", "llm/serving/pod/trial.py"], "the trial's is a clock, SIGALRM"
