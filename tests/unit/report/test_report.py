from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest

from llm.config import CostsConfig, RunConfig, to_yaml
from llm.report import write_report
from llm.report.figures import against, measured
from llm.runs.event_kinds import (
    Evicted,
    PodUsed,
    Queued,
    RunFinished,
    RunStarted,
    StepStarted,
    TrainJobBegun,
    Versions,
    Warned,
)
from llm.words import size

FETCHING = {"src", "href", "action", "srcset", "data", "poster"}
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Text of a page, by heading; fails on what it would fetch and on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.headings, self.fetched, self._open = "", [], [], []
        self._ids: list[str] = []
        self.links: list[str] = []
        self.sections: list[str] = []
        self.feed(html)
        assert self._open == [], f"not closed: {self._open}"
        assert len(self._ids) == len(set(self._ids)), "an id is there twice"
        assert set(self.links) <= set(self._ids), "a link leads nowhere"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self._open.append(tag)
        self.fetched += [value for name, value in attributes if name in FETCHING and not str(value).startswith("#")]
        self._ids += [str(value) for name, value in attributes if name == "id"]
        self.sections += [str(value) for name, value in attributes if tag == "h2" and name == "id"]
        self.links += [str(value)[1:] for name, value in attributes if tag == "a" and name == "href"]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._ids += [str(value) for name, value in attributes if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)
        if "style" not in self._open:
            self.text += data


def page_of(run: Any) -> Page:
    return Page(write_report(run.folder).read_text(encoding="utf-8"))


STEPS = ("ingest", "validate", "tokenizer", "tokenize", "train", "evaluate", "gate", "export", "register", "promote",
         "deploy")  # fmt: skip


def test_a_whole_run_shows_everything(sample_run: Callable[..., Any]):
    page = page_of(sample_run().do(*STEPS, reused=("tokenizer",)))
    assert page.headings == ["Evaluation", "Gate", "Training", "Samples", "Data", "Tokenizer", "Export", "Steps",
                             "Lineage", "To repeat it"]  # fmt: skip
    assert set(page.links) == set(page.sections)
    for text in (
        "Passed the gate",
        "2.041",
        "2.004 to 2.083",
        "−0.0312",
        "508 exact duplicates dropped",
        "reused",
        "gristmill run pretrain 'data.path=/srv/text/**/*.py'",
        "torch 2.13.0",
        "mlflow not installed",
    ):
        assert text in page.text


def test_the_registered_version_and_its_repository_are_named(sample_run: Callable[..., Any]):
    run = sample_run().do("register", "promote", "deploy")
    text = page_of(run).text
    assert "Registered as models:/gristmill/8, the champion now." in text
    assert f"Its Triton model repository is {run.made['deploy'].uri}." in text


def test_a_version_that_was_not_promoted_is_not_called_champion(sample_run: Callable[..., Any], gates: dict[str, Any]):
    page = page_of(sample_run().do("gate", "register", gate=gates["INCONCLUSIVE"]))
    assert "Registered as models:/gristmill/8, not promoted." in page.text


def test_the_news_of_the_trainings_pods_are_on_the_page_of_a_run_on_a_cluster(sample_run: Callable[..., Any]):
    run = sample_run().do("ingest")
    run.emit(Queued(queue="team-a", why="insufficient unused quota", place=2))
    assert "On the cluster" not in page_of(run).text, "no TrainJob: nothing of a cluster"
    run.emit(TrainJobBegun(name="one-train", namespace="ml", how="created"))
    run.emit(Evicted(queue="team-a", reason="Preempted", message="for another", by="Job urgent"))
    run.emit(Warned(message="pod one-train-node-0-0 cannot start"))
    page = page_of(run).text
    for line in ("TrainJob ml/one-train created", "preempted in queue team-a by Job urgent", "pod one-train-node-0-0"):
        assert line in page
    assert page.index("insufficient unused quota") < page.index("preempted in queue")


def test_a_training_that_went_on_with_another_recipe_is_told_as_one(sample_run: Callable[..., Any]):
    page = page_of(sample_run().do("train")).text
    assert "At step 80 it went on with another recipe: library torch 2.12.0 -> 2.13.0." in page


def test_peak_memory_is_that_of_the_training_until_the_run_has_ended(sample_run: Callable[..., Any]):
    run = sample_run().do("train")
    assert "1.31\u00a0GiB\nof the training" in page_of(run).text
    run.emit(RunFinished(exit_code=0, seconds=300.0, peak_memory_bytes=3 << 30))
    assert "3\u00a0GiB\nof the whole run" in page_of(run).text


def test_the_cost_of_all_attempts_is_told_in_a_line(sample_run: Callable[..., Any]):
    run = sample_run()
    assert "used" not in Page(write_report(run.folder).read_text()).text
    run.folder.write_config(to_yaml(RunConfig(costs=CostsConfig(accelerator_hour={"nvidia.com/gpu": 2.5}))))
    held = {"step": "train", "pod": "p", "cpu": 4.0, "memory_bytes": 2**33, "accelerators": {"nvidia.com/gpu": 1.0}}
    run.emit(PodUsed(started=0.0, ended=3600.0, **held))
    run.emit(RunStarted())
    run.emit(PodUsed(started=9000.0, ended=12600.0, **held))
    text = Page(write_report(run.folder).read_text()).text
    assert "used 8 CPU-hours, 16 GiB-hours, 2 nvidia.com/gpu-hours: 5.00 USD, over all attempts" in text


def test_the_cost_of_an_earlier_version_is_called_an_estimate(sample_run: Callable[..., Any]):
    page = Page(write_report(sample_run().do("ingest").folder).read_text())
    assert "used about 0.0051 CPU-hours, over all attempts" in page.text


def test_the_page_fetches_nothing(sample_run: Callable[..., Any]):
    run = sample_run().do(*STEPS)
    page = page_of(run)
    assert page.fetched == []
    html = run.folder.report.read_text()
    assert not re.search(r"https?://|@import|url\((?!#)|<script|<link|<!DOCTYPE svg", html)
    assert "default-src 'none'" in html


def test_equal_runs_give_equal_pages(sample_run: Callable[..., Any]):
    run = sample_run().do(*STEPS)
    assert write_report(run.folder).read_bytes() == write_report(run.folder).read_bytes()


def test_text_of_the_model_is_not_markup(sample_run: Callable[..., Any]):
    run = sample_run().do("evaluate")
    assert "return <b>name</b>" in page_of(run).text
    assert "return &lt;b&gt;name" in run.folder.report.read_text()


def test_plots_are_in_the_pages_colours(sample_run: Callable[..., Any]):
    run = sample_run().do(*STEPS)
    drawn = re.findall(r"<svg.*?</svg>", write_report(run.folder).read_text(), flags=re.DOTALL)
    assert len(drawn) == 4
    assert set(re.findall(r"#[0-9a-f]{6}\b", "".join(drawn))) <= {"#000000"}  # the stroke that markers inherit
    assert all("var(--ink)" in svg and 'role="img"' in svg for svg in drawn[:2])


def test_a_failed_run_shows_the_reason_and_what_there_was(sample_run: Callable[..., Any]):
    run = sample_run().do(*STEPS[:4])
    run.emit(StepStarted(step="train"))
    run.train(80)
    page = page_of(run.fail("train", "the loss is nan at step 81\n  Lower training.optimizer.lr."))
    assert "Failed in train" in page.text
    assert "Lower training.optimizer.lr." in page.text
    assert "80 of 200" in page.text
    assert page.headings == ["Training", "Data", "Tokenizer", "Steps", "Lineage", "To repeat it"]


def test_a_stopped_run_is_not_called_failed(sample_run: Callable[..., Any]):
    page = page_of(sample_run().do("ingest").fail("train", "stopped on request at step 3 of 9", exit_code=75))
    assert "Stopped in train" in page.text


def test_an_inconclusive_verdict_says_what_could_have_been_found(sample_run: Callable[..., Any], gates: dict[str, Any]):
    page = page_of(sample_run().do("gate", gate=gates["INCONCLUSIVE"]))
    assert "The gate could not decide" in page.text
    assert "would have been found four times in five" in page.text


def test_scores_of_an_earlier_version_are_named_and_the_rest_is_shown(sample_run: Callable[..., Any]):
    run = sample_run()
    run.summary = {"protocol": {}, "confidence": 0.95, "overall": {"bits_per_byte": 2.0}, "domains": {}}
    page = page_of(run.do("evaluate", "export"))
    assert "Not shown: the evaluation, as an earlier version of Gristmill made it: run evaluate again" in page.text
    assert page.headings[0] == "Samples"


def test_a_judgement_of_an_earlier_version_is_shown(sample_run: Callable[..., Any], gates: dict[str, Any]):
    new = ("metric", "unit", "better", "item", "items")
    rows = [
        {**{name: value for name, value in row.items() if name not in new}, "documents": 149}
        for row in gates["INCONCLUSIVE"]["comparisons"]
    ]
    page = page_of(sample_run().do("gate", gate={**gates["INCONCLUSIVE"], "comparisons": rows}))
    assert "Not shown" not in page.text
    assert "−0.0042" in page.text
    assert "would have been found four times in five" in page.text


def test_each_metric_has_its_figure_its_chart_and_its_comparisons(
    sample_run: Callable[..., Any], gates: dict[str, Any]
):
    run = sample_run()
    bits = run.summary["metrics"]["bits_per_byte"]
    accuracy = {**bits, "unit": "share", "better": "higher", "item": "question", "weight_unit": None,
                "overall": {**bits["overall"], "references": {"chance": 0.25}, "details": {}, "low": None}}  # fmt: skip
    run.summary = {**run.summary, "metrics": {"bits_per_byte": bits, "accuracy": accuracy}}
    shown = [{**row, "metric": "accuracy", "unit": "share", "better": "higher", "item": "question", "rule": "none"}
             for row in gates["PASS"]["comparisons"]]  # fmt: skip
    page = page_of(
        run.do("evaluate", "gate", gate={**gates["PASS"], "comparisons": [*gates["PASS"]["comparisons"], *shown]})
    )
    html = run.folder.report.read_text()
    assert "Not shown" not in page.text
    assert len(re.findall("<svg", html)) == 4
    for text in ("held-out accuracy", "too few questions for an interval", "chance on the same questions", "informs",
                 "This metric is shown and decides nothing", "accuracy (share), more is better"):  # fmt: skip
        assert text in page.text


def test_without_a_champion_the_floors_are_shown(sample_run: Callable[..., Any], gates: dict[str, Any]):
    page = page_of(sample_run().do("gate", gate=gates["FLOORS"]))
    assert "there is no champion yet, so the candidate was held against the configured floors" in page.text


def test_a_promotion_that_failed_after_the_gate_passed_is_shown_as_a_failure(sample_run: Callable[..., Any]):
    page = page_of(sample_run().do("gate", "export").fail("register", "MLflow at http://x: does not answer"))
    assert "Passed the gate, but failed in register" in page.text
    assert "MLflow at http://x: does not answer" in page.text


def test_a_failure_after_a_verdict_against_the_candidate_is_named_too(
    sample_run: Callable[..., Any], gates: dict[str, Any]
):
    page = page_of(sample_run().do("gate", gate=gates["INCONCLUSIVE"]).fail("register", "MLflow does not answer"))
    assert "The gate could not decide, and failed in register" in page.text
    assert "MLflow does not answer" in page.text


def test_a_run_that_ended_without_a_reason_says_where_to_look(sample_run: Callable[..., Any]):
    run = sample_run().do("ingest")
    run.emit(StepStarted(step="validate"))
    run.emit(RunFinished(exit_code=70, seconds=12.0))
    text = page_of(run).text
    assert "Ended early, in validate" in text
    assert "pipeline.log in the run folder has its output" in text


def test_a_manifest_that_is_damaged_or_gone_is_named_and_the_rest_is_shown(sample_run: Callable[..., Any]):
    run = sample_run().do("evaluate", "gate", "export")
    run.folder.manifest_path("gate").write_text("{")
    run.folder.manifest_path("export").unlink()
    page = page_of(run)
    assert "Not shown: gate:" in page.text
    assert "gate.json is not a manifest" in page.text
    assert "Not shown: export: no manifest at" in page.text
    assert "Evaluation" in page.headings


def test_a_product_of_another_shape_costs_its_section_only(sample_run: Callable[..., Any]):
    run = sample_run().do("ingest", "tokenizer")
    tokenizer = run.made["tokenizer"].model_copy(update={"counts": {"vocab_size": 4096}})
    run.folder.keep("tokenizer", tokenizer)
    page = page_of(run)
    assert f"Not shown: the manifest of tokenizer {tokenizer.id} cannot be read: counts." in page.text
    assert "11,402 documents read" in page.text


def test_secrets_in_addresses_are_left_out(sample_run: Callable[..., Any]):
    run = sample_run()
    run.folder.write_config("tracking:\n  uri: 'https://ada:s3cret@mlflow.example'\n")
    run.emit(RunStarted(command="gristmill run pretrain tracking.uri=https://ada:s3cret@mlflow.example"))
    text = page_of(run).text
    assert "s3cret" not in text
    assert text.count("https://…@mlflow.example") == 2


def test_a_submitted_run_names_its_run_of_kubeflow_pipelines(sample_run: Callable[..., Any]):
    run = sample_run()
    run.emit(RunStarted(kfp_run="1f2e", versions={"gristmill": "1.0"}))
    text = page_of(run).text
    assert "Run 1f2e of Kubeflow Pipelines." in text
    assert "by hand" not in text


def test_versions_are_those_of_all_images(sample_run: Callable[..., Any]):
    run = sample_run()
    run.emit(RunStarted(kfp_run="1f2e", versions={"gristmill": "1.0"}))
    run.emit(Versions(versions={"torch": "7.7.7"}))
    assert "torch 7.7.7" in " ".join(page_of(run).text.split())


def test_names_of_domains_are_drawn_as_they_are(sample_run: Callable[..., Any]):
    run = sample_run()
    run.domain = "<b>$x^$ 日本語 with a long name"
    html = write_report(run.do("evaluate").folder).read_text()
    chart = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)[0]
    assert "<b>" not in chart
    assert "<b>$x^$ 日本語 with a long…" in unescape(chart)


@pytest.mark.parametrize("done", [0, 1, 4, 5, 6, 7, 10])
def test_a_run_that_ended_anywhere_has_a_report(sample_run: Callable[..., Any], done: int):
    page = page_of(sample_run().do(*STEPS[:done]))
    assert "To repeat it" in page.headings


def test_a_product_that_is_gone_is_named_and_the_rest_is_shown(sample_run: Callable[..., Any]):
    run = sample_run().do(*STEPS)
    (run.made["evaluate"].folder / "summary.json").unlink()
    page = page_of(run)
    assert f"Not shown: summary.json of evaluation {run.made['evaluate'].id} is missing" in page.text
    assert "Evaluation" not in page.headings
    assert "Training" in page.headings


def test_what_an_earlier_attempt_made_is_not_shown_as_this_ones(sample_run: Callable[..., Any]):
    run = sample_run().do("ingest", "evaluate")
    run.start().do("ingest")
    page = page_of(run)
    assert "Not finished: this is how it stood after ingest" in page.text
    assert "Evaluation" not in page.headings


def test_a_folder_without_events_has_a_report(sample_run: Callable[..., Any]):
    run = sample_run()
    run.folder.events.unlink()
    assert "Not finished" in page_of(run).text


def test_figures_carry_their_unit():
    texts = [size(n) for n in (None, 12, 2048, 5 << 20, 3 << 30)]
    assert texts == ["n/a", "12 bytes", "2 KiB", "5 MiB", "3 GiB"]


def test_a_figure_is_compared_with_a_reference():
    assert against(2.0, 2.2) == "the model is 9\u00a0% lower"
    assert against(2.2, 2.0) == "the model is 10\u00a0% higher"
    assert against(2.0, 2.001) == "the model is equal"
    assert against(2.0, None) == "n/a"
    assert against(None, 2.0) == "n/a"


def test_a_figure_of_unknown_size_keeps_its_digits():
    assert [measured(n) for n in (0, 12_000, 0.91, 3.1e-6, -2e-9, None)] == [
        "0", "12,000", "0.91", "3.1\u00a0×\u00a010⁻⁶", "−2\u00a0×\u00a010⁻⁹", "n/a",
    ]  # fmt: skip


def test_a_step_that_was_made_again_says_which_part_of_its_recipe_changed(sample_run: Callable[..., Any]):
    changed = [f"code llm/data/{name}.py" for name in ("documents", "ingest", "readers", "split")]
    run = sample_run().do(*STEPS)
    assert "made again because of" not in page_of(run).text
    text = page_of(run.explain("ingest", "config data.domain None -> <b>", *changed)).text
    assert "made again because of" in text
    assert "corpus/wiki@3" in text
    assert "; ".join(["config data.domain None -> <b>", *changed[:3], "and 1 more"]) in text
