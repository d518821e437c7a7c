"""A build reaches this machine's wheels by address, and nothing else is in pip's way."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest

from scripts.wheel_server import served

here = build_opener(ProxyHandler({})).open


def test_a_folder_is_served_while_it_is_needed_and_an_address_stays(tmp_path: Path):
    (tmp_path / "one-1-py3-none-any.whl").write_bytes(b"wheel")
    with served(f"{tmp_path} https://wheels.example/simple") as places:
        folder, address = places.split()
        assert here(f"{folder}one-1-py3-none-any.whl").read() == b"wheel"
        assert b"one-1-py3-none-any.whl" in here(folder).read(), "pip reads the list of links"
        assert address == "https://wheels.example/simple"
    with pytest.raises(URLError):
        here(folder)


def test_two_folders_have_two_addresses(tmp_path: Path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / f"{folder.name}.whl").touch()
    with served(" ".join(map(str, folders))) as places:
        first, second = places.split()
        assert b"a.whl" in here(first).read()
        assert b"b.whl" in here(second).read()


def test_nothing_is_served_where_nothing_is_named():
    with served("") as places:
        assert places == ""


def test_a_folder_keeps_its_address_from_build_to_build_and_beside_another_build(tmp_path: Path):
    (tmp_path / "one.whl").write_bytes(b"wheel")
    with served(str(tmp_path)) as first:
        with served(str(tmp_path)) as beside:
            assert beside == first
        assert here(f"{first}one.whl").read() == b"wheel"
    with served(str(tmp_path)) as later:
        assert later == first
