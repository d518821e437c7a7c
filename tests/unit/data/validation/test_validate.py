from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llm.config import ValidationConfig
from llm.data.validation import suite_path, validate
from llm.errors import UserError, ValidationFailed
from llm.runs.events import EventLog
from llm.storage import Manifest, Store

BETWEEN = "expect_column_values_to_be_between"


@pytest.fixture
def corpus(texts: Path, ingested: Callable[..., Manifest]) -> Manifest:
    return ingested(texts)


@pytest.fixture
def judged(corpus: Manifest, store: Store, log: EventLog, tmp_path: Path) -> Callable[..., Manifest]:
    """Validate the corpus by a suite of the given expectations."""

    def judge(*expectations: dict[str, Any]) -> Manifest:
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"name": "mine", "expectations": expectations}))
        return validate(ValidationConfig(suite=str(path)), corpus, store, log)

    return judge


def expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs}


def where(condition: str, **kwargs: Any) -> dict[str, Any]:
    return expect(BETWEEN, row_condition=condition, condition_parser="pandas", **kwargs)


def products(store: Store) -> list[Path]:
    return list((store.root / "validation").glob("*")) if (store.root / "validation").exists() else []


def test_a_sound_corpus_passes_the_suite_that_comes_with_us(corpus: Manifest, store: Store, log: EventLog) -> None:
    done = validate(ValidationConfig(), corpus, store, log)
    assert done.counts == {"success": True, "expectations": 11, "failed": []}
    assert {entry.path for entry in done.files} == {
        "data_docs/index.html",
        "data_docs/suite.html",
        "result.json",
        "statistics.parquet",
    }
    assert json.loads(done.file("result.json").read_text())["success"] is True
    assert pl.read_parquet(done.file("statistics.parquet"))["documents"].max() == 60
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
    assert validate(ValidationConfig(), corpus, store, log) == done
    assert store.found == {done.id}


def test_the_verdict_is_the_same_product_in_another_store_and_process(corpus: Manifest, tmp_path: Path) -> None:
    (tmp_path / "corpus.json").write_text(corpus.model_dump_json())
    program = (
        "import sys; from llm.config import ValidationConfig; from llm.data.validation import validate;"
        "from llm.storage import Manifest, Store; from llm.runs.events import EventLog;"
        "corpus, store = sys.argv[1:];"
        "print(validate(ValidationConfig(), Manifest.read(corpus), Store(store), EventLog(store + '.events')).id)"
    )
    here = Store(tmp_path / "a")
    one = validate(ValidationConfig(), corpus, here, EventLog(tmp_path / "a.events")).id
    two = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "corpus.json"), str(tmp_path / "b")],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[4],
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert two.stdout.strip() == one
    assert two.stderr == ""  # no progress bars, no notes on usage reports


def test_data_docs_need_no_network_and_hold_neither_times_nor_broken_links(judged: Callable[..., Manifest]) -> None:
    folder = judged(expect(BETWEEN, column="documents", min_value=1)).folder / "data_docs"
    for name in ("index.html", "suite.html"):
        page = (folder / name).read_text()
        assert "documents" in page
        assert not re.findall(r"https?://", page)
        assert not re.findall(r"20\d\d-?[01]\d-?[0-3]\dT?", page)
        links = [link for link in re.findall(r'href="([^"]*)"', page) if not link.startswith("#")]
        assert links
        assert all((folder / link).is_file() for link in links)
    assert "Succeeded" in (folder / "index.html").read_text()


def test_a_domain_with_markup_in_its_name_is_shown_not_obeyed(
    ingested: Callable[..., Manifest], texts: Path, store: Store, log: EventLog, tmp_path: Path
) -> None:
    suite = tmp_path / "mine.json"
    suite.write_text(json.dumps({"name": "mine", "expectations": [expect(BETWEEN, column="documents", max_value=0)]}))
    corpus = ingested(texts, domain="<script>alert(1)</script>")
    with pytest.raises(ValidationFailed):
        validate(ValidationConfig(suite=str(suite)), corpus, store, log)
    (product,) = products(store)
    page = (product / "data_docs" / "index.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page


def test_a_failing_suite_names_each_failure_with_what_was_seen_and_keeps_the_verdict(
    judged: Callable[..., Manifest], store: Store
) -> None:
    suite = (
        expect(BETWEEN, column="documents", min_value=61),
        expect("expect_column_distinct_values_to_contain_set", column="split", value_set=["train", "dev"]),
        where('split=="overall"', column="documents_fraction", max_value=0.1),
        expect("expect_column_to_exist", column="perplexity"),
        expect("expect_table_row_count_to_equal", value=3),
        expect(BETWEEN, column="empty_documents", max_value=0),
    )
    with pytest.raises(ValidationFailed) as failure:
        judged(*suite)
    message = str(failure.value)
    assert re.search(r"corpus \w{16} did not pass suite mine: 5 of 6 expectations failed\n", message)
    assert re.search(r"\n  documents: \w+\(min_value=61\.0\); observed \d+ \(split train, .* 3 more rows\n", message)
    assert re.search(r"\n  split: \w+_contain_set\(value_set=\['train', 'dev'\]\); observed no 'dev'\n", message)
    assert f'\n  documents_fraction where split=="overall": {BETWEEN}(max_value=0.1); observed 1.0 (split ' in message
    assert "\n  perplexity: expect_column_to_exist(); observed nothing that fits\n" in message
    assert "\n  the table: expect_table_row_count_to_equal(value=3); observed 8\n" in message
    (product,) = products(store)
    assert f"\n  Data Docs: {product}/data_docs/index.html\n" in message
    assert Manifest.read(product / "manifest.json").counts["success"] is False
    with pytest.raises(ValidationFailed) as again:
        judged(*suite)
    assert str(again.value) == message
    assert store.found == {product.name}


def test_an_edited_suite_is_judged_anew(judged: Callable[..., Manifest], store: Store) -> None:
    judged(expect(BETWEEN, column="documents", min_value=1))
    judged(expect(BETWEEN, column="documents", min_value=1))
    assert len(store.found) == 1
    with pytest.raises(ValidationFailed):
        judged(expect(BETWEEN, column="documents", min_value=100))


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        (expect("expect_column_values_to_be_betwen", column="bytes"), r"no expectation \w+\n  Did you mean expect_col"),
        (expect(BETWEEN, column="bites", min_value=1), r"names column bites, which .*\n  Did you mean bytes\?"),
        (expect(BETWEEN, colum="bytes", min_value=1), r"not complete or not allowed\n.*column: field required"),
        (where("a b", column="bytes", min_value=1), "cannot be evaluated"),
    ],
)
def test_an_expectation_that_makes_no_sense_is_refused_and_nothing_is_kept(
    judged: Callable[..., Manifest], store: Store, expectation: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        judged(expectation)
    assert not products(store)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"suite .*s\.json is not JSON: "),
        ("[]", r"s\.json is not an expectation suite\n"),
        ('{"expectations": []}', "with at least one expectation"),
        ('{"expectations": ["expect_column_to_exist"]}', "is not an expectation suite"),
    ],
)
def test_a_file_that_is_not_a_suite_is_refused(
    corpus: Manifest, store: Store, log: EventLog, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(UserError, match=message):
        validate(ValidationConfig(suite=str(tmp_path / "s.json")), corpus, store, log)
    assert not products(store)


def test_a_suite_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match=r"there is no suite pretran\n  Did you mean pretrain\?"):
        suite_path("pretran")
    with pytest.raises(UserError, match=r"there is no suite \./x\.json\n  It was looked for at /.*x\.json"):
        suite_path("./x.json")
