from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import zstandard

from llm.data.sources.local import LocalFiles
from llm.data.sources.local_file import LocalFile, files_below
from llm.errors import UserError


def find_files(path: str) -> list[LocalFile]:
    return list(LocalFiles().files(path))


def fingerprints(path: Path) -> list[tuple[str, str]]:
    return [(file.name, file.fingerprint()) for file in find_files(str(path))]


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def names_of(path: object) -> list[str]:
    return [file.name for file in find_files(str(path))]


def test_a_folder_is_read_to_the_bottom_by_name_without_hidden_files(tmp_path: Path) -> None:
    tree(tmp_path, "b.txt", "a/z.txt", "a/b/c.txt", ".git/config", "a/.hidden", "A.txt")
    assert names_of(tmp_path) == ["A.txt", "a/b/c.txt", "a/z.txt", "b.txt"]


def test_a_glob_names_files_relative_to_its_fixed_part(tmp_path: Path) -> None:
    tree(tmp_path, "in/x/1.txt", "in/y/2.txt", "in/y/3.md")
    assert names_of(tmp_path / "in/**/*.txt") == ["x/1.txt", "y/2.txt"]
    assert names_of(tmp_path / "in/y/*") == ["2.txt", "3.md"]


def test_a_file_is_named_by_itself_even_if_its_name_looks_like_a_glob(tmp_path: Path) -> None:
    assert names_of(tree(tmp_path, "notes[1].txt") / "notes[1].txt") == ["notes[1].txt"]


@pytest.mark.parametrize(("own", "neighbour"), [("p[1]", "p1"), ("q?", "qx"), ("r*", "rab"), ("s**", "s")])
def test_a_glob_below_a_folder_that_looks_like_one_is_of_that_folder(tmp_path: Path, own: str, neighbour: str) -> None:
    tree(tmp_path, f"{own}/in/right.txt", f"{neighbour}/in/wrong.txt")
    assert names_of(tmp_path / own / "in" / "*.txt") == ["right.txt"]
    assert names_of(tmp_path / own / "**" / "*.txt") == ["in/right.txt"]
    assert LocalFiles().host_paths(str(tmp_path / own / "**" / "*.txt")) == [tmp_path / own]
    assert names_of(tmp_path / own) == ["in/right.txt"]


def test_the_message_on_a_missing_path_says_what_else_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Give a file, a folder, a glob, or `stdlib` for the standard library of this"):
        find_files(str(tmp_path / "nope"))


def test_a_name_that_is_not_utf8_is_spelled_out(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "w") as file:
        file.write("x")
    assert names_of(tmp_path) == ["caf\\xe9.txt"]


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.path=.*/nope does not exist"):
        find_files(str(tmp_path / "nope"))


def test_a_glob_without_a_match_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file matches .*\*\.txt\n.*any depth"):
        find_files(str(tmp_path / "*.txt"))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with pytest.raises(UserError, match=r"the folder .* has no files"):
        find_files(str(tmp_path))


def test_a_device_is_refused() -> None:
    with pytest.raises(UserError, match="/dev/null is no file and no folder"):
        find_files("/dev/null")


def test_an_unwanted_folder_is_left_out_whole(tmp_path: Path) -> None:
    tree(tmp_path, "keep/a.py", "drop/b.py")
    assert [file.name for file in files_below(tmp_path, lambda path: path.name != "drop")] == ["keep/a.py"]


def test_the_fingerprint_changes_with_content_and_name_only(tmp_path: Path) -> None:
    tree(tmp_path, "one/a.txt", "two/a.txt")
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "a.txt").write_text("same")
    (two / "a.txt").write_text("same")
    os.utime(two / "a.txt", (1, 1))
    assert fingerprints(one) == fingerprints(two)
    (two / "a.txt").write_text("Same")
    assert fingerprints(one) != fingerprints(two)


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    files = a, b = find_files(str(tree(tmp_path, "a.txt", "b.txt")))
    for file in files:
        file.check_unchanged()
    (tmp_path / "b.txt").write_text("longer than before")
    with pytest.raises(UserError, match=r"b\.txt was changed while it was read"):
        b.check_unchanged()
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UserError, match=r"a\.txt was removed while it was read"):
        a.check_unchanged()


def test_a_file_that_vanishes_before_it_is_read_is_named(tmp_path: Path) -> None:
    files = find_files(str(tree(tmp_path, "a.txt")))
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UserError, match=r"cannot read .*a\.txt: No such file"):
        files[0].fingerprint()
    with pytest.raises(UserError, match=r"cannot read .*a\.txt: No such file"), files[0].open():
        pass


DATA = b"grist\n" * 50_000
COMPRESSED = {
    "a.txt.gz": gzip.compress(DATA),
    "a.txt.zst": zstandard.compress(DATA),
    "two-members.gz": gzip.compress(DATA[:6]) + gzip.compress(DATA[6:]),
    "two-frames.zst": zstandard.compress(DATA[:6]) + zstandard.compress(DATA[6:]),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_files_read_as_what_was_compressed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(COMPRESSED[name])
    with find_files(str(tmp_path / name))[0].open() as stream:
        assert stream.read() == DATA


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("damage", ["cut short", "bytes behind it", "not compressed at all"])
def test_a_damaged_compressed_file_is_refused_by_name(tmp_path: Path, name: str, damage: str) -> None:
    whole = COMPRESSED[name]
    damaged = {"cut short": whole[:-3], "bytes behind it": whole + b"xyz", "not compressed at all": b"plain text"}
    (tmp_path / name).write_bytes(damaged[damage])
    with (
        pytest.raises(UserError, match=rf"{name} is damaged, or not (gzip|zstd)"),
        find_files(str(tmp_path / name))[0].open() as stream,
    ):
        stream.read()


@pytest.mark.parametrize(
    ("name", "file_format", "compression"),
    [("a.jsonl.GZ", ".jsonl", "gzip"), ("b.Parquet", ".parquet", None), ("README", "", None), ("x.zst", "", "zstd")],
)
def test_format_and_compression_go_by_the_name(
    tmp_path: Path, name: str, file_format: str, compression: str | None
) -> None:
    (file,) = find_files(str(tree(tmp_path, name) / name))
    assert (file.format, file.compression) == (file_format, compression)
