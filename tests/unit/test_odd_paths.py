"""A path names one file, whatever characters it holds: a library must not expand it into a pattern.

Beside each store lies another one that the pattern would match, with other contents at the same relative place.
"""

from __future__ import annotations

import ast
import json
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
from llm.evaluation.statistics.pairing import documents_of
from llm.model import Decoder
from llm.model.weights import load, save
from llm.report.content import gather
from llm.runs.folder import RunFolder
from llm.storage import Manifest, Recipe, Store

PROJECT = Path(__file__).parents[2]
PAIRS = {"brackets": ("p[1]", "p1"), "a question mark": ("q?", "qx"), "a star": ("r*", "rab"), "a hash": ("s#", "s")}
COUNTS = {
    "read_documents": 3,
    "duplicates": {"documents": 0},
    "rejected": {"binary": {"documents": 0}, "not_utf8": {"documents": 0}},
}


def corpus(folder: Path, text: str) -> None:
    with CorpusWriter(folder) as writer:
        for split in ("train", "validation", "test"):
            writer.add(Document(f"{text} {split}", "source", text), split)


def shards(folder: Path, text: str) -> None:
    with ShardWriter(folder, "train", 300) as writer:
        writer.add(np.array([0, len(text)]), text)
    write_meta(folder, 300, 0)


def table(name: str) -> Callable[[Path, str], None]:
    return lambda folder, text: pl.DataFrame({"split": [text]}).write_parquet(folder / name)


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
    events = [
        {"time": "2026-01-01T00:00:00Z", "kind": f"step_{kind}", "step": "validate"} for kind in ("started", "finished")
    ]
    folder.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    folder.manifest_path("validate").parent.mkdir()
    product.write(folder.manifest_path("validate"))
    return gather(folder).statistics


READS: dict[str, tuple[Callable[[Path, str], None], Callable[[Manifest], object]]] = {
    "a split": (corpus, lambda product: read_split(product, "train")["text"].to_list()),
    "statistics of a corpus": (corpus, lambda product: sorted(set(statistics(product)["domain"]))),
    "shards": (shards, lambda product: TokenShards.open(product).tokens("train").tolist()),
    "scores": (table("documents.parquet"), lambda product: documents_of(product).to_dicts()),
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
    "scores": [{"split": "right"}],
    "a table of a report": [{"split": "right"}],
    "weights": {5.0},
}


def made(root: Path, make: Callable[[Path, str], None], text: str) -> Manifest:
    with Store(root).stage("product", Recipe(text, {})) as stage:
        make(stage.path, text)
        return stage.commit(COUNTS)


@pytest.mark.parametrize("has_neighbour", [True, False])
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("what", READS)
def test_a_product_is_read_from_its_own_folder(tmp_path: Path, what: str, pair: str, has_neighbour: bool) -> None:
    make, read = READS[what]
    own, neighbour = PAIRS[pair]
    product = made(tmp_path / own, make, "right")
    if has_neighbour:
        other = made(tmp_path / "other", make, "wrong one")
        shutil.copytree(other.folder, tmp_path / neighbour / "product" / product.id)
    assert read(product) == WANTED[what]


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
