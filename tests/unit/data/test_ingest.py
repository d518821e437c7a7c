from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm.config import DataConfig
from llm.data import SPLITS, read_split
from llm.data.ingest import ingest
from llm.data.sources import code_of, source_of
from llm.data.sources.discovery import formats
from llm.data.sources.local import LocalFiles
from llm.errors import UserError
from llm.runs.event_kinds import Progress, Warned
from llm.runs.events import EventLog
from llm.storage import Manifest, Store
from llm.storage.hashes import sha256_of_json
from llm.storage.recipe.sources import reached

Ingest = Callable[..., Manifest]


def nothing_is_left_in(store: Store) -> bool:
    return not [path for path in store.root.rglob("*") if path.is_file() or path.name.startswith(".partial")]


def all_documents(corpus: Manifest) -> pl.DataFrame:
    return pl.concat(read_split(corpus, split) for split in SPLITS)


def test_every_text_is_in_exactly_one_split(texts: Path, ingested: Ingest) -> None:
    corpus = ingested(texts)
    documents = all_documents(corpus)
    assert sorted(documents["text"]) == sorted(path.read_text() for path in texts.iterdir())
    assert documents["id"].is_unique().all()
    assert sorted(documents["source"]) == sorted(path.name for path in texts.iterdir())


def test_the_counts_are_what_the_files_hold(texts: Path, ingested: Ingest) -> None:
    (texts / "again.txt").write_text((texts / "07.txt").read_text())
    (texts / "blank.txt").write_text("\n")
    (texts / "notes.jsonl").write_text(json.dumps({"text": "żółw", "domain": "animals"}) + "\n")
    counts = ingested(texts).counts
    total = sum((texts / f"{number:02}.txt").stat().st_size for number in range(60))
    assert (counts["documents"], counts["bytes"], counts["read_documents"]) == (61, total + 7, 63)
    assert counts["by_domain"] == {"animals": {"documents": 1, "bytes": 7}, "text": {"documents": 60, "bytes": total}}
    assert sum(split["documents"] for split in counts["by_split"].values()) == 61
    assert all(
        sum(domain["bytes"] for domain in split["by_domain"].values()) == split["bytes"]
        for split in counts["by_split"].values()
    )
    assert counts["duplicates"] == {"documents": 1, "bytes": (texts / "07.txt").stat().st_size}
    assert counts["rejected"]["empty"] == {"documents": 1, "first": ["blank.txt"]}


def test_the_first_of_equal_texts_by_name_stays(texts: Path, ingested: Ingest) -> None:
    (texts / "00-copy.txt").write_text((texts / "07.txt").read_text())
    sources = set(all_documents(ingested(texts))["source"])
    assert "00-copy.txt" in sources
    assert "07.txt" not in sources


def test_the_same_text_elsewhere_and_later_gives_the_same_files(texts: Path, tmp_path: Path, log: EventLog) -> None:
    other = tmp_path / "elsewhere"
    for path in sorted(texts.iterdir(), reverse=True):
        other.mkdir(exist_ok=True)
        (other / path.name).write_text(path.read_text())
        os.utime(other / path.name, (1, 1))
    one = ingest(DataConfig(path=str(texts)), Store(tmp_path / "a"), log)
    two = ingest(DataConfig(path=str(other)), Store(tmp_path / "b"), log)
    assert (one.files, one.counts) == (two.files, two.counts)
    assert one.id == ingest(DataConfig(path=str(texts)), Store(tmp_path / "c"), log).id


def test_nothing_is_read_twice_but_a_changed_file_is_seen(texts: Path, ingested: Ingest, store: Store) -> None:
    first = ingested(texts)
    assert not store.found
    assert ingested(texts) == first
    assert store.found == {first.id}
    before = (texts / "03.txt").stat()
    (texts / "03.txt").write_text((texts / "03.txt").read_text().replace("slowly", "slowlY"))  # as long as before
    os.utime(texts / "03.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ingested(texts).id != first.id


def test_the_recipe_covers_every_module_that_reads(texts: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from llm.config import DataConfig; from llm.data.ingest import ingest;"
        "from llm.runs.events import EventLog; from llm.storage import Store; path, folder = map(Path, sys.argv[1:]);"
        "ingest(DataConfig(path=str(path)), Store(folder), EventLog(folder / 'events.jsonl'));"
        "print(*(name for name in sys.modules if name.startswith('llm.data.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(texts), str(texts.parent / "store")],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    source = source_of(str(texts))
    roots = ("llm.data.ingest", *code_of(source, source.files(str(texts))))
    modules = {
        name for name in done.stdout.split() if importlib.util.find_spec(name).submodule_search_locations is None
    }  # type: ignore[union-attr]
    not_read = {type(one).__module__ for one in formats().values()} - set(roots)
    assert modules - set(reached(*roots)) == {"llm.data.sources.standard_library", *not_read}


def test_only_the_formats_that_are_read_are_in_the_recipe(texts: Path) -> None:
    source = source_of(str(texts))
    assert code_of(source, source.files(str(texts))) == ("llm.data.sources.formats.text", "llm.data.sources.local")
    (texts / "rows.jsonl").write_text("{}")
    assert "llm.data.sources.formats.jsonl" in code_of(source, source.files(str(texts)))
    library = source_of("stdlib")
    assert "llm.data.sources.standard_library" in code_of(library, library.files("stdlib")[:1])


def test_derived_documents_share_the_split_of_their_source(tmp_path: Path, ingested: Ingest) -> None:
    rows = [{"text": f"source {number}"} for number in range(100)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ids = dict(all_documents(ingested(tmp_path / "a.jsonl")).select("text", "id").iter_rows())
    rows += [{"text": f"made {n}", "meta": {"derived_from": ids[f"source {n}"]}} for n in range(100)]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus = ingested(tmp_path / "b.jsonl")
    for split in SPLITS:
        texts = set(read_split(corpus, split)["text"])
        assert {t.split()[1] for t in texts if t.startswith("made")} == {
            t.split()[1] for t in texts if t.startswith("source")
        }


def test_the_split_follows_the_fractions(texts: Path, ingested: Ingest) -> None:
    counts = ingested(texts, validation_fraction=0.4, test_fraction=0.4).counts["by_split"]
    assert counts["train"]["documents"] < counts["validation"]["documents"] + counts["test"]["documents"]


def test_a_few_files_that_are_not_text_are_left_out_and_named(texts: Path, ingested: Ingest, log: EventLog) -> None:
    (texts / "latin.txt").write_bytes(b"caf\xe9")
    (texts / "image.png").write_bytes(b"\x89PNG\0\0")
    counts = ingested(texts).counts
    assert counts["documents"] == 60
    assert counts["rejected"]["not_utf8"] == {"documents": 1, "first": ["latin.txt"]}
    assert counts["rejected"]["binary"] == {"documents": 1, "first": ["image.png"]}
    assert [event.message for event in log.of_kind(Warned)] == [
        "1 is binary: image.png: left out",
        "1 is not UTF-8: latin.txt: left out",
    ]


def test_too_much_that_is_not_text_is_refused_naming_the_first(texts: Path, ingested: Ingest, store: Store) -> None:
    for number in range(7):
        (texts / f"x{number}.bin").write_bytes(b"\0" + bytes([number]))
    with pytest.raises(
        UserError,
        match=r"7 of 67 documents in .* are not text \(10\.4%; data\.max_rejected_fraction=0\.05 allows 5\.0%\)\n"
        r"  7 are binary: x0\.bin, x1\.bin, x2\.bin, x3\.bin, x4\.bin and 2 more\n.*glob",
    ):
        ingested(texts)
    assert nothing_is_left_in(store)
    assert ingested(texts, max_rejected_fraction=0.2).counts["documents"] == 60


def test_an_input_of_nothing_but_binaries_is_refused_whatever_is_allowed(tmp_path: Path, ingested: Ingest) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0")
    with pytest.raises(UserError, match=r"1 of 1 documents in .*a\.bin are not text"):
        ingested(tmp_path / "a.bin", max_rejected_fraction=1.0)


@pytest.mark.parametrize(
    ("name", "message"), [("a.txt", r"1 read, 1 of them empty"), ("a.jsonl", "It holds no document at all")]
)
def test_an_input_without_any_text_is_refused(
    tmp_path: Path, ingested: Ingest, store: Store, name: str, message: str
) -> None:
    (tmp_path / name).write_text("\n")
    with pytest.raises(UserError, match=rf"there is no text in .*{name}\n  {message}"):
        ingested(tmp_path / name)
    assert nothing_is_left_in(store)


def test_too_few_documents_to_split_are_refused(tmp_path: Path, ingested: Ingest, store: Store) -> None:
    (tmp_path / "a.txt").write_text("The only text there is.")
    with pytest.raises(UserError, match=r"too few documents to split: of 1 document, none fell into"):
        ingested(tmp_path / "a.txt")
    assert nothing_is_left_in(store)


def test_a_bad_line_in_the_middle_leaves_nothing_behind(texts: Path, ingested: Ingest, store: Store) -> None:
    (texts / "30.jsonl").write_text('{"text": "fine"}\nnot json\n')
    with pytest.raises(UserError, match=r"30\.jsonl:2 is not JSON"):
        ingested(texts)
    assert nothing_is_left_in(store)


def test_an_input_that_changes_meanwhile_leaves_nothing_behind(
    texts: Path, ingested: Ingest, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = LocalFiles.read

    def read_while_another_writes(*arguments: Any) -> object:
        (texts / "00.txt").write_text("Rewritten in the meantime.")
        return read(*arguments)

    monkeypatch.setattr(LocalFiles, "read", read_while_another_writes)
    with pytest.raises(UserError, match=r"00\.txt was changed while it was read"):
        ingested(texts)
    assert nothing_is_left_in(store)


def test_no_domain_may_be_called_as_the_totals_are(texts: Path, ingested: Ingest) -> None:
    with pytest.raises(UserError, match=r"00\.txt: no domain may be called overall"):
        ingested(texts, domain="overall")


def test_progress_ends_at_the_whole_input(texts: Path, ingested: Ingest, log: EventLog) -> None:
    ingested(texts)
    events = log.of_kind(Progress)
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert len(events) <= 12
    assert (events[-1].step, events[-1].done) == ("ingest", events[-1].total)


PYARROW = "25.0.1"
"""Its name is in every Parquet file, so the id below is that of this version."""


def test_the_same_input_has_the_id_that_it_always_had(tmp_path: Path, ingested: Ingest) -> None:
    texts = tmp_path / "texts"
    (texts / "more").mkdir(parents=True)
    for number in range(60):
        (texts / f"{number:02}.txt").write_text(f"Text number {number}: " + "the miller grinds slowly. " * (number + 1))
    rows = [
        {"text": f"Row {n} of the mill", "domain": "rows", "licence": "CC0-1.0", "meta": {"n": n}} for n in range(20)
    ]
    (texts / "more" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    packed = b'{"text": "Row 3 of the mill"}\n{"text": ""}\n{"text": "Packed row"}\n'
    (texts / "more" / "copies.jsonl.gz").write_bytes(gzip.compress(packed))
    cells = {"text": ["A cell", "Another cell", None], "domain": ["cells", None, "cells"]}
    pq.write_table(pa.table(cells), texts / "table.parquet")
    (texts / "latin.txt").write_bytes(b"caf\xe9")
    (texts / "image.png").write_bytes(b"\x89PNG\0\0")
    corpus = ingested(texts)
    rows_of = [read_split(corpus, split).rows() for split in SPLITS]
    assert (
        sha256_of_json([rows_of, corpus.counts, corpus.config])
        == "e4a14fac3d0c748295f885e673cd6774ea41e10da57ff8a3da1e7834b705f20c"
    )
    assert pa.__version__ != PYARROW or corpus.id == "399b0896bf4ef93a"
