"""The evaluation step: bits per byte of the held-out text, by domain and overall, beside gzip's and xz's.

Products (kind `evaluation`):

    documents.parquet   id, domain, origin, bytes, tokens, nats: one row a scored document, by domain and id
    summary.json        protocol, window, and by domain and overall: documents, bytes, tokens, bits per byte with its
                        interval, perplexity per token, gzip's and xz's bits per byte of the same text
    samples.json        greedy and seeded continuations of the configured prompts

Bits per byte compare models of any tokenizer: nats / ln 2 / bytes of UTF-8. The perplexity is per token and
compares only models that share a tokenizer. Nats are rounded to 1e-4 so that the last bits of float32 sums do not
give equal work unequal ids.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm.config.sections import EvaluationConfig
from llm.data.documents import read_split
from llm.errors import UserError
from llm.evaluation.bits_per_byte.compressors import gzip_bits_per_byte, xz_bits_per_byte
from llm.evaluation.bits_per_byte.score import score_documents
from llm.evaluation.selection import COLUMNS, join_origins, select_documents
from llm.evaluation.statistics.bootstrap import estimate_ratio
from llm.evaluation.statistics.pairing import PROTOCOL
from llm.generation import Generator, Sampling
from llm.runs.event_kinds import MetricMeasured, Progress
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.tokenizer import tokenizer_of

CODE = (
    "llm.model",
    "llm.generation",
    "llm.tokenizer",
    "llm.evaluation.statistics.bootstrap",
    "llm.evaluation.bits_per_byte.compressors",
    "llm.evaluation.evaluate",
    "llm.evaluation.statistics.pairing",
    "llm.evaluation.bits_per_byte.score",
    "llm.evaluation.selection",
    "llm.evaluation.bits_per_byte.windows",
)
"""Sources that decide an evaluation's numbers."""


def evaluate(
    config: EvaluationConfig, checkpoint: Manifest, tokenizer: Manifest, corpus: Manifest, store: Store, log: EventLog
) -> Manifest:
    """Score `checkpoint` on the corpus's test split; counts are the headline numbers.

    Raises DamagedError if an input is not what its manifest says, UserError if there is no test text.
    """
    recipe = Recipe("evaluation", config.model_dump(mode="json"), [checkpoint, tokenizer, corpus], code=CODE)
    if (done := store.find(recipe)) is not None:
        return done
    generator = Generator.open(checkpoint, tokenizer)
    window_tokens = trained_window(checkpoint, generator.context_tokens)
    documents = select_documents(
        read_split(corpus, "test", COLUMNS), config.max_bytes_per_domain, config.max_bytes_per_document
    )
    scored = _score(generator, documents, window_tokens, config.batch_size, log)
    log.emit(Progress(step="evaluate", message="comparing with gzip and xz", done=0, total=1))
    summary = {
        "protocol": PROTOCOL,
        "window_tokens": window_tokens,
        "confidence": config.confidence,
        **summarise(scored, config),
    }
    overall = summary["overall"]
    log.emit(MetricMeasured(name="test/bits_per_byte", value=overall["bits_per_byte"]))
    with store.stage("evaluation", recipe) as stage:
        scored.drop("text").write_parquet(stage.path / "documents.parquet")
        _write_json(stage.path / "summary.json", summary)
        _write_json(stage.path / "samples.json", samples(generator, config, log))
        return stage.commit(counts=headline(summary))


def rescore(config: EvaluationConfig, checkpoint: Manifest, corpus: Manifest, store: Store, log: EventLog) -> Manifest:
    """Score an older checkpoint, a champion's, on this corpus with the tokenizer that it was trained with.

    Raises UserError if the checkpoint names no tokenizer, or the tokenizer is gone.
    """
    return evaluate(config, checkpoint, tokenizer_of(checkpoint), corpus, store, log)


def trained_window(checkpoint: Manifest, context_tokens: int) -> int:
    """Length of the windows to score with: the training sequences', else the model's whole context."""
    if not any(entry.path == "training.json" for entry in checkpoint.files):
        return context_tokens
    trained = json.loads(checkpoint.file("training.json").read_text()).get("sequence_length")
    return min(trained, context_tokens) if isinstance(trained, int) else context_tokens


def summarise(scored: pl.DataFrame, config: EvaluationConfig) -> dict[str, Any]:
    """The figures of all documents (`overall`) and of each domain (`domains`) from rows with text and nats."""
    by_domain = {str(domain): rows for (domain,), rows in scored.group_by("domain", maintain_order=True)}
    return {
        "overall": _figures(scored, config),
        "domains": {domain: _figures(rows, config) for domain, rows in by_domain.items()},
    }


def headline(summary: dict[str, Any]) -> dict[str, float | int | None]:
    """The numbers for the manifest's counts: overall bits per byte and perplexity, bits per byte by domain."""
    overall = summary["overall"]
    return {
        **{name: overall[name] for name in ("bits_per_byte", "perplexity", "documents", "bytes", "tokens")},
        **{f"bits_per_byte/{domain}": figures["bits_per_byte"] for domain, figures in summary["domains"].items()},
    }


def samples(generator: Generator, config: EvaluationConfig, log: EventLog) -> list[dict[str, Any]]:
    """A greedy and a seeded continuation of every prompt."""
    drawn = Sampling(config.sample_temperature, top_p=config.sample_top_p, seed=config.seed)
    made: list[dict[str, Any]] = []
    for prompt in config.prompts:
        log.emit(Progress(step="evaluate", message="samples", done=len(made), total=len(config.prompts)))
        made.append(
            {
                "prompt": prompt,
                "greedy": generator.complete(prompt, config.sample_tokens),
                "sampled": generator.complete(prompt, config.sample_tokens, drawn),
                "temperature": drawn.temperature,
                "top_p": drawn.top_p,
                "seed": drawn.seed,
            }
        )
    return made


def _score(
    generator: Generator, documents: pl.DataFrame, window_tokens: int, batch_size: int, log: EventLog
) -> pl.DataFrame:
    """The documents with the columns tokens and nats."""
    tokens = generator.tokenizer.encode_batch(documents["text"].to_list())
    nats = score_documents(
        generator.model,
        tokens,
        end_of_text=generator.tokenizer.end_of_text,
        window_tokens=window_tokens,
        batch_size=batch_size,
        progress=lambda done, total: log.emit(
            Progress(step="evaluate", message="tokens scored", done=done, total=total)
        ),
    )
    if not np.isfinite(nats).all():
        first = documents["id"][int(np.flatnonzero(~np.isfinite(nats))[0])]
        raise UserError(
            f"the model gives no finite probability to {(~np.isfinite(nats)).sum()} of {len(nats)} documents",
            f"The first is {first}. The training diverged: lower training.optimizer.lr and train again.",
        )
    return documents.with_columns(
        tokens=pl.Series([len(ids) for ids in tokens], dtype=pl.Int64), nats=pl.Series(np.round(nats, 4))
    )


def _figures(rows: pl.DataFrame, config: EvaluationConfig) -> dict[str, Any]:
    nats, sizes, tokens = rows["nats"].to_numpy(), rows["bytes"].to_numpy(), int(rows["tokens"].sum())
    clusters = join_origins(rows.select("origin", "domain", "bytes", "nats"))
    estimate = estimate_ratio(
        clusters["nats"].to_numpy() / math.log(2), clusters["bytes"].to_numpy(), clusters["domain"].to_list(),
        confidence=config.confidence, resamples=config.bootstrap_resamples, seed=config.seed,
    )  # fmt: skip
    texts: Sequence[str] = rows["text"].to_list()
    return {
        "documents": len(rows),
        "bytes": int(sizes.sum()),
        "tokens": tokens,
        "bits_per_byte": _rounded(estimate.value),
        "low": _rounded(estimate.low),
        "high": _rounded(estimate.high),
        "perplexity": _rounded(math.exp(nats.sum() / tokens)) if tokens else None,
        "gzip_bits_per_byte": _rounded(gzip_bits_per_byte(texts)),
        "xz_bits_per_byte": _rounded(xz_bits_per_byte(texts)),
    }


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
