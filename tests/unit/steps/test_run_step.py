"""A step finds its manifests, does its work or finds it done, and says how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from llm.config import compose, import_named, to_yaml
from llm.errors import Preempted, UserError
from llm.process.signals import STOP_SIGNALS
from llm.process.stop import RUNNER_PID
from llm.runs.event_kinds import RunStarted, StepFailed, StepFinished, StepStarted, StopRequested
from llm.steps import STEPS, Step, figures, open_context, run_component, run_step
from llm.storage import Manifest


@pytest.fixture
def overrides(tmp_path: Path) -> list[str]:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(60):
        (texts / f"{number}.txt").write_text(f"The {number}th text says {number * 7919} and no more.\n" * 3)
    return [
        f"data.path={texts}",
        f"storage.uri={tmp_path / 'store'}",
        f"run.folder={tmp_path / 'runs'}",
        "run.name=one",
    ]


def test_a_step_leaves_its_manifest_and_two_events(overrides: list[str]):
    context = open_context(compose(overrides))
    manifest = run_step("ingest", context, {})
    assert context.folder.manifest("ingest") == manifest
    started, finished = context.log.of_kind(StepStarted)[0], context.log.of_kind(StepFinished)[0]
    assert (started.step, started.pid) == ("ingest", os.getpid())
    assert (finished.manifest, finished.reused, finished.name) == (manifest.id, False, "corpus/one@1")


def test_the_same_step_again_is_reused(overrides: list[str]):
    for _ in range(2):
        context = open_context(compose(overrides))
        run_step("ingest", context, {})
    assert [event.reused for event in context.log.of_kind(StepFinished)] == [False, True]


def test_a_step_without_its_manifests_names_what_to_run_first(overrides: list[str]):
    with pytest.raises(UserError, match=r"tokenizer needs the product of ingest.*\n  Run ingest first"):
        run_step("tokenizer", open_context(compose(overrides)), {})


def test_a_failed_step_says_so_in_the_log_with_its_exit_code(overrides: list[str], tmp_path: Path):
    context = open_context(compose([*overrides, f"data.path={tmp_path / 'nowhere'}"]))
    with pytest.raises(UserError):
        run_step("ingest", context, {})
    (failed,) = context.log.of_kind(StepFailed)
    assert (failed.step, failed.exit_code) == ("ingest", 2)
    assert "nowhere" in failed.message


@pytest.mark.parametrize(("text", "words"), [("sys.exit(0)", "SystemExit: 0"), ("1 / 0", "ZeroDivisionError")])
def test_an_error_of_a_module_that_a_setting_names_is_the_users(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "metric_of_a_user", raising=False)
    (tmp_path / "metric_of_a_user.py").write_text(f"import sys\ndef body(*_):\n    {text}\n")
    body = import_named("evaluation.metrics", "metric_of_a_user", "body", "Mend it.")
    monkeypatch.setitem(STEPS, "ingest", replace(STEPS["ingest"], body=body))  # type: ignore[misc]
    context = open_context(compose(overrides))
    with pytest.raises(UserError, match=rf"failed: {words}.*{tmp_path}/metric_of_a_user.py, line 3"):
        run_step("ingest", context, {})
    (failed,) = context.log.of_kind(StepFailed)
    assert failed.exit_code == 2


def test_a_product_made_from_another_than_the_one_beside_it_is_refused(overrides: list[str], tmp_path: Path):
    settings = [*overrides, "tokenizer.vocab_size=257"]
    context = open_context(compose(settings))
    corpus = run_step("ingest", context, {})
    vocabulary = run_step("tokenizer", context, {"ingest": corpus})
    (tmp_path / "texts" / "new.txt").write_text("One more text, and the corpus is another.")
    other = run_step("ingest", context, {})
    with pytest.raises(UserError, match=r"of step tokenizer comes from another corpus.*\n  Run tokenizer again"):
        run_step("tokenize", context, {"ingest": other, "tokenizer": vocabulary})


def test_the_way_a_path_is_written_is_not_part_of_the_corpus(overrides: list[str], tmp_path: Path, monkeypatch):
    first = run_step("ingest", open_context(compose(overrides)), {})
    monkeypatch.chdir(tmp_path)
    assert run_step("ingest", open_context(compose([*overrides, "data.path=./texts"])), {}) == first


def test_a_stop_that_came_between_two_steps_stops_the_next_before_its_work(overrides: list[str]):
    context = open_context(compose(overrides))
    context.log.emit(RunStarted())
    context.log.emit(StopRequested())
    with pytest.raises(Preempted, match="stopped on request before ingest"):
        run_step("ingest", context, {})
    assert context.log.of_kind(StepFailed)[0].exit_code == 75
    context.log.emit(RunStarted())  # the next attempt is not stopped by it
    run_step("ingest", context, {})


def test_a_second_signal_does_not_cut_what_the_first_began(overrides: list[str], monkeypatch):
    def twice(context, given):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setitem(STEPS, "ingest", Step("ingest", (), twice))
    context = open_context(compose(overrides))
    with pytest.raises(Preempted, match="stopped by SIGINT"):
        run_step("ingest", context, {})
    assert context.log.of_kind(StepFailed)[0].exit_code == 75
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_configuration_without_a_run_name_is_refused(overrides: list[str]):
    with pytest.raises(UserError, match="names no run"):
        open_context(compose(overrides[:-1]))


def test_a_component_writes_the_manifest_where_kfp_wants_it(overrides: list[str], tmp_path: Path):
    output = tmp_path / "artifact" / "corpus"
    manifest = run_component("ingest", to_yaml(compose(overrides)), {}, str(output))
    assert Manifest.read(output, open_context(compose(overrides)).store.objects.uri) == manifest


def test_a_component_ends_with_the_exit_code_and_no_traceback(overrides: list[str], tmp_path: Path, capsys):
    config = to_yaml(compose([*overrides, f"data.path={tmp_path / 'nowhere'}"]))
    with pytest.raises(SystemExit) as ended:
        run_component("ingest", config, {}, str(tmp_path / "corpus"))
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stopped_step_ends_with_75_and_leaves_nothing_half_made(
    overrides: list[str], tmp_path: Path, number: signal.Signals
):
    script = (
        "import os, signal, sys; from llm.steps import run_component\n"
        "import llm.data.ingest as ingest\n"
        "def stopped(config, store, log):\n"
        "    from llm.storage import Recipe\n"
        "    with store.stage('corpus', Recipe('ingest', {})) as stage:\n"
        "        (stage.path / 'half').write_text('half'); os.kill(os.getpid(), int(sys.argv[2]))\n"
        "ingest.ingest = stopped\n"
        "run_component('ingest', sys.stdin.read(), {}, sys.argv[1])"
    )
    config = to_yaml(compose(overrides))
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out"), str(int(number))],
        input=config, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 75, ended.stderr
    assert f"stopped by {number.name}" in ended.stderr
    assert list((tmp_path / "store" / "corpus").iterdir()) == []


def test_a_step_does_not_outlive_its_runner(tmp_path: Path):
    runner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    script = (
        "import time; from llm.process.stop import die_with_runner\n"
        "die_with_runner(); print('up', flush=True); time.sleep(600)"
    )
    step = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, RUNNER_PID: str(runner.pid)}, stdout=subprocess.PIPE
    )
    assert step.stdout is not None
    assert step.stdout.readline() == b"up\n"
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert step.wait(timeout=30) == 137
    step.stdout.close()


def test_figures_are_the_numbers_with_their_path():
    manifest = Manifest(
        kind="k", id="i", uri="file:///x", files=(), counts={"a": 1, "b": {"c": 2.5, "d": "no"}, "e": True}
    )
    assert figures(manifest) == {"a": 1.0, "b.c": 2.5}


def test_a_step_reads_only_what_steps_before_it_made():
    names = list(STEPS)
    assert all(names.index(source) < names.index(name) for name in names for source in STEPS[name].reads)
