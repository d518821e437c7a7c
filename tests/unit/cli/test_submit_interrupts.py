"""Ctrl-C while a run goes on in the cluster: a question on a terminal, its end without one."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from llm.cli.cluster import submit
from llm.cli.cluster.shared import say
from tests.cases.submission import IN_PODS, NAME, TRAINING, gristmill
from tests.fakes.cluster_server import ClusterServer
from tests.fakes.kfp_server import KfpServer, Refusal, Run

SCRIPT = """
import sys, time
from llm.cli import main
from llm.cluster.patience import CLOCK
CLOCK.sleep = lambda seconds: time.sleep(seconds / 40)
sys.argv[0] = "gristmill"
main()
"""
TRAINJOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/kubeflow/trainjobs"
PATIENCE_SECONDS = 60.0


def submitting(kfp: KfpServer, *arguments: str) -> list[str]:
    overrides = (*IN_PODS, f"run.name={NAME}", f"cluster.kfp_uri={kfp.uri}")
    return ["submit", "pretrain", *overrides, *arguments]


class Terminal:
    """A command on a terminal: what it writes there, and what is typed."""

    def __init__(self, arguments: list[str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            arguments, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: _make_it_the_terminal(theirs),
        )  # fmt: skip
        os.close(theirs)
        self.written = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def wait_for(self, pattern: str) -> None:
        """Read until it has written that, after what was waited for before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := re.search(pattern, self.written)):
            assert time.monotonic() < deadline, f"{pattern!r} was not written: {self.written}"
            self._read()
        self.written = self.written[found.end() :]

    def end(self) -> int:
        """The exit code; what was written until then is in `written`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it did not end: {self.written}"
            self._read()
        self._read()
        return self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def _read(self) -> None:
        if select.select([self._ours], [], [], 0.1)[0]:
            try:
                self.written += os.read(self._ours, 65536).decode(errors="replace")
            except OSError:  # the other end is closed
                time.sleep(0.05)


class OnATerminal(io.TextIOWrapper):
    """What is typed there, and then its end."""

    def __init__(self, typed: str) -> None:
        ours, theirs = os.pipe()
        os.write(theirs, typed.encode())
        os.close(theirs)
        super().__init__(os.fdopen(ours, "rb"))

    def isatty(self) -> bool:
        return True


def _make_it_the_terminal(descriptor: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


@contextmanager
def terminal(kfp: KfpServer) -> Iterator[Terminal]:
    opened = Terminal([sys.executable, "-c", SCRIPT, *submitting(kfp)])
    try:
        yield opened
    finally:
        opened.close()


def interrupt_at(kfp: KfpServer, request: str, *numbers: signal.Signals) -> None:
    """Send this process a signal while the server works on a request, another one at the next such request, and so on.

    A terminal there is none: pytest has taken stdin away.
    """
    answer, left = kfp.answer, list(numbers)

    def interrupting(method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        if left and re.fullmatch(request, f"{method} {path}"):
            os.kill(os.getpid(), left.pop(0))
            time.sleep(0.05)
        return answer(method, path, query, body)

    kfp.answer = interrupting  # type: ignore[method-assign]


LOOK, CREATE = r"GET /apis/v2beta1/runs/[^/]+", r"POST /apis/v2beta1/runs"


def test_on_a_terminal_ctrl_c_asks_and_a_second_one_cancels(kfp: KfpServer):
    kfp.next_script = TRAINING
    with terminal(kfp) as screen:
        screen.wait_for("train +started")
        screen.type("\x03")
        screen.wait_for(r"\[c\]ancel it, \[l\]eave it running, or \[w\]ait on")
        screen.type("w\n")
        time.sleep(0.3)
        assert not kfp.only_run.terminated
        screen.type("\x03")
        screen.wait_for(r"\[w\]ait on")
        screen.type("\x03")
        assert screen.end() == 75
        assert "cancelling the run" in screen.written
        assert "error: cancelled: submit the same again to go on" in screen.written
    assert kfp.only_run.terminated


@contextmanager
def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> Iterator[None]:
    """Have that typed on a terminal, which is gone afterwards."""
    with OnATerminal(text) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
        yield


@pytest.mark.parametrize("answer", ["c", "l"])
def test_the_answer_decides(capsys, kfp: KfpServer, monkeypatch: pytest.MonkeyPatch, answer: str):
    kfp.next_script = TRAINING
    interrupt_at(kfp, LOOK, signal.SIGINT)
    with typed(monkeypatch, f"what?\n{answer}\n"):
        ended = gristmill(capsys, *submitting(kfp))
    assert kfp.only_run.terminated == (answer == "c")
    assert ended.code == (75 if answer == "c" else 130)
    if answer == "l":
        assert f"the run goes on: gristmill status {NAME} --wait | gristmill cancel {NAME}" in ended.err


def test_a_terminal_that_is_gone_leaves_the_run(capsys, kfp: KfpServer, monkeypatch: pytest.MonkeyPatch):
    kfp.next_script = TRAINING
    interrupt_at(kfp, LOOK, signal.SIGINT)
    with typed(monkeypatch, ""):
        assert gristmill(capsys, *submitting(kfp)).code == 130
    assert not kfp.only_run.terminated


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_without_a_terminal_an_interruption_cancels_the_run_and_its_training(
    capsys, kfp: KfpServer, pods: ClusterServer, number: signal.Signals
):
    kfp.next_script = TRAINING
    pods.put("/apis/trainer.kubeflow.org/v1alpha1/namespaces/kubeflow/trainingruntimes/gpu")
    pods.put(f"{TRAINJOBS}/mine", metadata={"labels": {"gristmill.io/run": NAME}})
    pods.put(f"{TRAINJOBS}/anothers", metadata={"labels": {"gristmill.io/run": "another"}})
    interrupt_at(kfp, LOOK, number)
    ended = gristmill(capsys, *submitting(kfp, "training.pool=gpu"))
    assert (ended.code, ended.out.startswith(f"run {NAME} FAILED")) == (75, True)
    assert kfp.only_run.terminated
    assert pods.made("DELETE") == [f"{TRAINJOBS}/mine"]


def test_a_hangup_of_the_terminal_leaves_the_run(capsys, kfp: KfpServer):
    kfp.next_script = TRAINING
    interrupt_at(kfp, LOOK, signal.SIGHUP)
    ended = gristmill(capsys, *submitting(kfp))
    assert (ended.code, kfp.only_run.terminated) == (130, False)
    assert f"the run goes on: gristmill status {NAME} --wait" in ended.err


def test_a_hangup_cancels_the_run_where_an_interruption_shall(capsys, kfp: KfpServer):
    kfp.next_script = TRAINING
    interrupt_at(kfp, LOOK, signal.SIGHUP)
    assert gristmill(capsys, *submitting(kfp), "--cancel-on-interrupt").code == 75
    assert kfp.only_run.terminated


def test_a_training_that_cannot_be_looked_for_does_not_hold_up_the_cancelling(capsys, kfp: KfpServer):
    kfp.next_script = TRAINING
    interrupt_at(kfp, LOOK, signal.SIGTERM)
    ended = gristmill(capsys, *submitting(kfp, "training.pool=gpu"))
    assert (ended.code, "whether its training has ended is not known: the kubeconfig" in ended.err) == (75, True)


def test_an_interruption_of_the_cancelling_leaves_it_to_the_cluster(capsys, kfp: KfpServer):
    kfp.next_script = TRAINING
    interrupt_at(kfp, LOOK, signal.SIGTERM, signal.SIGTERM)
    ended = gristmill(capsys, *submitting(kfp))
    assert (ended.code, kfp.only_run.terminated) == (130, True)
    assert f"the run was asked to end: gristmill status {NAME} --wait" in ended.err


def test_an_interruption_while_the_run_is_made_loses_nothing_of_it(capsys, kfp: KfpServer):
    kfp.next_script = TRAINING
    interrupt_at(kfp, CREATE, signal.SIGTERM)
    assert gristmill(capsys, *submitting(kfp)).code == 75
    assert kfp.only_run.terminated


def interrupt_when(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """Send this process a SIGTERM while that is said."""

    def interrupting(line: str) -> None:
        if line.startswith(said):
            os.kill(os.getpid(), signal.SIGTERM)
        say(line)

    monkeypatch.setattr(submit, "say", interrupting)


def test_an_interruption_while_the_run_is_named_cancels_it(capsys, kfp: KfpServer, monkeypatch: pytest.MonkeyPatch):
    kfp.next_script = TRAINING
    interrupt_when(monkeypatch, "submitted run")
    ended = gristmill(capsys, *submitting(kfp))
    assert (ended.code, kfp.only_run.terminated) == (75, True)
    assert f"submitted run {NAME}" in ended.err


def test_an_interruption_after_the_package_was_taken_does_not_say_that_nothing_was_submitted(
    capsys, kfp: KfpServer, monkeypatch: pytest.MonkeyPatch
):
    kfp.next_script = TRAINING
    clean = tempfile.TemporaryDirectory.cleanup

    def interrupting(folder: tempfile.TemporaryDirectory[str]) -> None:
        clean(folder)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", interrupting)
    ended = gristmill(capsys, *submitting(kfp))
    assert (ended.code, kfp.only_run.terminated, "nothing was submitted" in ended.err) == (75, True, False)


def test_an_interruption_while_the_cancelling_is_told_does_not_prevent_it(
    capsys, kfp: KfpServer, monkeypatch: pytest.MonkeyPatch
):
    kfp.next_script = TRAINING
    interrupt_at(kfp, LOOK, signal.SIGTERM)
    interrupt_when(monkeypatch, "cancelling the run")
    ended = gristmill(capsys, *submitting(kfp))
    assert (ended.code, kfp.only_run.terminated) == (130, True)
    assert f"the run was asked to end: gristmill status {NAME} --wait" in ended.err


def test_an_interruption_of_a_command_that_does_not_wait_leaves_the_run_and_names_it(
    capsys, kfp: KfpServer, monkeypatch: pytest.MonkeyPatch
):
    kfp.next_script = TRAINING
    interrupt_when(monkeypatch, "next:")
    ended = gristmill(capsys, *submitting(kfp, "--no-wait"))
    assert (ended.code, kfp.only_run.terminated) == (130, False)
    assert f"the run goes on: gristmill status {NAME} --wait | gristmill cancel {NAME}" in ended.err


def test_an_interruption_before_anything_was_made_makes_nothing(capsys, kfp: KfpServer):
    interrupt_at(kfp, "GET /apis/v2beta1/runs", signal.SIGINT)
    ended = gristmill(capsys, *submitting(kfp))
    assert (ended.code, "stopped; nothing was submitted" in ended.err) == (130, True)
    assert kfp.runs == {}


def test_the_end_is_asked_for_again_when_the_server_is_away_for_a_moment(capsys, kfp: KfpServer):
    kfp.next_script = TRAINING
    terminate, failed = kfp._terminate, []

    def away_once(run: Run) -> dict[str, Any]:
        if not failed:
            failed.append(run)
            raise Refusal(14, "Service unavailable")
        return terminate(run)

    kfp._terminate = away_once  # type: ignore[method-assign]
    interrupt_at(kfp, LOOK, signal.SIGTERM)
    assert gristmill(capsys, *submitting(kfp)).code == 75
    assert kfp.only_run.terminated
