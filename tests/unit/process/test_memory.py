"""The memory of a process is that of its machine, or what its container may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.process.memory import usable_bytes


@pytest.mark.parametrize(
    ("groups", "place"),
    [("0::/\n", "memory.max"), ("0::/pod\n", "pod/memory.max"), ("4:memory:/\n", "memory/memory.limit_in_bytes")],
)
@pytest.mark.parametrize(("limit", "expected"), [("1048576\n", 1 << 20), ("max\n", None), ("", None), ("-1", None)])
def test_a_limit_of_the_container_counts(tmp_path: Path, groups: str, place: str, limit: str, expected: int | None):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    path = tmp_path / "sys" / "fs" / "cgroup" / place
    path.parent.mkdir(parents=True)
    path.write_text(limit)
    machine = usable_bytes(tmp_path / "nothing")
    assert machine > 1 << 20
    assert usable_bytes(tmp_path) == (machine if expected is None else expected)
