"""The disk that is named is the one that is full, with the setting that takes the work elsewhere."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from llm.storage import disk_full

GIB = 1 << 30


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Folders that stand for disks; returns how to say what one has free, in bytes and in files."""
    free: dict[Path, tuple[int, int]] = {}

    def room(path: Path) -> tuple[int, int]:
        return next((free[one] for one in (path, *path.parents) if one in free), (100 * GIB, 1_000))

    def statvfs(path: Path) -> SimpleNamespace:
        bytes_, files = room(Path(path))
        disk = next((one for one in (path, *path.parents) if one in free), path)
        return SimpleNamespace(f_bavail=bytes_, f_frsize=1, f_files=1_000_000, f_favail=files, f_fsid=hash(disk))

    monkeypatch.setattr("os.statvfs", statvfs)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=room(Path(path))[0]))
    for name, variable in (("tmp", "TMPDIR"), ("cache", "GRISTMILL_CACHE"), ("store", "")):
        (tmp_path / name).mkdir()
        if variable:
            monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))

    def set_free(name: str, bytes_: int, files: int = 1_000) -> None:
        free[tmp_path / name] = (bytes_, files)

    return set_free


def no_space(path: Path | None = None, code: int = errno.ENOSPC) -> OSError:
    return OSError(code, os.strerror(code), *([str(path)] if path else []))


@pytest.mark.parametrize(
    ("name", "setting"), [("tmp", "TMPDIR"), ("cache", "GRISTMILL_CACHE"), ("store", "storage.uri")]
)
def test_an_error_without_a_name_is_of_the_disk_without_room(tmp_path: Path, disks, name: str, setting: str):
    disks(name, 1 << 20)
    told = str(disk_full(tmp_path / "store", no_space()))
    assert told.startswith(f"the disk is full: {tmp_path / name}\n  1 MiB can still be written")
    assert f"set {setting}" in told


def test_of_folders_on_one_disk_the_store_is_named_whatever_others_write_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("store", "tmp", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    less = iter(range(GIB, 0, -4096))  # each look finds less room than the one before
    monkeypatch.setattr(
        "os.statvfs",
        lambda path: SimpleNamespace(f_bavail=next(less), f_frsize=1, f_files=0, f_favail=0, f_fsid=7),
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=GIB))
    told = str(disk_full(tmp_path / "store", no_space()))
    assert told.startswith(f"the disk is full: {tmp_path / 'store'}\n")
    assert "set storage.uri" in told


def test_an_error_with_a_name_is_of_that_names_disk(tmp_path: Path, disks):
    disks("tmp", 3 << 20)
    told = str(disk_full(tmp_path / "store", no_space(tmp_path / "tmp" / "deep" / "file")))
    assert f"the disk is full: {tmp_path / 'tmp' / 'deep' / 'file'}" in told
    assert f"3 MiB can still be written on the disk of {tmp_path / 'tmp'}" in told
    assert "set TMPDIR to a folder on another disk" in told


def test_inodes_that_are_used_up_are_said(tmp_path: Path, disks):
    disks("store", 7 * GIB, files=0)
    told = str(disk_full(tmp_path / "store", no_space()))
    assert f"the disk is full: {tmp_path / 'store'}" in told
    assert "no file (its inodes are used up)" in told


def test_a_quota_is_said(tmp_path: Path, disks):
    told = str(disk_full(tmp_path / "store", no_space(tmp_path / "store" / "x", errno.EDQUOT)))
    assert "Your quota there is used up." in told


def test_a_name_that_is_a_descriptor_is_none(tmp_path: Path, disks):
    disks("store", 0)
    error = no_space()
    error.filename = 7
    assert f"the disk is full: {tmp_path / 'store'}" in str(disk_full(tmp_path / "store", error))
