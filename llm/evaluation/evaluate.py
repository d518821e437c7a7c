"""The evaluation step: what every configured metric says of the held-out text, by domain and overall.

Products (kind `evaluation`):

    items/METRIC.parquet  id, domain, cluster, weight, value and the metric's own columns: one row an item
    summary.json          window, how intervals are made, and for each metric: unit, direction, protocol, and its
                          figures overall and by domain: value with its interval, items, weight, references, details
    samples.json          greedy and seeded continuations of the configured prompts

`metric.py` says what a metric is. torch is imported when there is something to score: a step that finds its product,
and the gate, do without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from llm.config import EvaluationConfig, deciding
from llm.data.documents import read_split
from llm.evaluation.gate.comparison import finite
from llm.evaluation.metric import Metric, Subject, check_figures, check_items, find_metrics, source_of
from llm.evaluation.selection import COLUMNS, select_documents
from llm.evaluation.statistics.intervals import Intervals, weighted_mean
from llm.evaluation.statistics.pairing import items_file
from llm.runs.event_kinds import MetricMeasured, Progress
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import EvaluationCounts, MetricKind
from llm.tokenizer import tokenizer_of

if TYPE_CHECKING:
    from llm.generation import Generator

SAMPLE_TOKENS = 64
SAMPLE_TEMPERATURE = 0.8
SAMPLE_TOP_P = 0.95


def evaluate(
    config: EvaluationConfig, checkpoint: Manifest, tokenizer: Manifest, corpus: Manifest, store: Store, log: EventLog
) -> Manifest:
    """Measure `checkpoint` on the corpus's test split; counts are the headline numbers.

    Raises DamagedError if an input does not match its manifest, UserError if there is no test text, or for a metric
    that is not there or gives items that are none.
    """
    metrics = find_metrics(config.metrics)
    recipe = Recipe(
        "evaluation", deciding(config), [checkpoint, tokenizer, corpus],
        code=(__name__, *(source_of(name)[0] for name in config.metrics)),
    )  # fmt: skip
    if (done := store.find(recipe)) is not None:
        return done
    from llm.generation import Generator

    generator = Generator.open(checkpoint, tokenizer)
    subject = Subject(
        generator,
        select_documents(read_split(corpus, "test", COLUMNS), config.max_bytes_per_domain,
                         config.max_bytes_per_document),
        trained_window(checkpoint, generator.context_tokens),
        config.batch_size,
        lambda message, done, total: log.emit(Progress(step="evaluate", message=message, done=done, total=total)),
    )  # fmt: skip
    items = {metric.name: check_items(metric, metric.measure(subject)) for metric in metrics}
    intervals = Intervals(config.confidence, config.bootstrap_resamples, config.seed)
    figures = {metric.name: summarise(metric, subject, items[metric.name], intervals) for metric in metrics}
    summary = {"window_tokens": subject.window_tokens, "intervals": asdict(intervals), "metrics": figures}
    for name, about in figures.items():
        log.emit(MetricMeasured(name=f"test/{name}", value=about["overall"]["value"]))
    with store.stage("evaluation", recipe) as stage:
        (stage.path / "items").mkdir()
        for name, rows in items.items():
            rows.write_parquet(stage.path / items_file(name))
        _write_json(stage.path / "summary.json", summary)
        _write_json(stage.path / "samples.json", samples(generator, config, log))
        return stage.commit(headline(figures))


def rescore(config: EvaluationConfig, checkpoint: Manifest, corpus: Manifest, store: Store, log: EventLog) -> Manifest:
    """Measure an older checkpoint, a champion's, on this corpus with the tokenizer that it was trained with.

    Raises UserError if the checkpoint names no tokenizer, or the tokenizer is gone.
    """
    return evaluate(config, checkpoint, tokenizer_of(checkpoint), corpus, store, log)


def trained_window(checkpoint: Manifest, context_tokens: int) -> int:
    """Length of the windows to score with: the training sequences', else the model's whole context."""
    if not any(entry.path == "training.json" for entry in checkpoint.files):
        return context_tokens
    trained = json.loads(checkpoint.file("training.json").read_text()).get("sequence_length")
    return min(trained, context_tokens) if isinstance(trained, int) else context_tokens


def summarise(metric: Metric, subject: Subject, items: pl.DataFrame, intervals: Intervals) -> dict[str, Any]:
    """The kind of a metric, and its figures of all items (`overall`) and of each domain (`domains`)."""
    by_domain = {str(domain): rows for (domain,), rows in items.group_by("domain", maintain_order=True)}
    return {
        "unit": metric.unit,
        "better": metric.better,
        "about": metric.about,
        "item": metric.item,
        "weight_unit": metric.weight_unit,
        "protocol": dict(metric.protocol),
        "overall": _figures(metric, subject, items, intervals),
        "domains": {domain: _figures(metric, subject, rows, intervals) for domain, rows in by_domain.items()},
    }


def headline(metrics: Mapping[str, Mapping[str, Any]]) -> EvaluationCounts:
    """The counts of the manifest: each metric overall and by domain, and what it counted."""
    found: dict[str, int | float | None] = {}
    for name, about in metrics.items():
        overall = about["overall"]
        found[name] = overall["value"]
        found |= {f"{name}/{domain}": row["value"] for domain, row in about["domains"].items()}
        more = {**overall["details"], f"{about['item']}s": overall["items"]}
        if about["weight_unit"] is not None:
            more[about["weight_unit"]] = overall["weight"]
        found = more | found  # a metric's own name wins, and the first metric that counts a thing
    kinds = {name: MetricKind(unit=about["unit"], better=about["better"]) for name, about in metrics.items()}
    return EvaluationCounts(figures=found, metrics=kinds)


def samples(generator: Generator, config: EvaluationConfig, log: EventLog) -> list[dict[str, Any]]:
    """A greedy and a seeded continuation of every prompt."""
    from llm.generation import Sampling

    drawn = Sampling(SAMPLE_TEMPERATURE, top_p=SAMPLE_TOP_P, seed=config.seed)
    made: list[dict[str, Any]] = []
    for prompt in config.prompts:
        log.emit(Progress(step="evaluate", message="samples", done=len(made), total=len(config.prompts)))
        made.append(
            {
                "prompt": prompt,
                "greedy": generator.complete(prompt, SAMPLE_TOKENS),
                "sampled": generator.complete(prompt, SAMPLE_TOKENS, drawn),
                "temperature": drawn.temperature,
                "top_p": drawn.top_p,
                "seed": drawn.seed,
            }
        )
    return made


def _figures(metric: Metric, subject: Subject, items: pl.DataFrame, intervals: Intervals) -> dict[str, Any]:
    estimate = weighted_mean(items, intervals)
    weight = float(items["weight"].sum())
    return {
        "value": finite(estimate.value),
        "low": finite(estimate.low),
        "high": finite(estimate.high),
        "items": len(items),
        "effective_items": finite(estimate.effective),
        "weight": int(weight) if weight.is_integer() else weight,
        "references": _finite(check_figures(metric, "references", metric.references(subject, items))),
        "details": _finite(check_figures(metric, "details", metric.details(subject, items))),
    }


def _finite(figures: Mapping[str, float | int | None]) -> dict[str, float | int | None]:
    return {name: value if isinstance(value, int) else finite(value) for name, value in figures.items()}


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
