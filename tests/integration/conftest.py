"""What the tests of whole runs share: one undisturbed run, made once for all processes of the tests."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from llm.runs.folder import RunFolder
from tests.cases.pretrain import Place, Run


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this session that all its processes see."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """One process at a time: the others wait, and then find what it made."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def texts(shared: Path) -> Path:
    """Texts that lie outside of any Python: the standard library of an image is not that of this machine."""
    folder, part = shared / "texts", shared / "texts.part"
    with only_one(shared / "texts.lock"):
        if not folder.is_dir():
            part.mkdir()
            for path in Path(sysconfig.get_path("stdlib")).glob("[a-e]*.py"):
                shutil.copy(path, part)
            part.rename(folder)
    return folder


@pytest.fixture(scope="session")
def place(shared: Path, texts: Path) -> Place:
    return Place(shared / "pretrain", texts)


@pytest.fixture(scope="session")
def undisturbed(place: Place, shared: Path) -> tuple[Run, dict[str, str]]:
    """The first run in its place, and the ids of its products before a later run came there."""
    kept = shared / "undisturbed.json"
    with only_one(shared / "undisturbed.lock"):
        if not kept.is_file():
            ended, folder = place.run()
            ids = {step: product.id for step, product in folder.manifests().items()}
            told = {"returncode": ended.returncode, "stdout": ended.stdout, "stderr": ended.stderr}
            kept.write_text(json.dumps({"ended": told, "folder": str(folder.path), "ids": ids}))
    found = json.loads(kept.read_text())
    return (CompletedProcess(place.command(), **found["ended"]), RunFolder(Path(found["folder"]))), found["ids"]


@pytest.fixture(scope="session")
def first(undisturbed: tuple[Run, dict[str, str]]) -> Run:
    return undisturbed[0]


@pytest.fixture(scope="session")
def ids_of_first(undisturbed: tuple[Run, dict[str, str]]) -> dict[str, str]:
    return undisturbed[1]
