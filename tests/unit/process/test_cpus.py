"""The processors of a process are those that its container may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm.process.cpus import THREADS, keep_to_limit, usable_cpus


def machine(root: Path, groups: str, **files: str) -> Path:
    """A root with the files that the kernel shows; `__` stands for `/` in their names."""
    for name, text in {"proc__self__cgroup": groups, **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with eight processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("limit", "cpus"),
    [
        ("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("150000 100000", 2), ("1600000 100000", 8),
        ("", 8), ("0 0", 8),
    ],
)  # fmt: skip
def test_a_limit_of_version_2_counts_a_part_of_a_processor_as_one(tmp_path: Path, limit: str, cpus: int):
    root = machine(tmp_path, "0::/\n", **{"sys__fs__cgroup__cpu.max": limit})
    assert usable_cpus(root) == cpus


def test_the_limit_of_an_outer_group_holds_too(tmp_path: Path):
    files = {"sys__fs__cgroup__pod__cpu.max": "300000 100000\n", "sys__fs__cgroup__pod__main__cpu.max": "max 100000\n"}
    assert usable_cpus(machine(tmp_path, "0::/pod/main\n", **files)) == 3


@pytest.mark.parametrize("home", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize("path", ["/", "/kubepods/pod1/main"])
def test_a_limit_of_version_1_is_found_wherever_the_container_shows_it(tmp_path: Path, home: str, path: str):
    group = f"sys__fs__cgroup__{home}__cpu"
    files = {f"{group}.cfs_quota_us": "200000", f"{group}.cfs_period_us": "100000"}
    assert usable_cpus(machine(tmp_path, f"9:pids:/\n4:cpu,cpuacct:{path}\n", **files)) == 2


def test_no_limit_of_version_1_is_written_as_minus_one(tmp_path: Path):
    files = {"sys__fs__cgroup__cpu__cpu.cfs_quota_us": "-1", "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000"}
    assert usable_cpus(machine(tmp_path, "4:cpu:/\n", **files)) == 8


def test_without_control_groups_it_is_what_the_process_is_bound_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert usable_cpus(tmp_path) == 2


def test_libraries_start_no_more_threads_than_the_limit_and_a_wish_of_the_user_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    keep_to_limit(machine(tmp_path, "0::/\n", **{"sys__fs__cgroup__cpu.max": "200000 100000"}))
    assert [os.environ[name] for name in THREADS] == ["3", "2", "2"]
    for name in THREADS:  # set by the call: monkeypatch knows nothing of it
        os.environ.pop(name)


def test_without_a_limit_nothing_is_set(tmp_path: Path):
    keep_to_limit(machine(tmp_path, "0::/\n", **{"sys__fs__cgroup__cpu.max": "max 100000"}))
    assert not [name for name in THREADS if name in os.environ]
