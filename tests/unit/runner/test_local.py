"""What the local runner adds to KFP's: outcomes, signals, memory, and parameters that arrive as they were sent."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import tokenize
from pathlib import Path

import pytest
from kfp import dsl

from llm.config import compose, from_yaml
from llm.errors import UserError
from llm.process.memory import MemorySampler, descendants
from llm.process.signals import STOP_SIGNALS
from llm.runner.local import run_locally
from llm.runs.event_kinds import RunFinished, RunStarted, StepFinished, StopRequested
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.steps import STEPS
from llm.storage import Manifest, Store
from tests.cases.placeholders import PLACEHOLDERS


@dsl.component(base_image="python", install_kfp_package=False)
def copy(config: str, place: str) -> None:
    """Write what arrived, as a step named by its place."""
    from pathlib import Path

    Path(place).write_text(config)


@dsl.component(base_image="python", install_kfp_package=False)
def fail(config: str) -> None:
    """Fail as a step does: in its own words, with its own code."""
    from llm.config import from_yaml
    from llm.errors import UserError
    from llm.steps import STEPS, Step, open_context, run_step

    def body(context, given):
        raise UserError("the text is missing", "Bring it.")

    STEPS["ingest"] = Step("ingest", (), body)
    run_step("ingest", open_context(from_yaml(config)), {})


@dsl.component(base_image="python", install_kfp_package=False)
def die(config: str) -> None:
    """End as a step does that the kernel kills for lack of memory."""
    import os
    import signal

    from llm.config import from_yaml
    from llm.steps import STEPS, Step, open_context, run_step

    STEPS["ingest"] = Step("ingest", (), lambda context, given: os.kill(os.getpid(), signal.SIGKILL))
    run_step("ingest", open_context(from_yaml(config)), {})


@dsl.component(base_image="python", install_kfp_package=False)
def tell(config: str, place: str) -> None:
    """Write what a step finds in its environment."""
    import json
    import os
    import random
    import tokenize
    from pathlib import Path

    import llm

    found = [random.__file__, tokenize.__file__, llm.__file__, [name for name in os.environ if name.startswith("PET_")]]
    Path(place).write_text(json.dumps(found))


def arguments(tmp_path: Path) -> list[str]:
    return [f"run.folder={tmp_path / 'runs'}", "run.name=one", 'data.path=/usr/lib/python3.11/it\'s "here"']


def test_a_parameter_with_python3_and_quotes_in_it_arrives_as_it_was_sent(tmp_path: Path, capsys):
    arrived = tmp_path / "python3" / "arrived"
    arrived.parent.mkdir()

    @dsl.pipeline(name="copying")
    def copying(config: str) -> None:
        copy(config=config, place=str(arrived))

    config = compose(arguments(tmp_path))
    run_locally(copying, "copying", config, "command")
    assert from_yaml(arrived.read_text()) == config


@pytest.mark.parametrize("written", PLACEHOLDERS)
def test_what_looks_like_a_placeholder_of_kfp_arrives_as_it_was_written(tmp_path: Path, written: str):
    @dsl.pipeline(name="copying")
    def copying(config: str) -> None:
        copy(config=config, place=str(tmp_path / "arrived"))

    config = compose([f"run.folder={tmp_path / 'runs'}", "run.name=one", f"data.path={written}"])
    outcome = run_locally(copying, "copying", config, "command")
    log = (tmp_path / "runs" / "one" / "pipeline.log").read_text()
    assert (tmp_path / "arrived").is_file(), (outcome.message, log)
    assert from_yaml((tmp_path / "arrived").read_text()) == config


def test_the_exit_code_and_the_words_of_a_failed_step_are_the_runs(tmp_path: Path):
    @dsl.pipeline(name="failing")
    def failing(config: str) -> None:
        fail(config=config)

    outcome = run_locally(failing, "failing", compose(arguments(tmp_path)), "gristmill run failing")
    assert (outcome.exit_code, outcome.message) == (2, "ingest: the text is missing\n  Bring it.")
    log = EventLog(RunFolder(tmp_path / "runs" / "one").events)
    assert log.of_kind(RunStarted)[0].command == "gristmill run failing"
    assert log.of_kind(RunFinished)[0].exit_code == 2


def test_a_killed_step_tells_the_user_to_run_again(tmp_path: Path):
    @dsl.pipeline(name="dying")
    def dying(config: str) -> None:
        die(config=config)

    outcome = run_locally(dying, "dying", compose(arguments(tmp_path)), "command")
    assert (outcome.exit_code, str(outcome.message).splitlines()[0]) == (
        75, "ingest: the process of the step was killed",
    )  # fmt: skip
    assert "for lack of memory" in str(outcome.message)
    assert "Run the same command again to go on." in str(outcome.message)


def test_nothing_of_the_working_directory_or_of_another_torchrun_reaches_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("random.py", "tokenize.py", "llm/__init__.py"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text("raise SystemExit('the working directory was imported')")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PET_NNODES", "2")

    @dsl.pipeline(name="telling")
    def telling(config: str) -> None:
        tell(config=config, place=str(tmp_path / "told"))

    run_locally(telling, "telling", compose(arguments(tmp_path)), "command")
    assert (tmp_path / "told").exists(), (tmp_path / "runs" / "one" / "pipeline.log").read_text()
    import llm

    assert json.loads((tmp_path / "told").read_text()) == [random.__file__, tokenize.__file__, llm.__file__, []]
    assert os.environ["PET_NNODES"] == "2", "the environment of this process is as it was"
    assert "PYTHONSAFEPATH" not in os.environ


def test_a_pipeline_that_skips_its_steps_is_a_fault_not_a_success(tmp_path: Path):
    @dsl.pipeline(name="skipping")
    def skipping(config: str) -> None:
        copy(config=config, place=str(tmp_path / "x"))

    outcome = run_locally(skipping, "skipping", compose(arguments(tmp_path)), "command")
    assert outcome.exit_code == 70
    assert "ended early" in str(outcome.message)


ALL = list(STEPS)
UNCONDITIONAL = [step.name for step in STEPS.values() if step.only_if is None]


@pytest.mark.parametrize(
    ("finished", "verdict", "code", "words"),
    [
        (ALL, "PASS", 0, "None"),
        (UNCONDITIONAL, "FAIL", 4, "the gate said FAIL: the model is registered, but not promoted"),
        (UNCONDITIONAL, "INCONCLUSIVE", 4, "the gate said INCONCLUSIVE: the model is registered, but not promoted"),
        (UNCONDITIONAL, "PASS", 70, "the pipeline ended early"),
        (ALL[:-1], "PASS", 70, "the pipeline ended early"),
        (ALL[:4], "PASS", 70, "the pipeline ended early"),
        (UNCONDITIONAL[:-1], "FAIL", 70, "the pipeline ended early"),
    ],
)
def test_a_run_ends_as_its_steps_and_its_verdict_say(
    tmp_path: Path, finished: list[str], verdict: str, code: int, words: str
):
    def pipeline(config: str) -> None:
        folder = RunFolder(tmp_path / "runs" / "one")
        for step in finished:
            EventLog(folder.events).emit(StepFinished(step=step, seconds=1.0))
        counts = {"verdict": verdict, "passed": int(verdict == "PASS")}
        Manifest(kind="gate", id="i", uri="file:///x", files=(), counts=counts).write(folder.manifest_path("gate"))

    outcome = run_locally(pipeline, "pretrain", compose(arguments(tmp_path)), "command")
    assert outcome.exit_code == code
    assert words in str(outcome.message)


def test_a_stop_that_comes_after_the_verdict_does_not_hide_it(tmp_path: Path):
    def pipeline(config: str) -> None:
        folder = RunFolder(tmp_path / "runs" / "one")
        for step in UNCONDITIONAL:
            EventLog(folder.events).emit(StepFinished(step=step, seconds=1.0))
        counts = {"verdict": "FAIL", "passed": 0}
        Manifest(kind="gate", id="i", uri="file:///x", files=(), counts=counts).write(folder.manifest_path("gate"))
        EventLog(folder.events).emit(StopRequested())

    assert run_locally(pipeline, "pretrain", compose(arguments(tmp_path)), "command").exit_code == 4


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_before_the_first_step_ends_with_75_and_a_report(tmp_path: Path, number: signal.Signals):
    def stopped(config: str) -> None:
        os.kill(os.getpid(), number)

    outcome = run_locally(stopped, "stopped", compose(arguments(tmp_path)), "command")
    assert (outcome.exit_code, "stopped on request" in str(outcome.message)) == (75, True)
    assert outcome.folder.report.is_file()


def test_a_password_in_the_command_is_not_kept(tmp_path: Path):
    run_locally(lambda config: None, "n", compose(arguments(tmp_path)), "gristmill tracking.uri=http://me:secret@host/")
    events = (tmp_path / "runs" / "one" / "events.jsonl").read_text()
    assert "secret" not in events
    assert "@host" in events


def test_a_wanted_engine_without_tensorrt_is_refused_before_the_first_step(tmp_path: Path):
    wanted = [*arguments(tmp_path), "export.tensorrt=fp16"]
    with pytest.raises(UserError, match=r"export.tensorrt=fp16, but TensorRT is not installed here"):
        run_locally(lambda config: pytest.fail("it ran"), "copying", compose(wanted), "command")
    assert not (tmp_path / "runs").exists()


def test_a_warning_is_on_the_screen_before_the_first_step(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(Store, "check_access", lambda store: ["it cannot flush"])
    screen = io.StringIO()
    run_locally(lambda config: None, "nothing", compose(arguments(tmp_path)), "command", screen)
    assert "warning: it cannot flush" in screen.getvalue()


def test_a_missing_suite_is_found_before_the_first_step(tmp_path: Path):
    misspelt = compose([*arguments(tmp_path), "validation.suite=pretrane"])
    with pytest.raises(UserError, match=r"there is no suite pretrane\n.*pretrain"):
        run_locally(lambda config: pytest.fail("it ran"), "copying", misspelt, "command")


def test_a_run_leaves_its_process_and_the_machines_temporary_folder_as_they_were(tmp_path: Path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    before = (sys.executable, os.environ["PATH"], tempfile.gettempdir())

    @dsl.pipeline(name="copying")
    def copying(config: str) -> None:
        copy(config=config, place=str(tmp_path / "x"))

    run_locally(copying, "copying", compose(arguments(tmp_path)), "command")
    assert (tmp_path / "x").exists()
    assert (sys.executable, os.environ["PATH"], tempfile.gettempdir()) == before
    assert not list(temporary.iterdir())
    assert not (tmp_path / "runs" / "one" / "kfp").exists()


def test_descendants_are_found_at_any_depth():
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    found = descendants(os.getpid())
    child.communicate(b"\n")
    assert child.pid in found
    assert len(found) >= 2


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup")
def test_the_peak_counts_this_process():
    with MemorySampler() as memory:
        block = bytearray(os.urandom(1 << 20) * 64)
    assert memory.peak_bytes is not None
    assert memory.peak_bytes > 10 << 20
    assert len(block) == 64 << 20
