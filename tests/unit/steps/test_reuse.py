"""The search before the first step of a run in a cluster: the whole run, or nothing of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from llm.config import compose
from llm.errors import Preempted, ServiceError
from llm.runs.event_kinds import Judged, PodUsed, StepFinished
from llm.steps import STEPS, Context, Given, Step, open_context, run_step
from llm.steps.outcome import manifest_of
from llm.steps.reuse import reuse
from llm.storage import Manifest, Recipe
from llm.storage.products import GateCounts, RegistrationCounts

PIPELINE = "toy"


class Toy:
    """A pipeline `make`, `judge` (quick), `enter` (in a service), `build`, and what its steps did."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.verdict, self.version, self.made = folder, "PASS", 1, []
        self.entry_error: Exception | None = None

    def config(self, *overrides: str):
        places = [f"storage.uri={self.folder / 'store'}", f"run.folder={self.folder / 'runs'}"]
        return compose([*places, "run.name=one", *overrides])

    def steps(self) -> list[Step]:
        toy = {"pipelines": (PIPELINE,), "image": "data"}
        return [
            Step("make", (), self.make, **toy),
            Step("judge", ("make",), self.judge, verdict="nothing", is_quick=True, **toy),
            Step("enter", ("make",), self.enter, is_always_done=True, **toy),
            Step("build", ("enter",), self.build, only_if="judge", **toy),
        ]

    def run(self, *overrides: str) -> Context:
        """Each step in turn, as in a pod of its own."""
        context, known = open_context(self.config(*overrides)), {}
        for step in self.steps():
            known[step.name] = run_step(step.name, context, {source: known[source] for source in step.reads})
        return context

    def _product(self, kind: str, context: Context, parents: list[Manifest], counts=None, **inputs: object) -> Manifest:
        recipe = Recipe(kind, {"size": context.config.tokenizer.vocab_size}, parents, inputs=inputs)
        if (done := context.store.find(recipe)) is not None:
            return done
        self.made.append(kind)
        with context.store.stage(kind if counts is None else "gate", recipe) as stage:
            (stage.path / "text").write_text(kind)
            return stage.commit(counts)

    def make(self, context: Context, given: Given) -> Manifest:
        return self._product("thing", context, [])

    def judge(self, context: Context, given: Given) -> Manifest:
        context.log.emit(Judged(verdict=self.verdict, words=[self.verdict]))
        counts = GateCounts(verdict=self.verdict, passed=int(self.verdict == "PASS"))
        return self._product("judge", context, [given["make"]], counts, verdict=self.verdict)

    def enter(self, context: Context, given: Given) -> Manifest:
        if self.entry_error is not None:
            raise self.entry_error
        return manifest_of(RegistrationCounts(version=self.version), f"models:/toy/{self.version}", given)

    def build(self, context: Context, given: Given) -> Manifest:
        return self._product("folder", context, [], version=self.version)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    made = Toy(tmp_path)
    for step in made.steps():
        monkeypatch.setitem(STEPS, step.name, step)
    return made


def events(context: Context) -> list[tuple[str, bool]]:
    return [(event.step, event.reused) for event in context.log.of_kind(StepFinished)]


def again(toy: Toy, *overrides: str) -> tuple[bool, Context]:
    """The search of a second run; what was made before it does not count."""
    toy.made.clear()
    context = open_context(toy.config("run.name=two", *overrides))
    return reuse(PIPELINE, context), context


def test_a_run_whose_products_are_there_is_done_by_the_search(toy: Toy):
    first = toy.run()
    done, context = again(toy)
    assert done
    assert toy.made == []
    assert events(context) == [("make", True), ("judge", True), ("enter", False), ("build", True)]
    for step in ("make", "judge", "enter", "build"):
        assert context.folder.manifest(step) == first.folder.manifest(step)
    assert [event.verdict for event in context.log.of_kind(Judged)] == ["PASS"]


def test_its_pod_is_accounted_once_and_not_by_step(toy: Toy):
    toy.run()
    assert again(toy)[1].log.of_kind(PodUsed) == []


def test_quick_work_is_done_by_the_search(toy: Toy):
    toy.verdict = "FAIL"
    toy.run()
    toy.verdict = "PASS"
    done, context = again(toy)
    assert done
    assert toy.made == ["judge"]
    assert events(context)[1] == ("judge", False)


def refused(toy: Toy, capfd: pytest.CaptureFixture[str], *overrides: str) -> str:
    """The reason of a search after which the steps begin: it made nothing and told nothing."""
    done, context = again(toy, *overrides)
    assert not done
    assert toy.made == []
    assert context.log.read() == []
    return capfd.readouterr().err.strip()


def test_without_a_product_the_steps_begin_and_the_log_says_why(toy: Toy, capfd: pytest.CaptureFixture[str]):
    assert refused(toy, capfd) == "the steps begin: make: there is no product"
    toy.run()
    changed = refused(toy, capfd, "tokenizer.vocab_size=300")
    assert changed.startswith("the steps begin: make: config ")
    assert changed.endswith("-> 300")


def test_a_verdict_other_than_pass_is_left_to_the_steps(toy: Toy, capfd: pytest.CaptureFixture[str]):
    toy.verdict = "FAIL"
    toy.run()
    assert refused(toy, capfd) == "the steps begin: judge does not say PASS"


def test_retrain_is_left_to_the_steps(toy: Toy, capfd: pytest.CaptureFixture[str]):
    toy.run()
    assert refused(toy, capfd, "run.retrain=true") == "the steps begin: run.retrain=true"


def test_a_fault_of_the_search_is_left_to_the_step_that_finds_it_too(
    toy: Toy, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    toy.run()

    def broken(*_: object) -> Manifest:
        raise ModuleNotFoundError("No module named 'of_another_image'")

    monkeypatch.setitem(STEPS, "make", Step("make", (), broken, pipelines=(PIPELINE,)))
    assert refused(toy, capfd) == "the steps begin: make: No module named 'of_another_image'"


def test_a_step_behind_the_service_that_has_work_to_do_is_left_to_its_pod(toy: Toy, capfd: pytest.CaptureFixture[str]):
    toy.run()
    toy.version = 2
    done, context = again(toy)
    assert not done
    assert toy.made == []
    assert [step for step, _ in events(context)] == ["make", "judge", "enter"]
    assert "the steps begin: build: " in capfd.readouterr().err


def test_an_error_of_a_service_ends_the_run(toy: Toy):
    toy.run()
    toy.entry_error = ServiceError("MLflow does not answer", "Start it.")
    with pytest.raises(ServiceError, match="MLflow does not answer"):
        again(toy)


def test_a_stop_ends_the_search(toy: Toy, monkeypatch: pytest.MonkeyPatch):
    def stopped(*_: object) -> Manifest:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
        raise AssertionError

    monkeypatch.setitem(STEPS, "make", Step("make", (), stopped, pipelines=(PIPELINE,)))
    with pytest.raises(Preempted):
        again(toy)
