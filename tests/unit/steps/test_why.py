"""A run says which steps it makes again and which part of the recipe changed, before the work."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

from llm.config import compose
from llm.errors import UserError
from llm.runner.dry_run import dry_run
from llm.runner.preflight import preflight
from llm.runs.attempt import last_attempt
from llm.runs.event_kinds import StepExplained, StepFinished
from llm.steps import STEPS, Context, Step, open_context, run_step
from llm.steps.why import GONE, NO_RECORD
from llm.storage import Manifest, Recipe
from llm.storage.recipe import sources
from llm.tracking.progress import lasting_line

SCHEDULE = """
from llm.config.sections.training import ScheduleConfig
class Packed(ScheduleConfig):
    pass
"""
METRIC = """
from llm.evaluation.metric import Metric
METRIC = Metric("bits_per_byte", "bits", "lower", lambda subject: None)
"""


class Mill:
    """A run of ingest and tokenizer over a few small texts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.texts = folder, folder / "texts"
        self.texts.mkdir()
        for number in range(60):
            (self.texts / f"{number}.txt").write_text(f"The {number}th text says {number * 7919} and no more.\n" * 3)

    def config(self, *overrides: str):
        return compose([
            f"data.path={self.texts}", f"storage.uri={self.folder / 'store'}", f"run.folder={self.folder / 'runs'}",
            "run.name=one", "tokenizer.vocab_size=258", *overrides,
        ])  # fmt: skip

    def run(self, *overrides: str) -> dict[str, StepExplained]:
        """Both steps; what they said before their work, by step."""
        context = open_context(self.config(*overrides))
        corpus = run_step("ingest", context, {})
        run_step("tokenizer", context, {"ingest": corpus})
        return {event.step: event for event in context.log.of_kind(StepExplained)[-2:]}

    def foreseen(self, *overrides: str) -> dict[str, str]:
        lines = [line.partition(" ") for line in dry_run("pretrain", self.config(*overrides))]
        return {step: words.strip() for step, _, words in lines}


@pytest.fixture
def mill(tmp_path: Path) -> Mill:
    return Mill(tmp_path)


def why(said: dict[str, StepExplained], step: str) -> tuple[str, ...]:
    assert not said[step].reused
    return tuple(said[step].why)


def test_a_first_run_has_no_reason_and_a_second_is_reused(mill: Mill):
    assert [(event.reused, event.why) for event in mill.run().values()] == [(False, []), (False, [])]
    assert [(event.reused, event.why) for event in mill.run().values()] == [(True, []), (True, [])]


def test_a_changed_setting_is_named_by_its_key_with_both_values(mill: Mill):
    mill.run()
    said = mill.run("tokenizer.vocab_size=259")
    assert said["ingest"].reused
    assert why(said, "tokenizer") == ("config tokenizer.vocab_size 258 -> 259",)


def test_a_changed_input_is_named_and_behind_it_the_parent(mill: Mill):
    mill.run()
    (mill.texts / "7.txt").write_text("Another text.")
    (mill.texts / "new.txt").write_text("A new text.")
    said = mill.run()
    assert why(said, "ingest") == ("input file 7.txt", "input file new.txt (new)")
    assert why(said, "tokenizer") == ("parent corpus",)


def test_a_changed_library_and_a_changed_source_are_named(mill: Mill, monkeypatch: pytest.MonkeyPatch):
    mill.run()
    monkeypatch.setattr(
        "llm.storage.recipe.recipe.libraries_of", lambda *roots: sources.libraries_of(*roots) | {"polars": "0.1"}
    )
    monkeypatch.setattr(
        "llm.storage.recipe.recipe.code_of", lambda *roots: sources.code_of(*roots) | {"llm/data/split.py": "0"}
    )
    library, code = why(mill.run(), "ingest")
    assert library.startswith("library polars ")
    assert library.endswith(" -> 0.1")
    assert code == "code llm/data/split.py"


def test_the_nearest_of_the_runs_own_recipe_and_the_newest_of_the_store_counts(mill: Mill):
    mill.run()
    mill.run("run.name=two", "data.text_field=x", "data.domain=d")
    assert why(mill.run("data.domain=e"), "ingest") == ("config data.domain None -> e",), "its own is nearer"
    assert why(mill.run("run.name=three", "data.domain=f"), "ingest") == ("config data.domain e -> f",)


def test_a_store_from_before_says_that_it_has_no_record(mill: Mill):
    mill.run()
    for parts in (mill.folder / "store" / "recipes" / "newest").iterdir():
        parts.unlink()
    assert why(mill.run("run.name=two", "data.domain=d"), "ingest") == (NO_RECORD,)


@pytest.mark.parametrize("content", ["", "{", "null"])
def test_a_record_that_cannot_be_read_counts_as_none(mill: Mill, content: str):
    mill.run()
    for parts in [*(mill.folder / "store/recipes/newest").iterdir(), *(mill.folder / "runs/one/recipes").iterdir()]:
        parts.write_text(content)
    assert why(mill.run("data.domain=d"), "ingest") == (NO_RECORD,)


def test_a_product_that_was_removed_is_made_again_for_that(mill: Mill):
    mill.run()
    (context := open_context(mill.config())).folder.manifests()["ingest"].folder.joinpath("manifest.json").unlink()
    run_step("ingest", context, {})
    assert context.log.of_kind(StepExplained)[-1].why == [GONE]


def test_a_step_that_failed_keeps_the_record_of_its_last_good_end(mill: Mill):
    mill.run()
    with pytest.raises(UserError, match="more than this corpus can fill"):
        mill.run("tokenizer.vocab_size=100000")
    assert why(mill.run("tokenizer.vocab_size=259"), "tokenizer") == ("config tokenizer.vocab_size 258 -> 259",)


def test_the_terminal_and_the_attempt_tell_why(mill: Mill):
    mill.run()
    mill.run("tokenizer.vocab_size=259")
    context = open_context(mill.config())
    steps = last_attempt(context.log.path).steps
    assert (steps["tokenizer"].state, steps["tokenizer"].why) == ("done", ("config tokenizer.vocab_size 258 -> 259",))
    assert (steps["ingest"].state, steps["ingest"].why) == ("reused", ())
    assert lasting_line(context.log.of_kind(StepExplained)[-1]) == (
        "tokenizer  made again: config tokenizer.vocab_size 258 -> 259"
    )
    assert lasting_line(context.log.of_kind(StepExplained)[0]) is None


def test_a_step_tells_before_it_works(mill: Mill, monkeypatch: pytest.MonkeyPatch):
    seen = []

    def body(context: Context, given) -> Manifest:
        recipe = Recipe("ingest", {"lr": 1})
        context.store.find(recipe)
        seen.extend(context.log.of_kind(StepExplained))
        assert not context.log.of_kind(StepFinished)
        with context.store.stage("corpus", recipe) as stage:
            return stage.commit()

    monkeypatch.setitem(STEPS, "ingest", Step("ingest", (), body))
    run_step("ingest", open_context(mill.config()), {})
    assert [event.sought for event in seen] == ["ingest"]


def test_a_dry_run_foresees_what_the_run_will_say_and_makes_nothing(mill: Mill):
    first = mill.foreseen()
    assert first["ingest"] == "made for the first time"
    assert first["tokenizer"] == "depends on the product of ingest"
    assert list(mill.folder.iterdir()) == [mill.texts]
    corpus = mill.run()["ingest"]
    before = sorted(path.stat().st_mtime_ns for path in mill.folder.rglob("*"))
    foreseen = mill.foreseen("tokenizer.vocab_size=259")
    assert not corpus.reused
    assert foreseen["ingest"].startswith("reused: corpus ")
    assert foreseen["tokenizer"] == "made again: config tokenizer.vocab_size 258 -> 259"
    assert foreseen["tokenize"] == "depends on the product of tokenizer"
    assert foreseen["register"] == "done in every run"
    assert foreseen["promote"] == "done in every run (only if gate says PASS)"
    assert list(foreseen) == list(STEPS)
    assert sorted(path.stat().st_mtime_ns for path in mill.folder.rglob("*")) == before


def test_a_dry_run_ends_with_the_mistake_that_the_run_would_find(mill: Mill):
    with pytest.raises(UserError, match=r"data\.path=nowhere does not exist"):
        mill.foreseen("data.path=nowhere")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("validation.suite=no_such", "no_such"),
        ("evaluation.metrics=[no_such]", "evaluation.metrics: there is no metric named no_such"),
        ("tracking.sinks=[no_such]", "tracking.sinks: there is no sink named no_such"),
        ("training.schedule.name=packed_schedule:Packed", "the code of packed_schedule cannot be read: no module"),
        ("evaluation.metrics=['packed_metric:METRIC']", "the code of packed_metric cannot be read: no module"),
        (
            "tracking.uri=http://mlflow storage.uri=s3://bucket/store run.folder=s3://bucket/runs",
            "run.folder=s3://bucket/runs is in S3",
        ),
    ],
)
def test_a_dry_run_refuses_what_the_run_would_refuse_before_its_first_step(
    mill: Mill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, message: str
):
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        packed.writestr("packed_schedule.py", SCHEDULE)
        packed.writestr("packed_metric.py", METRIC)
    monkeypatch.syspath_prepend(tmp_path / "packed.zip")
    try:
        config = mill.config(*override.split())
        with pytest.raises(UserError, match=message):
            next(dry_run("pretrain", config))
        with pytest.raises(UserError, match=message):
            preflight(config)
    finally:
        sys.modules.pop("packed_schedule", None)
        sys.modules.pop("packed_metric", None)


def test_the_record_is_plain_data(mill: Mill):
    mill.run()
    parts = json.loads((mill.folder / "runs" / "one" / "recipes" / "tokenizer-tokenizer.json").read_text())
    assert parts["config"] == {"vocab_size": 258}
    assert set(parts) == {"config", "code", "library", "input", "parent"}
