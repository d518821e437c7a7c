"""The whole path through KFP's local runner: text to a champion, again, worse, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from llm.config import from_yaml, to_yaml
from llm.runs.event_kinds import StepFinished, StepStarted
from llm.runs.events import EventLog
from llm.runs.folder import run_folder
from llm.steps import STEPS
from tests.cases.pretrain import PATIENCE_SECONDS, STEPS_OF_TRAINING, Place


def test_text_becomes_a_champion_with_a_repository_and_a_report(first):
    ended, folder = first
    assert ended.returncode == 0, ended.stderr
    assert folder.manifest("gate").counts["verdict"] == "PASS"
    assert folder.manifest("promote").uri.endswith("@champion")
    assert (folder.manifest("deploy").verify() / "gristmill" / "config.pbtxt").is_file()
    assert "</html>" in folder.report.read_text()
    assert "held-out bits per byte" in ended.stdout


def test_every_product_is_what_its_manifest_says(first):
    _, folder = first
    for name, product in folder.manifests().items():
        if product.files:
            assert product.verify().is_dir(), name


def test_a_search_as_in_a_cluster_does_a_run_whose_products_are_all_there(first, place: Place):
    _, folder = first
    config = from_yaml(folder.config.read_text())
    other = config.model_copy(update={"run": config.run.model_copy(update={"name": "found"})})
    script = "import sys; from llm.steps import reuse_component; print(reuse_component(sys.argv[1], 'pretrain'))"
    ended = subprocess.run(
        [sys.executable, "-c", script, to_yaml(other)], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert (ended.returncode, ended.stdout) == (0, "0\n"), ended.stderr
    found = run_folder(config.run.folder, "found")
    events = EventLog(found.events).of_kind(StepFinished)
    assert [event.step for event in events] == list(STEPS)
    assert {event.step for event in events if not event.reused} == {"gate", "register", "promote"}
    made_anew = {"gate": "the champion is another", "register": "and its parent", "promote": "and its parent"}
    for step in set(STEPS) - set(made_anew):
        assert found.manifest(step).id == folder.manifest(step).id, step
    assert found.manifest("register").counts["version"] == folder.manifest("register").counts["version"]


def test_the_same_command_again_does_no_work_again(first, place: Place):
    ended, folder = place.run()
    assert ended.returncode == 0, ended.stderr
    again = EventLog(folder.events).of_kind(StepFinished)[-11:]
    reused = {event.step for event in again if event.reused}
    assert {"ingest", "validate", "tokenizer", "tokenize", "train", "evaluate", "export", "deploy"} <= reused
    judgement = json.loads(folder.manifest("gate").file("gate.json").read_text())
    assert judgement["verdict"] == "PASS"
    assert "already is the champion" in judgement["reasons"][0]


def test_a_worse_model_is_registered_but_not_promoted_and_the_run_ends_with_4(first, place: Place):
    ended, folder = place.run("training.length.steps=1")
    assert ended.returncode == 4, ended.stderr
    assert "not promoted" in ended.stderr
    verdict = json.loads(folder.manifest("gate").file("gate.json").read_text())
    assert verdict["verdict"] in ("FAIL", "INCONCLUSIVE")
    assert verdict["champion"] == str(first[1].manifest("register").counts["version"])
    assert folder.manifest("register").counts["version"] > first[1].manifest("register").counts["version"]
    assert not folder.manifest_path("promote").exists()


def test_a_killed_pipeline_leaves_nobody_behind_and_ends_with_the_same_weights(
    tmp_path: Path, texts: Path, ids_of_first: dict[str, str]
):
    place = Place(tmp_path, texts)
    process = subprocess.Popen(place.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    steps = place.wait_for_a_step(process)
    process.kill()
    process.communicate()
    assert steps[-1] < STEPS_OF_TRAINING
    step = EventLog(place.only_run.events).of_kind(StepStarted)[-1]
    assert step.step == "train"
    deadline = time.monotonic() + 30
    while Path(f"/proc/{step.pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{step.pid}").exists()
    ended, folder = place.run()
    assert ended.returncode == 0, ended.stderr
    assert folder.manifest("train").id == ids_of_first["train"]


def test_a_stopped_run_ends_with_75_and_has_its_report(tmp_path: Path, texts: Path):
    place = Place(tmp_path, texts)
    process = subprocess.Popen(place.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    place.wait_for_a_step(process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == (75 if place.steps_trained()[-1] < STEPS_OF_TRAINING else 0), errors
    assert place.only_run.report.is_file()


def test_two_runs_in_one_folder_at_a_time_are_refused(first, place: Place):
    _, folder = first
    from llm.storage import only_process_in

    with only_process_in(folder.path):
        ended, _ = place.run()
    assert ended.returncode == 2
    assert f"error: another run works in {folder.path} (process {os.getpid()})" in ended.stderr
