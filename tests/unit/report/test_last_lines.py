"""The last lines about a run: what came of it, whoever asks, and nothing made up."""

from __future__ import annotations

import re
from pathlib import Path

from llm.report.last_lines import last_lines, made
from llm.runs.event_kinds import TrainStep
from tests.unit.report.conftest import INCONCLUSIVE, PASS, STEPS, SampleRun

REPORT = "s3://b/p/runs/one/report.html"


def test_a_promoted_run_says_scores_verdict_version_addresses_and_times(tmp_path: Path):
    run = SampleRun(tmp_path).start().do(*STEPS, gate=PASS, reused=("ingest",))
    lines = last_lines(run.folder, REPORT)
    text = "\n".join(lines)
    assert lines[0].startswith("held-out bits per byte")
    assert "gate PASS against champion version 7: the candidate may be promoted\n  overall: superiority holds\n" in text
    assert "model models:/gristmill/8, now models:/gristmill@champion" in lines
    assert f"Triton's repository {run.made['deploy'].uri}" in lines
    assert re.search(r"\ntime [^\n]+\n  validate 4\.2 s, (.|\n)*train 3 min[^,]*,(.|\n)* deploy 0\.9 s\n", text)
    assert max(len(line) for line in lines if re.match(r"  (validate|train|gate)", line)) <= 100
    assert "reused: ingest" in lines
    assert lines[-1] == f"report {REPORT}"
    assert made(run.folder) == {
        "verdict": "PASS", "model": "models:/gristmill/8", "alias": "models:/gristmill@champion",
        "repository": run.made["deploy"].uri,
    }  # fmt: skip


def test_a_run_that_did_not_pass_says_why_and_that_nothing_was_promoted(tmp_path: Path):
    run = SampleRun(tmp_path).start().do(*STEPS[:9], gate=INCONCLUSIVE)
    text = "\n".join(last_lines(run.folder, REPORT))
    assert "gate INCONCLUSIVE against champion version 7" in text
    assert "superiority is not shown" in text
    assert "model models:/gristmill/8, not promoted" in text
    assert "Triton's repository" not in text
    assert made(run.folder)["verdict"] == "INCONCLUSIVE"


def test_the_time_of_the_devices_is_said_with_its_price(tmp_path: Path):
    run = SampleRun(tmp_path).start()
    run.emit(TrainStep(step=1, steps=2, loss=3.0, device_seconds=5400.0))
    said = "the training took 1.5 device-hours"
    assert f"{said}, over all its attempts" in last_lines(run.folder, REPORT)
    run.emit(TrainStep(step=2, steps=2, loss=3.0, device_seconds=5400.0, cost=3.0))
    assert f"{said}, which cost 3.00, over all its attempts" in last_lines(run.folder, REPORT)


def test_a_run_that_has_just_begun_says_where_its_report_will_be(tmp_path: Path):
    assert last_lines(SampleRun(tmp_path).start().folder, REPORT) == [f"report {REPORT}"]


def test_a_product_that_is_gone_takes_only_its_own_lines_with_it(tmp_path: Path):
    run = SampleRun(tmp_path).start().do(*STEPS, gate=PASS)
    for path in (run.store.root / "gate").rglob("gate.json"):
        path.unlink()
    lines = last_lines(run.folder, REPORT)
    assert not [line for line in lines if line.startswith("gate ")]
    assert "model models:/gristmill/8, now models:/gristmill@champion" in lines
