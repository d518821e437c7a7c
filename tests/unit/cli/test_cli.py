"""The command line answers at once, in plain words, with the exit codes of the architecture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm import cli

HEAVY = ("torch", "kfp", "mlflow", "great_expectations", "deepspeed", "transformers", "polars", "numpy", "hydra")


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    script = "import sys; from llm.cli import main; sys.argv[0] = 'gristmill'; main()"
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=cwd)


def test_help_lists_every_verb_and_imports_nothing_heavy():
    script = (
        "import sys; from llm.cli import cli\n"
        "try: cli.main(['--help'], standalone_mode=False)\n"
        "finally: print('loaded:', [name for name in sys.argv[1:] if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", script, *HEAVY], capture_output=True, text=True, check=True).stdout
    assert "loaded: []" in shown
    assert all(verb in shown for verb in (*cli.VERBS, *cli.STEPS))


@pytest.mark.parametrize("verb", [*cli.VERBS, *cli.STEPS])
def test_every_verb_explains_itself(verb: str):
    command = cli.LazyGroup().get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None
    assert command.help
    first, *rest = command.help.strip().split("\n\n")
    assert first[0].isupper()
    assert all(paragraph.rstrip().endswith(".") for paragraph in [first, *rest]), "whole sentences"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "pretrian"], "error: there is no pipeline pretrian\n  Did you mean pretrain?"),
        (
            ["run", "pretrain", "training.seeed=1"],
            "error: unknown config key training.seeed\n  Did you mean training.seed?",
        ),
        (["compile", "pretrain", "-o", "x.json"], "error: x.json must end in .yaml"),
        (["report"], "error: there is no run in runs"),
        (["report", "nothing"], "error: there is no run nothing in runs"),
        (
            ["report", ""],
            "error: '' is not the name of a run\n  `gristmill runs` lists them; --runs names their folder.",
        ),
        (["report", ".."], "error: '..' is not the name of a run"),
        (["report", "runs/one"], "error: 'runs/one' is not the name of a run"),
        (["runs", "--runs", "x" * 300], "x… cannot be used: File name too long\n  Give another path or name."),
        (["run", "pretrain", "--dry-run", f"validation.suite={'x' * 300}"], "x… cannot be used: File name too long"),
        (["run", "pretrain", "--dry-run", f"storage.uri={'x' * 300}"], "x… cannot be used: File name too long"),
        (["generate", "def "], "error: there is no run with a finished train step in runs"),
        (["tokenize", "--run", "x"], "error: tokenize needs the product of ingest, tokenizer, and it is not there"),
        (["ingest", "--run", "x", "data.path=nowhere"], "error: "),
        (["ingest", "--run", "x", "data.path=~nobody-here/x"], "error: ~nobody-here/x: there is no user nobody-here"),
        (["ingest", "--run", "x", f"data.path={'x' * 300}"], "File name too long"),
        (["ingest", "--run", "x", "run.folder=/dev/null"], "error: the folder /dev/null/x cannot be made: Not a dir"),
        (["ingest", "--run", "x", "storage.uri=/dev/null"], "error: the folder /dev/null/corpus cannot be made: Not a"),
        (["rollback"], "error: gristmill has no previous champion to go back to\n  There is no champion either."),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_ends_with_2_a_message_and_no_traceback(arguments: list[str], message: str, tmp_path: Path):
    ended = run(*arguments, cwd=tmp_path)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [["runs"], ["report"], ["generate", "x"], ["serve"], ["rollback"], ["plan"]])
def test_a_command_that_looks_makes_nothing(arguments: list[str], tmp_path: Path):
    run(*arguments, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_resolved_configuration_is_printed_and_can_be_read_back():
    from llm.config import compose, from_yaml

    printed = run("config", "model=small", "training.optimizer.lr=0.001").stdout
    assert from_yaml(printed) == compose(["model=small", "training.optimizer.lr=0.001"])


def test_a_plan_prints_parameters_and_tokens_and_starts_nothing(tmp_path: Path):
    printed = run("plan", "training.length.steps=10", "training.batch.tokens=8192", cwd=tmp_path).stdout
    assert "tokens                   81,920" in printed
    assert list(tmp_path.iterdir()) == []


def test_a_plan_is_counted_without_torch():
    script = (
        "import sys; from llm.cli import cli\n"
        "try: cli.main(['plan'], standalone_mode=False)\n"
        "finally: print('loaded:', 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "loaded: False" in shown


@pytest.mark.parametrize(
    ("length", "lines"),
    [
        ([], ["steps  ", "tokens  ", "FLOPs  "]),
        (["training.length.steps=null", "training.length.minutes=3"], ["length  "]),
        (["plan.device=h100", "costs.accelerator_hour={nvidia.com/gpu: 2.5}"], ["time  ", "device hours  ", "cost  "]),
    ],
)
def test_a_plan_prints_what_its_help_promises(length: list[str], lines: list[str]):
    printed = run("plan", *length).stdout
    for line in ("parameters  ", "memory at its highest  ", "  activations  ", "micro-batch  ", *lines):
        assert any(one.startswith(line) for one in printed.splitlines()), line


def test_a_plan_that_cannot_work_is_refused():
    ended = run("plan", "training.parallel.processes=3")
    assert ended.returncode == 2
    assert "do not divide the global batch" in ended.stderr
    assert "no folder here, and no checkpoint" in run("plan", "training.start_from=base").stderr
    assert "may take 922 KiB" in run("plan", "plan.memory=1Mi").stderr


def test_no_runs_is_said_plainly(tmp_path: Path):
    assert "no runs in runs" in run("runs", cwd=tmp_path).stdout


@pytest.mark.parametrize("arguments", [["run", "pretrian"], ["run", "--nothing"]])
def test_a_refused_command_whose_terminal_is_gone_still_ends_with_2(arguments: list[str]):
    script = "import sys; from llm.cli import main; sys.argv[0] = 'gristmill'; main()"
    with open("/dev/full", "w") as gone:  # each write fails, as it does on a terminal that was closed
        ended = subprocess.run([sys.executable, "-c", script, *arguments], stdout=gone, stderr=gone)
    assert ended.returncode == 2


def test_a_folder_that_is_no_run_gets_no_report(tmp_path: Path):
    (tmp_path / "runs" / "artifacts").mkdir(parents=True)
    ended = run("report", "artifacts", cwd=tmp_path)
    assert (ended.returncode, list((tmp_path / "runs" / "artifacts").iterdir())) == (2, [])
    assert "error: there is no run artifacts in runs" in ended.stderr


def test_a_store_whose_links_lead_in_a_circle_is_refused(tmp_path: Path):
    (tmp_path / "store").symlink_to("store")
    ended = run("ingest", "--run", "x", f"data.path={__file__}", cwd=tmp_path)
    assert ended.returncode == 2
    assert "Too many levels of symbolic links" in ended.stderr


def test_a_working_folder_that_was_removed_is_told(tmp_path: Path):
    script = (
        "import os, sys; from llm.cli import main; sys.argv = ['gristmill', 'config']\n"
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); main()"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, ended.stderr.splitlines()[0]) == (2, "error: the current folder was removed")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_what_the_output_cannot_show_does_not_end_the_command(encoding: str, tmp_path: Path):
    log = tmp_path / "runs" / os.fsdecode("日\udcff".encode("utf-8", "surrogateescape")) / "events.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("")
    script = "import sys; from llm.cli import main; sys.argv[0] = 'gristmill'; main()"
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"}
    for arguments in (["runs"], ["--help"]):
        command = [sys.executable, "-c", script, *arguments]
        ended = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert b"?" in ended.stdout or arguments == ["--help"]
