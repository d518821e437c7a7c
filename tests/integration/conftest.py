"""What the tests of whole runs share: one undisturbed run, made once in each process of the tests."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

from tests.cases.pretrain import Place, Run


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts that lie outside of any Python: the standard library of an image is not that of this machine."""
    folder = tmp_path_factory.mktemp("texts")
    for path in Path(sysconfig.get_path("stdlib")).glob("[a-e]*.py"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Place:
    return Place(tmp_path_factory.mktemp("pretrain"), texts)


@pytest.fixture(scope="session")
def undisturbed(place: Place) -> tuple[Run, dict[str, str]]:
    """The first run in its place, and the ids of its products before a later run came there."""
    ended, folder = place.run()
    return (ended, folder), {step: product.id for step, product in folder.manifests().items()}


@pytest.fixture(scope="session")
def first(undisturbed: tuple[Run, dict[str, str]]) -> Run:
    return undisturbed[0]


@pytest.fixture(scope="session")
def ids_of_first(undisturbed: tuple[Run, dict[str, str]]) -> dict[str, str]:
    return undisturbed[1]
