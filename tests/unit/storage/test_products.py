"""What the maker of each product says in its manifest, and what a manifest that an earlier version wrote reads as."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from llm.errors import DamagedError, UserError
from llm.storage import Manifest, Recipe, Store, identity
from llm.storage.products import (
    Amount,
    CheckpointCounts,
    CorpusCounts,
    Counts,
    EvaluationCounts,
    GateCounts,
    LeftOut,
    MetricKind,
    ModelCounts,
    PromotionCounts,
    RegistrationCounts,
    RepositoryCounts,
    ShardsCounts,
    SplitAmount,
    TokenAmount,
    TokenizerCounts,
    ValidationCounts,
)

PROJECT = Path(__file__).parents[3]
GOLDEN = PROJECT / "tests" / "golden" / "manifests.jsonl"
"""A manifest of each kind, with its id, as the version before counts had types wrote it."""
CODE, PROSE = Amount(documents=1, bytes=9), Amount(documents=1, bytes=8)

MADE: dict[str, Counts] = {
    made.kind: made
    for made in (
        CorpusCounts(
            documents=3,
            bytes=25,
            by_split={
                "train": SplitAmount(documents=1, bytes=9, by_domain={"code": CODE}),
                "validation": SplitAmount(documents=1, bytes=8, by_domain={"prose": PROSE}),
                "test": SplitAmount(documents=1, bytes=8, by_domain={"prose": PROSE}),
            },
            by_domain={"code": CODE, "prose": Amount(documents=2, bytes=16)},
            read_documents=6,
            duplicates=Amount(documents=1, bytes=8),
            rejected={
                "binary": LeftOut(documents=1, first=["lib/zip.dat"]),
                "not_utf8": LeftOut(documents=0, first=[]),
                "empty": LeftOut(documents=1, first=["é/__init__.py"]),
            },
        ),
        ValidationCounts(success=False, expectations=11, failed=["documents: 3, at least 1000 expected"]),
        TokenizerCounts(vocab_size=4096, documents_round_tripped=1089, bytes_per_token={"code": 3.2, "prose": 4.0}),
        ShardsCounts(
            train=TokenAmount(documents=8712, tokens=6104233, bytes=20441668),
            validation=TokenAmount(documents=1089, tokens=760112, bytes=2555208),
        ),
        CheckpointCounts(steps=200, tokens=1638400, loss=1.9873767296473186, validation_loss=None),
        EvaluationCounts(
            figures={
                "bits_per_byte": 2.041, "perplexity": 119.5, "documents": 149, "bytes": 403790, "tokens": 119498,
                "bits_per_byte/code": 1.884, "bits_per_byte/prose": None,
            }
        ),
        GateCounts(verdict="INCONCLUSIVE", passed=0),
        ModelCounts(formats=["huggingface", "onnx-fp32", "onnx-int4"], checks=7),
        RepositoryCounts(model_name="gristmill", version=8, precision="int4"),
        RegistrationCounts(version=8),
        PromotionCounts(version=8),
    )
}  # fmt: skip
EARLIER = {manifest.kind: manifest for manifest in map(Manifest.model_validate_json, GOLDEN.read_text().splitlines())}


def test_the_tables_have_every_kind():
    assert set(MADE) == set(EARLIER) == {kind.kind for kind in Counts.__subclasses__() if kind.__module__ != __name__}


@pytest.mark.parametrize("kind", MADE)
def test_what_a_maker_says_is_written_as_it_was_before_byte_for_byte(kind: str):
    assert json.dumps(MADE[kind].document()) == json.dumps(EARLIER[kind].counts)


@pytest.mark.parametrize("kind", MADE)
def test_what_a_maker_says_gives_the_id_that_it_gave_before(kind: str):
    before = EARLIER[kind]
    assert identity(kind, before.files, MADE[kind].document(), before.config, before.parents) == before.id


@pytest.mark.parametrize("kind", MADE)
def test_a_manifest_of_an_earlier_version_reads_as_what_its_maker_said(kind: str):
    assert type(MADE[kind]).of(EARLIER[kind]) == MADE[kind]


def test_a_product_keeps_what_its_maker_said(store: Store):
    with store.stage("gate", Recipe("gate", {})) as stage:
        made = stage.commit(GateCounts(verdict="PASS", passed=1))
    assert made.counts == {"verdict": "PASS", "passed": 1}
    assert GateCounts.of(Manifest.read_uri(made.uri)) == GateCounts(verdict="PASS", passed=1)


@pytest.mark.parametrize(
    ("kind", "part"), [("corpus", {"languages": {"en": 2}}), ("evaluation", {"curves": {"x": {"unit": "bits"}}})]
)
def test_what_a_later_version_adds_is_kept(kind: str, part: dict[str, Any]):
    later = EARLIER[kind].model_copy(update={"counts": EARLIER[kind].counts | part})
    counts = type(MADE[kind]).of(later)
    assert counts.model_extra == part
    assert Manifest.parsed(later.document(), "x").counts == later.counts


def test_what_a_later_version_adds_inside_a_part_is_kept():
    document = json.loads(json.dumps(EARLIER["corpus"].counts))
    document["by_split"]["train"]["tokens"] = 7
    later = EARLIER["corpus"].model_copy(update={"counts": document})
    assert CorpusCounts.of(later).by_split["train"].model_extra == {"tokens": 7}


def test_a_manifest_of_another_kind_is_refused_by_both_names():
    before = EARLIER["checkpoint"]
    with pytest.raises(UserError, match=rf"checkpoint {before.id} is given where a corpus is needed\n  Give the"):
        CorpusCounts.of(before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"read_documents": None}, "counts.read_documents: Input should be a valid integer"),
        ({"rejected": {"binary": {"documents": 1}}}, "counts.rejected.binary.first: Field required"),
        ({"bytes": "25"}, "counts.bytes: Input should be a valid integer"),
    ],
)
def test_counts_that_do_not_fit_name_the_manifest_the_place_and_the_remedy(change: dict[str, Any], words: str):
    before = EARLIER["corpus"]
    broken = before.model_copy(update={"counts": before.counts | change})
    message = rf"the manifest of corpus {before.id} cannot be read: {words}\n  Remove {before.uri} and run again"
    with pytest.raises(DamagedError, match=message):
        CorpusCounts.of(broken)


def test_an_evaluation_keeps_what_its_metrics_are_apart_from_its_figures(store: Store):
    kinds = {"accuracy": MetricKind(unit="share", better="higher")}
    scores = EvaluationCounts(figures={"accuracy": 0.5, "accuracy/code": None}, metrics=kinds)
    with store.stage("evaluation", Recipe("evaluation", {})) as stage:
        made = stage.commit(scores)
    written = {"accuracy": 0.5, "accuracy/code": None, "metrics": {"accuracy": {"unit": "share", "better": "higher"}}}
    assert made.counts == written
    assert EvaluationCounts.of(Manifest.read_uri(made.uri)) == scores


def test_a_misspelt_field_is_refused():
    with pytest.raises(ValidationError, match=r"precisoin\s+Extra inputs are not permitted"):
        RepositoryCounts(model_name="gristmill", version=8, precisoin="int4")


def test_counts_of_another_kind_than_the_product_are_refused_before_anything_is_kept(store: Store):
    with (
        pytest.raises(AssertionError, match="GateCounts of a corpus"),
        store.stage("corpus", Recipe("ingest", {})) as stage,
    ):
        stage.commit(GateCounts(verdict="PASS", passed=1))
    assert not list((store.root / "corpus").iterdir())


def test_no_area_reads_counts_by_key():
    sources = {path: path.read_text() for path in (PROJECT / "llm").rglob("*.py")}
    assert not [str(path) for path, text in sources.items() if re.search(r"\.counts(\[|\.get\()", text)]


def test_a_kind_may_be_added_anywhere(store: Store):
    class PreferenceCounts(Counts):
        kind: ClassVar[str] = "preferences"
        pairs: int

    with store.stage("preferences", Recipe("feedback", {})) as stage:
        made = stage.commit(PreferenceCounts(pairs=3))
    assert PreferenceCounts.of(made).pairs == 3
