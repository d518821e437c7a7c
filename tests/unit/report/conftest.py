"""A run folder as a real run leaves it: products in a real store, manifests, events; only the figures are made up."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llm.config import RunConfig, to_yaml
from llm.runs import RunFolder
from llm.runs.event_kinds import (
    Event,
    RunStarted,
    StepExplained,
    StepFailed,
    StepFinished,
    StepStarted,
    TrainPlan,
    TrainStep,
    TrainValidation,
)
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store, identity
from llm.storage.products import Counts

STEPS = ("ingest", "validate", "tokenizer", "tokenize", "train", "evaluate", "gate", "export", "register", "promote",
         "deploy")  # fmt: skip
COUNTS = {kind.kind: kind for kind in Counts.__subclasses__()}
REGISTRY = {"register": "models:/gristmill/8", "promote": "models:/gristmill@champion"}
START = 1_795_000_000.0
STEP_SECONDS = dict(zip(STEPS, (9.1, 4.2, 6.3, 5.2, 181.4, 21.7, 0.6, 24.8, 4.1, 1.2, 0.9), strict=True))


class SampleRun:
    """Builds the run step by step, with a clock of its own so that equal runs give equal logs."""

    def __init__(self, root: Path, name: str = "pretrain-3f9a61c2") -> None:
        self.folder = RunFolder(root / "runs" / name)
        self.store = Store(root / "store")
        self.now = START
        self.made: dict[str, Manifest] = {}
        self.domain: str | None = None
        self.summary: dict[str, Any] = SUMMARY
        self.folder.path.mkdir(parents=True)

    def emit(self, event: Event, after: float = 0.0) -> None:
        self.now += after
        EventLog(self.folder.events).emit(event.model_copy(update={"time": round(self.now, 3)}))

    def start(self) -> SampleRun:
        self.folder.write_config(to_yaml(RunConfig()))
        self.emit(RunStarted(
            pipeline="pretrain", command="gristmill run pretrain 'data.path=/srv/text/**/*.py'",
            versions={"gristmill": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "mlflow": None},
            machine={"system": "Linux", "architecture": "x86_64", "cpus": 2},
        ))  # fmt: skip
        return self

    def do(self, *steps: str, reused: tuple[str, ...] = (), **products: Any) -> SampleRun:
        for step in steps:
            self.emit(StepStarted(step=step))
            if step == "train" and step not in reused:
                self.train(200)
            manifest = self.make(step, **products)
            seconds = 0.1 if step in reused else STEP_SECONDS[step]
            ended = StepFinished(step=step, seconds=seconds, reused=step in reused, manifest=manifest.id)
            self.emit(ended, seconds)
        return self

    def explain(self, step: str, *why: str) -> SampleRun:
        self.emit(StepStarted(step=step))
        self.emit(StepExplained(step=step, sought=step, reused=False, why=list(why)))
        self.emit(StepFinished(step=step, seconds=2.0, manifest=self.made[step].id, name="corpus/wiki@3"))
        return self

    def train(self, until: int, steps: int = 200) -> None:
        self.emit(TrainPlan(steps=steps, start=0, parameters=4_214_016, tokens_per_step=8192, world_size=2,
                            backend="deepspeed"))  # fmt: skip
        for line in history(until):
            if "loss" in line:
                speed = 9_400 + 300 * math.sin(line["step"] / 9)
                self.emit(TrainStep(steps=steps, tokens_per_second=speed, mfu=0.61, memory_bytes=round(1.31 * 2**30),
                                    seconds_left=0.9 * (steps - line["step"]), **line), 0.9)  # fmt: skip
            else:
                self.emit(TrainValidation(step=line["step"], loss=line["validation_loss"]))

    def fail(self, step: str, message: str, exit_code: int = 2) -> SampleRun:
        self.emit(StepStarted(step=step))
        self.emit(StepFailed(step=step, exit_code=exit_code, message=message, seconds=11.5), 11.5)
        return self

    def make(self, step: str, gate: dict[str, Any] | None = None) -> Manifest:
        kind, parents, files, counts = product(step, gate)
        summary = self.summary
        if self.domain is not None:
            bits = summary["metrics"]["bits_per_byte"]
            summary = {**summary, "metrics": {"bits_per_byte": {**bits, "domains": {self.domain: bits["overall"]}}}}
        if "summary.json" in files:
            files = {**files, "summary.json": summary}
        if step in REGISTRY:
            return self.keep(step, self.registered(step, kind, parents, counts))
        recipe = Recipe(step, {}, [self.made[parent] for parent in parents if parent in self.made])
        with self.store.stage(kind, recipe) as stage:
            for name, content in files.items():
                if isinstance(content, pl.DataFrame):
                    content.write_parquet(stage.path / name)
                else:
                    (stage.path / name).write_text(content if isinstance(content, str) else json.dumps(content))
            manifest = stage.commit(COUNTS[kind](**COUNTS[kind].from_document(counts)) if counts else None)
        return self.keep(step, manifest)

    def registered(self, step: str, kind: str, parents: tuple[str, ...], counts: dict[str, Any]) -> Manifest:
        """As llm.steps leaves it: the outcome is in the registry, and there is no file."""
        came_from = tuple(self.made[parent].as_parent() for parent in parents if parent in self.made)
        return Manifest(kind=kind, id=identity(kind, (), counts, {}, came_from), uri=REGISTRY[step], files=(),
                        counts=counts, parents=came_from)  # fmt: skip

    def keep(self, step: str, manifest: Manifest) -> Manifest:
        self.made[step] = manifest
        self.folder.keep(step, manifest)
        return manifest


def history(until: int) -> Iterator[dict[str, Any]]:
    for step in range(1, until + 1):
        loss = 1.9 + 6.4 * math.exp(-step / 38) + 0.06 * math.sin(step * 1.7)
        yield {"step": step, "tokens": step * 8192, "loss": loss, "lr": 3e-3 * (1 - step / 250), "grad_norm": 0.7}
        if step % 50 == 0:
            yield {"step": step, "validation_loss": loss + 0.11}


def figures(value: float, low: float, high: float, gzip: float, xz: float, documents: int) -> dict[str, Any]:
    return {
        "items": documents, "effective_items": documents / 2, "weight": documents * 2710, "value": value,
        "low": low, "high": high, "references": {"gzip": gzip, "xz": xz},
        "details": {"perplexity": 2 ** (value * 3.38), "tokens": documents * 802},
    }  # fmt: skip


SUMMARY: dict[str, Any] = {
    "window_tokens": 256, "intervals": {"confidence": 0.95, "resamples": 10_000, "seed": 1234},
    "metrics": {"bits_per_byte": {
        "unit": "bits per byte", "better": "lower", "about": "Bits for a byte of text.", "item": "document",
        "weight_unit": "bytes", "protocol": {"version": 1},
        "overall": figures(2.041, 2.004, 2.083, 2.214, 2.051, 149),
        "domains": {
            "code": figures(1.884, 1.83, 1.94, 1.988, 1.79, 74),
            "prose": figures(2.2, 2.161, 2.242, 2.441, 2.31, 75),
        },
    }},
}  # fmt: skip


NAMES = {"metric": "bits_per_byte", "unit": "bits per byte", "better": "lower", "item": "document"}


def comparison(domain: str, rule: str, difference: float, low: float, high: float, margin: float) -> dict[str, Any]:
    return {
        **NAMES, "domain": domain, "rule": rule, "candidate": 2.041,
        "champion": 2.041 - difference, "difference": difference,
        "low": low, "high": high, "margin": margin, "detectable_effect": 1.4 * (high - low) / 2, "items": 149,
        "passed": high <= margin, "failed": low > margin,
    }  # fmt: skip


def judgement(verdict: str, comparisons: list[dict[str, Any]], champion: str | None = "7") -> dict[str, Any]:
    reasons = [f"{row['domain']}: {row['rule']} {'holds' if row['passed'] else 'is not shown'}" for row in comparisons]
    return {
        "verdict": verdict, "reasons": reasons, "champion": champion, "confidence": 0.95, "comparisons": comparisons,
    }  # fmt: skip


PASS = judgement("PASS", [
    comparison("overall", "superiority", -0.0312, -0.0401, -0.0222, 0.0),
    comparison("code", "non-inferiority", -0.0405, -0.0532, -0.0281, 0.02),
    comparison("prose", "non-inferiority", -0.0198, -0.0309, -0.0084, 0.02),
])  # fmt: skip
INCONCLUSIVE = judgement("INCONCLUSIVE", [
    comparison("overall", "superiority", -0.0042, -0.0121, 0.0036, 0.0),
    comparison("code", "non-inferiority", -0.0105, -0.0232, 0.0021, 0.02),
    comparison("prose", "non-inferiority", 0.0144, 0.0031, 0.0262, 0.02),
])  # fmt: skip
FLOORS = judgement("PASS", [{
    **NAMES, "domain": "overall", "rule": "floor",
    "candidate": 2.041, "champion": None, "difference": None, "low": None,
    "high": None, "margin": 3.0, "detectable_effect": None, "items": 149, "passed": True, "failed": False,
}], champion=None)  # fmt: skip
SAMPLES = [
    {"prompt": "def ", "temperature": 0.8, "top_p": 0.95, "seed": 1234,
     "greedy": 'test_self(self):\n        self.assertEqual(self.test, "test")\n        self.assertEqual(self.',
     "sampled": "parse_args(self, name=None):\n        if name < 3 && name:\n            return <b>name</b>\n"},
    {"prompt": "The ", "temperature": 0.8, "top_p": 0.95, "seed": 1234,
     "greedy": "method is called with the given object, and the given object is called with the given object.",
     "sampled": "optional argument *encoding* specifies the name of the file, or None if it cannot be read."},
]  # fmt: skip


def corpus_counts() -> dict[str, Any]:
    def part(share: float) -> dict[str, Any]:
        domains = {"code": {"documents": round(1571 * share), "bytes": round(21_340_112 * share)},
                   "prose": {"documents": round(9320 * share), "bytes": round(4_211_973 * share)}}  # fmt: skip
        return {"documents": sum(d["documents"] for d in domains.values()),
                "bytes": sum(d["bytes"] for d in domains.values()), "by_domain": domains}  # fmt: skip

    return {
        **part(1.0), "by_split": {"train": part(0.8), "validation": part(0.1), "test": part(0.1)},
        "read_documents": 11_402, "duplicates": {"documents": 508, "bytes": 201_334},
        "rejected": {"binary": {"documents": 1, "first": ["lib/test/zip.dat"]},
                     "not_utf8": {"documents": 7, "first": ["a.py", "b.py", "c.py", "d.py", "e.py"]},
                     "empty": {"documents": 12, "first": ["__init__.py"]}},
    }  # fmt: skip


def statistics() -> pl.DataFrame:
    return pl.DataFrame([
        {"split": split, "domain": domain, "documents": n, "bytes": n * 3000, "bytes_median": 1830, "bytes_p95": 21_000,
         "bytes_max": 310_044, "non_ascii_fraction": 0.0021}
        for split, n in (("train", 8000), ("validation", 1000), ("test", 1000), ("overall", 10_000))
        for domain in ("code", "prose", "overall")
    ])  # fmt: skip


CHANGES = [{"step": 80, "changes": ["library torch 2.12.0 -> 2.13.0"]}]


def product(step: str, gate: dict[str, Any] | None) -> tuple[str, tuple[str, ...], dict[str, Any], dict[str, Any]]:
    gate = gate or PASS
    return {
        "ingest": ("corpus", (), {"train.parquet": "x" * 5000}, corpus_counts()),
        "validate": ("validation", ("ingest",), {"statistics.parquet": statistics()},
                     {"success": True, "expectations": 11, "failed": []}),
        "tokenizer": ("tokenizer", ("ingest",), {"tokenizer.json": "{}"},
                      {"vocab_size": 4096, "documents_round_tripped": 1089,
                       "bytes_per_token": {"code": 3.2, "prose": 3.61}}),
        "tokenize": ("shards", ("ingest", "tokenizer"), {"train.bin": "y" * 900},
                     {"train": {"documents": 8712, "tokens": 6_104_233, "bytes": 20_441_668},
                      "validation": {"documents": 1089, "tokens": 760_112, "bytes": 2_555_208}}),
        "train": ("checkpoint", ("tokenize", "tokenizer"),
                  {"history.jsonl": "".join(json.dumps(line) + "\n" for line in history(200)),
                   "training.json": json.dumps({"changes": CHANGES})},
                  {"steps": 200, "tokens": 200 * 8192}),
        "evaluate": ("evaluation", ("train", "tokenizer", "ingest"), {"summary.json": SUMMARY, "samples.json": SAMPLES},
                     {"bits_per_byte": 2.041}),
        "gate": ("gate", ("evaluate",), {"gate.json": gate},
                 {"verdict": gate["verdict"], "passed": int(gate["verdict"] == "PASS")}),
        "export": ("model", ("train", "tokenizer"), {"checks.json": {"documents": 8, "checks": [
            {"format": "huggingface", "what": "largest difference of a logit", "measured": 3.1e-6, "at_most": 1e-4},
            {"format": "onnx-fp32", "what": "number of greedy continuations that part at a tie", "measured": 1},
            {"format": "onnx-int4", "what": "positions that agree", "measured": 0.91, "at_least": 0.7},
        ]}}, {"formats": ["huggingface", "onnx-fp32", "onnx-int4"], "checks": 2}),
        "register": ("registration", ("export",), {}, {"version": 8}),
        "promote": ("promotion", ("register",), {}, {"version": 8}),
        "deploy": ("repository", ("register", "export"), {"config.pbtxt": "name"}, {}),
    }[step]  # fmt: skip


@pytest.fixture
def sample_run(tmp_path: Path) -> Callable[..., SampleRun]:
    """A run that has just started; `sample_run().do("ingest", …)` lets it do steps."""
    return lambda name="pretrain-3f9a61c2": SampleRun(tmp_path, name).start()


@pytest.fixture
def gates() -> dict[str, dict[str, Any]]:
    return {"PASS": PASS, "INCONCLUSIVE": INCONCLUSIVE, "FLOORS": FLOORS}
