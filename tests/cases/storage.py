"""The laws of a store, to be held by every place that one can lie in: a folder, a bucket of a server in this process,
a bucket of a real one.

A test module subclasses them, and gives them the place: `objects` for ObjectsLaws, `s3` for BucketLaws.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llm.errors import DamagedError, UserError
from llm.storage import Manifest, Objects, Recipe, Store, open_objects
from llm.storage.objects import describe
from llm.storage.products import Amount, CorpusCounts, LeftOut, SplitAmount

RECIPE = Recipe("ingest", {"path": "x"})


def one_document() -> CorpusCounts:
    """The counts of a corpus of one document of five bytes."""
    text, nothing = Amount(documents=1, bytes=5), Amount(documents=0, bytes=0)
    return CorpusCounts(
        documents=1,
        bytes=5,
        by_split={"train": SplitAmount(documents=1, bytes=5, by_domain={"prose": text})},
        by_domain={"prose": text},
        read_documents=1,
        duplicates=nothing,
        rejected={"binary": LeftOut(documents=0, first=[]), "not_utf8": LeftOut(documents=0, first=[])},
    )


def make(store: Store, text: str = "hello") -> Manifest:
    """A product of one file."""
    with store.stage("corpus", RECIPE) as stage:
        (stage.path / "sub").mkdir()
        (stage.path / "sub" / "text.txt").write_text(text)
        return stage.commit(one_document())


def forget_cache(manifest: Manifest) -> None:
    """Leave of a product only what is in the store."""
    for entry in manifest.files:
        (manifest.folder / entry.path).unlink(missing_ok=True)


def file(tmp_path: Path, content: bytes = b"hello") -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


class ObjectsLaws:
    """What holds for a folder and for a bucket; the fixture `objects` is an empty one."""

    def test_what_was_written_is_read(self, objects: Objects):
        assert objects.read("a/b.json") is None
        assert objects.write("a/b.json", b"one")
        assert objects.write("a/b.json", b"two")
        assert objects.read("a/b.json") == b"two"

    def test_a_conditional_write_keeps_what_is_there(self, objects: Objects):
        assert objects.write("a", b"one", if_absent=True)
        assert not objects.write("a", b"two", if_absent=True)
        assert objects.read("a") == b"one"

    @pytest.mark.parametrize("size", [0, 5, 40 << 20], ids=["empty", "small", "in parts"])
    def test_a_file_is_fetched_as_it_was_put(self, objects: Objects, tmp_path: Path, size: int):
        content = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
        entry = objects.put(file(tmp_path, content), "x/model.bin")
        assert (entry.path, entry.size_bytes) == ("x/model.bin", size)
        assert objects.problem(entry) is None
        assert objects.fetch(entry, tmp_path / "into").read_bytes() == content

    def test_a_content_that_is_not_as_described_is_refused_by_name(self, objects: Objects, tmp_path: Path):
        entry = objects.put(file(tmp_path), "x")
        objects.write("x", b"jello")
        with pytest.raises(DamagedError, match=r"x .*(is not what was written|is damaged)"):
            objects.fetch(entry, tmp_path / "into")
        objects.write("x", b"hell")
        assert objects.problem(entry) == "is not what was written"
        objects.remove("x")
        assert objects.problem(entry) == "is missing"
        with pytest.raises(DamagedError, match="x is missing"):
            objects.fetch(entry, tmp_path / "into")

    def test_names_are_relative_and_sorted(self, objects: Objects):
        for name in ("b/2", "b/1", "c"):
            objects.write(name, b"")
        assert objects.names() == ["b/1", "b/2", "c"]
        assert objects.names("b/") == ["b/1", "b/2"]
        assert objects.below("b").names() == ["1", "2"]

    def test_removing_takes_a_whole_folder_and_leaves_the_rest(self, objects: Objects):
        for name in ("b/2", "b/1", "bc"):
            objects.write(name, b"")
        objects.remove("b/")
        objects.remove("nothing/")
        assert objects.names() == ["bc"]

    def test_the_name_is_part_of_the_entry(self, objects: Objects, tmp_path: Path):
        path = file(tmp_path)
        expected = describe(path, "deep/er")
        assert objects.put(path, "deep/er") == expected

    def test_looking_whether_one_may_write_leaves_nothing(self, objects: Objects):
        objects.check_access()
        assert objects.names() == []


class BucketLaws(ObjectsLaws):
    """What holds for a bucket beside it; the fixture `s3` is the URI of an empty store, with a cache of its own."""

    @pytest.fixture
    def objects(self, s3: str) -> Objects:
        return open_objects(s3)

    def test_what_is_in_the_cache_is_checked_and_not_fetched_again(self, objects: Objects, tmp_path: Path):
        entry = objects.put(file(tmp_path), "x")
        path = objects.fetch(entry, tmp_path / "into")
        objects.remove("x")
        assert objects.fetch(entry, tmp_path / "into") == path
        path.write_bytes(b"jello")
        with pytest.raises(DamagedError, match="x is missing"):
            objects.fetch(entry, tmp_path / "into")

    def test_more_than_a_thousand_names_are_listed_and_removed(self, objects: Objects):
        for number in range(1001):
            objects.write(f"many/{number:04d}", b"")
        assert len(objects.names("many/")) == 1001
        objects.remove("many/")
        assert objects.names("many/") == []

    def test_a_product_has_the_id_that_it_has_in_a_folder(self, s3: str, tmp_path: Path):
        assert make(Store(s3)).id == make(Store(tmp_path / "store")).id

    def test_a_product_is_found_by_another_machine_and_fetched_whole(self, s3: str):
        made = make(Store(s3))
        assert made.uri == f"{s3}/corpus/{made.id}"
        forget_cache(made)
        found = Store(s3).find(RECIPE)
        assert found == made
        assert (found.verify() / "sub" / "text.txt").read_text() == "hello"
        assert Manifest.read_uri(made.uri) == made

    def test_a_damaged_file_is_named_with_the_remedy(self, s3: str):
        made = make(Store(s3))
        forget_cache(made)
        open_objects(made.uri).write("sub/text.txt", b"jello")
        damage = r"(?s)sub/text.txt of corpus .* is damaged: .*sha256.*Remove "
        with pytest.raises(DamagedError, match=damage + re.escape(made.uri)):
            made.verify()

    def test_a_damaged_product_is_replaced_when_it_is_made_again(self, s3: str):
        made = make(Store(s3))
        open_objects(made.uri).write("sub/text.txt", b"broken, and of another length")
        forget_cache(made)
        assert make(Store(s3)) == made
        forget_cache(made)
        assert made.file("sub/text.txt").read_text() == "hello"

    def test_what_is_forgotten_is_made_again(self, s3: str):
        store = Store(s3)
        make(store)
        store.forget(RECIPE)
        assert store.find(RECIPE) is None

    def test_a_bucket_that_is_not_there_is_named(self, s3: str):
        with pytest.raises(UserError, match=r"(?s)S3 bucket gristmill-nowhere at http.* does not exist.*storage.uri"):
            Store("s3://gristmill-nowhere/store").check_access()
        with pytest.raises(UserError, match="S3 bucket gristmill-nowhere"):
            Store("s3://gristmill-nowhere/store").find(RECIPE)
