"""The same laws hold for a folder and for a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.errors import DamagedError
from llm.storage import LocalObjects, Objects, open_objects
from llm.storage.objects import describe


@pytest.fixture(params=["folder", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return LocalObjects(tmp_path / "store")
    return open_objects(request.getfixturevalue("s3"))


def file(tmp_path: Path, content: bytes = b"hello") -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


def test_what_was_written_is_read(objects: Objects):
    assert objects.read("a/b.json") is None
    assert objects.write("a/b.json", b"one")
    assert objects.write("a/b.json", b"two")
    assert objects.read("a/b.json") == b"two"


def test_a_conditional_write_keeps_what_is_there(objects: Objects):
    assert objects.write("a", b"one", if_absent=True)
    assert not objects.write("a", b"two", if_absent=True)
    assert objects.read("a") == b"one"


@pytest.mark.parametrize("size", [0, 5, 40 << 20], ids=["empty", "small", "in parts"])
def test_a_file_is_fetched_as_it_was_put(objects: Objects, tmp_path: Path, size: int):
    content = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
    entry = objects.put(file(tmp_path, content), "x/model.bin")
    assert (entry.path, entry.size_bytes) == ("x/model.bin", size)
    assert objects.problem(entry) is None
    assert objects.fetch(entry, tmp_path / "into").read_bytes() == content


def test_a_content_that_is_not_as_described_is_refused_by_name(objects: Objects, tmp_path: Path):
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


def test_names_are_relative_and_sorted(objects: Objects):
    for name in ("b/2", "b/1", "c"):
        objects.write(name, b"")
    assert objects.names() == ["b/1", "b/2", "c"]
    assert objects.names("b/") == ["b/1", "b/2"]
    assert objects.below("b").names() == ["1", "2"]


def test_removing_takes_a_whole_folder_and_leaves_the_rest(objects: Objects):
    for name in ("b/2", "b/1", "bc"):
        objects.write(name, b"")
    objects.remove("b/")
    objects.remove("nothing/")
    assert objects.names() == ["bc"]


def test_what_is_in_the_cache_is_checked_and_not_fetched_again(s3: str, tmp_path: Path):
    objects = open_objects(s3)
    entry = objects.put(file(tmp_path), "x")
    path = objects.fetch(entry, tmp_path / "into")
    objects.remove("x")
    assert objects.fetch(entry, tmp_path / "into") == path
    path.write_bytes(b"jello")
    with pytest.raises(DamagedError, match="x is missing"):
        objects.fetch(entry, tmp_path / "into")


def test_the_name_is_part_of_the_entry(objects: Objects, tmp_path: Path):
    path = file(tmp_path)
    expected = describe(path, "deep/er")
    assert objects.put(path, "deep/er") == expected
