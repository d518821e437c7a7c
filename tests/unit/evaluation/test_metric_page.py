"""docs/extend/metric.md: its one file and its one name are all it takes for a metric to be shown everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from llm.cli import cli
from llm.config import compose
from llm.config.sections import EvaluationConfig, GateConfig
from llm.evaluation.evaluate import evaluate
from llm.evaluation.gate.gate import Champion, judge
from llm.evaluation.gate.words import verdict_in_words
from llm.evaluation.metric import find_metrics
from llm.report import write_report
from llm.runner.local import RunOutcome
from llm.runner.summary import summary
from llm.runs import RunFolder
from llm.runs.event_kinds import RunStarted, StepFinished, StepStarted
from llm.runs.events import EventLog
from llm.storage import Manifest, Store
from llm.storage.recipe.sources import code_of
from llm.tracking.points import points
from tests.cases.extend import example, installed

PAGE = example("metric")
NAME = "next_token_accuracy"
SMALL = ["evaluation.max_bytes_per_domain=4000", "evaluation.bootstrap_resamples=1000", "evaluation.prompts=[def]"]


@pytest.fixture
def config(tmp_path: Path) -> Iterator[EvaluationConfig]:
    """What the page's commands set, with its file in place."""
    with installed(PAGE, tmp_path / "example"):
        yield compose([*PAGE.settings[:1], *SMALL]).evaluation


@pytest.fixture
def measure(
    store: Store, log: EventLog, corpus: Manifest, tokenizer: Manifest, make_model: Callable[..., Manifest],
    config: EvaluationConfig,
) -> Callable[[float], Manifest]:  # fmt: skip
    return lambda certainty: evaluate(config, make_model(certainty), tokenizer, corpus, store, log)


@pytest.fixture
def run(
    tmp_path: Path, store: Store, log: EventLog, make_model: Callable[..., Manifest], measure: Callable[..., Manifest]
) -> RunFolder:
    """A run folder with the example's scores and their judgement against another model."""
    folder = RunFolder(tmp_path / "runs" / "a")
    scores, champion = measure(4.0), measure(0.0)
    gate = judge(GateConfig(), scores, Champion("3", make_model(0.0), champion), store, log)
    events = EventLog(folder.events)
    events.emit(RunStarted(pipeline="pretrain"))
    for step, product in (("evaluate", scores), ("gate", gate)):
        events.emit(StepStarted(step=step))
        folder.keep(step, product)
        events.emit(StepFinished(step=step, seconds=1.0, reused=False))
    return folder


def test_the_page_names_one_file_and_its_metric_is_found_by_its_name(config: EvaluationConfig):
    assert list(PAGE.files) == [f"llm/evaluation/{NAME}.py"]
    assert [metric.name for metric in find_metrics(config.metrics)] == ["bits_per_byte", NAME]


def test_its_figures_are_those_of_its_items(measure: Callable[[float], Manifest]):
    scores = measure(4.0)
    items = pl.read_parquet(scores.file(f"items/{NAME}.parquet"))
    expected = (items["value"] * items["weight"]).sum() / items["weight"].sum()
    about = json.loads(scores.file("summary.json").read_text())["metrics"][NAME]
    assert about["overall"]["value"] == pytest.approx(expected, abs=1e-6)
    assert about["overall"]["references"] == {"chance": pytest.approx(1 / 257, rel=0.01)}
    assert scores.counts[NAME] == about["overall"]["value"]


def test_a_change_of_its_file_makes_the_evaluation_again(tmp_path: Path, measure: Callable[[float], Manifest]):
    measure(4.0)
    recipes = set(tmp_path.glob("store/recipes/evaluation-*"))
    file = tmp_path / "example" / "llm" / "evaluation" / f"{NAME}.py"
    file.write_text(file.read_text() + "# changed\n")
    code_of.cache_clear()  # the next process reads the file again
    measure(4.0)
    assert len(set(tmp_path.glob("store/recipes/evaluation-*")) - recipes) == 1


def test_mlflow_gets_it(log: EventLog, measure: Callable[[float], Manifest]):
    scores = measure(4.0)
    sent = {point.name: point.value for event in log.read() for point in points(event)}
    assert sent[f"test/{NAME}"] == scores.counts[NAME]
    assert sent["test/bits_per_byte"] == scores.counts["bits_per_byte"]


def test_the_gate_compares_it_and_does_not_decide_by_it(run: RunFolder):
    gate = json.loads(run.manifest("gate").file("gate.json").read_text())
    rules = {row["rule"] for row in gate["comparisons"] if row["metric"] == NAME}
    assert rules == {"none"}
    assert any(line.startswith(f"{NAME}, overall: ") for line in verdict_in_words(gate))


def test_the_gate_decides_by_it_when_the_page_says_so(
    store: Store, log: EventLog, make_model: Callable[..., Manifest], measure: Callable[[float], Manifest]
):
    rules = compose(PAGE.settings).gate
    better, worse = measure(4.0), measure(0.0)
    gate = judge(rules, worse, Champion("3", make_model(4.0), better), store, log)
    rows = json.loads(gate.file("gate.json").read_text())["comparisons"]
    decided = [(row["rule"], row["margin"]) for row in rows if row["metric"] == NAME]
    assert decided == [("non-inferiority", 0.01)] * 3


def test_the_report_shows_it(run: RunFolder):
    page = write_report(run).read_text(encoding="utf-8")
    assert "Not shown" not in page
    assert page.count("<h3>next token accuracy (share)</h3>") == 2  # in the evaluation and in the gate
    assert "chance on the same documents" in page
    assert "next token accuracy (share), more is better" in page


def test_the_summary_of_the_run_and_the_list_of_runs_show_it(run: RunFolder):
    outcome = RunOutcome(run, 0, None, 9.0, {}, (), None)
    assert any(line.startswith("held-out next token accuracy (share)") for line in summary(outcome))
    table = CliRunner().invoke(cli, ["runs", "--runs", str(run.runs)])
    assert table.exit_code == 0, table.output
    assert table.output.splitlines()[0].split() == [
        "run", "state", "verdict", "bits/byte", NAME, "time", "started",
    ]  # fmt: skip
    (listed,) = json.loads(CliRunner().invoke(cli, ["runs", "--json", "--runs", str(run.runs)]).output)
    assert listed["metrics"][NAME]["unit"] == "share"
