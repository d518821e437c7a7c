"""The abilities that a server must have, tried before the first step.

A server can accept every request and still keep something else than it was sent: the coding of the transfer inside
the object, or an object that a conditional write should have left alone. Such a store would be lost work, and it would
show in the last step. So small objects are written in each way that a run writes them, read back, and removed.
"""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from llm.errors import ServiceError

if TYPE_CHECKING:
    from llm.storage.s3.objects import S3Objects

PROBE = b"gristmill reads back what it wrote\r\n" * 8
OTHER = b"a conditional write must leave what is there\r\n"
REMEDY = (
    "Such a store would lose a run's work, so nothing was started. Update the server, or leave out a proxy in between,"
    " or use another server: docs/storage.md says what it must be able to do."
)


def check(objects: S3Objects) -> None:
    """Write, read back and remove small objects below `.access/`; raises ServiceError if they do not come back."""
    home = objects.below(f".access/{uuid.uuid4().hex}")  # two runs may look at the same time
    home.names()
    try:
        home.write("recipe", PROBE)
        _compare(home, "recipe", "a small object")
        home.write("claim", PROBE, if_absent=True)  # of a new object: for one that is there nothing may be sent
        _compare(home, "claim", "an object in a conditional write")
        if home.write("recipe", OTHER, if_absent=True) or home.read("recipe") != PROBE:
            raise ServiceError(f"{home.place} replaces an object in a write that must leave it alone", REMEDY)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "probe"
            path.write_bytes(PROBE)
            for name, least_bytes in (("file", len(PROBE) + 1), ("parts", 1)):
                entry = home.put(path, name, in_parts_from_bytes=least_bytes)
                if (problem := home.problem(entry)) is not None:
                    raise ServiceError(f"{home.place}: a file that was just uploaded {problem}", REMEDY)
                _compare(home, name, "a file" if name == "file" else "a file in parts")
    finally:
        home.remove("")


def _compare(home: S3Objects, name: str, what: str) -> None:
    found = home.read(name)
    if found != PROBE:
        size = "nothing" if found is None else f"{len(found)} bytes"
        raise ServiceError(
            f"{home.place} does not keep what it was sent: {what} of {len(PROBE)} bytes was written, {size} came back",
            *(["The server keeps the coding of the transfer inside the object."] if PROBE in (found or b"") else []),
            REMEDY,
        )
