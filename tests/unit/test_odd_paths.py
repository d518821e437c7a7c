"""A path names one file, whatever characters it holds: a library must not expand it into a pattern.

Beside each store lies another one that the pattern would match, with other contents at the same relative place.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from llm.config import ModelConfig
from llm.data.documents import CorpusWriter, Document, read_split
from llm.data.shards import ShardWriter, TokenShards, write_meta
from llm.data.statistics import statistics
from llm.evaluation.statistics.pairing import items_of
from llm.model import Decoder
from llm.model.weights import load, save
from llm.report.content import gather
from llm.runs.event_kinds import StepFinished, StepStarted
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.storage import Manifest, Recipe, Store
from llm.storage.products.data import Amount, CorpusCounts, LeftOut, ValidationCounts

PROJECT = Path(__file__).parents[2]
PAIRS = {"brackets": ("p[1]", "p1"), "a question mark": ("q?", "qx"), "a star": ("r*", "rab"), "a hash": ("s#", "s")}
COUNTS = CorpusCounts(
    documents=3,
    bytes=30,
    by_split={},
    by_domain={},
    read_documents=3,
    duplicates=Amount(documents=0, bytes=0),
    rejected={reason: LeftOut(documents=0, first=()) for reason in ("binary", "not_utf8", "empty")},
)


def corpus(folder: Path, text: str) -> None:
    with CorpusWriter(folder) as writer:
        for split in ("train", "validation", "test"):
            writer.add(Document(f"{text} {split}", "source", text), split)


def shards(folder: Path, text: str) -> None:
    with ShardWriter(folder, "train", 300) as writer:
        writer.add(np.array([0, len(text)]), text)
    write_meta(folder, 300, 0)


def table(name: str, **more: float) -> Callable[[Path, str], None]:
    def write(folder: Path, text: str) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        pl.DataFrame({"split": [text], **more}).write_parquet(folder / name)

    return write


def weights(folder: Path, text: str) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    model = Decoder(ModelConfig(**sizes, num_attention_heads=1, num_key_value_heads=1), 300)
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, len(text))
    save(model, folder)


def values(product: Manifest) -> set[float]:
    return {float(parameter.detach().max()) for parameter in load(product.folder).parameters()}


def reported(product: Manifest) -> object:
    folder = RunFolder(product.folder.parents[1] / "run")
    folder.path.mkdir()
    log = EventLog(folder.events)
    log.emit(StepStarted(step="validate"))
    log.emit(StepFinished(step="validate"))
    folder.keep("validate", product)
    return gather(folder).statistics


READS: dict[str, tuple[Callable[[Path, str], None], Callable[[Manifest], object]]] = {
    "a split": (corpus, lambda product: read_split(product, "train")["text"].to_list()),
    "statistics of a corpus": (corpus, lambda product: sorted(set(statistics(product)["domain"]))),
    "shards": (shards, lambda product: TokenShards.open(product).tokens("train").tolist()),
    "scores": (
        table("items/bits_per_byte.parquet", value=1.0, weight=2.0),
        lambda product: items_of(product, "bits_per_byte").to_dicts(),
    ),
    "a table of a report": (table("statistics.parquet"), reported),
    "weights": (
        weights,
        lambda product: {float(parameter.detach().max()) for parameter in load(product.folder).parameters()},
    ),
}
WANTED: dict[str, object] = {
    "a split": ["right train"],
    "statistics of a corpus": ["overall", "right"],
    "shards": [0, 5],
    "scores": [{"split": "right", "value": 1.0, "weight": 2.0}],
    "a table of a report": [{"split": "right"}],
    "weights": {5.0},
}


def made(root: Path, what: str, text: str) -> Manifest:
    counts = ValidationCounts(success=True, expectations=1, failed=()) if what == "a table of a report" else COUNTS
    with Store(root).stage(counts.kind, Recipe(text, {})) as stage:
        READS[what][0](stage.path, text)
        return stage.commit(counts)


@pytest.mark.parametrize("has_neighbour", [True, False])
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("what", READS)
def test_a_product_is_read_from_its_own_folder(tmp_path: Path, what: str, pair: str, has_neighbour: bool) -> None:
    own, neighbour = PAIRS[pair]
    product = made(tmp_path / own, what, "right")
    if has_neighbour:
        other = made(tmp_path / "other", what, "wrong one")
        shutil.copytree(other.folder, tmp_path / neighbour / product.kind / product.id)
    assert READS[what][1](product) == WANTED[what]


def test_every_call_of_polars_that_reads_a_path_says_that_it_is_no_pattern() -> None:
    calls = {
        f"{path.relative_to(PROJECT)}:{node.lineno}": {keyword.arg: keyword.value for keyword in node.keywords}
        for path in (PROJECT / "llm").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr.startswith(("read_parquet", "scan_", "read_csv", "read_ndjson", "read_ipc"))
    }
    assert len(calls) >= 4
    assert [
        place
        for place, given in calls.items()
        if not (isinstance(given.get("glob"), ast.Constant) and given["glob"].value is False)  # type: ignore[union-attr]
    ] == []
