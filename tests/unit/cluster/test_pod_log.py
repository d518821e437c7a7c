"""A log is read once, line by line, however often it breaks off."""

from __future__ import annotations

import pytest

from llm.cluster.pod_log import PodLog
from llm.cluster.refusal import Refused, Unreachable
from tests.fakes.cluster import PODS, FakeCluster

NOW = 1_800_000_000 * 10**9


def logged(cluster: FakeCluster, *lines: tuple[int, str]) -> PodLog:
    cluster.put(PODS.format("ml") + "/x", status={"phase": "Succeeded"})
    cluster.logs["x"] = list(lines)
    return PodLog(cluster.api(), "ml", "x", "node")


def test_a_stream_that_breaks_loses_no_line_and_repeats_none(cluster: FakeCluster):
    lines = [(NOW + number // 3, f"line {number}") for number in range(20)]  # several lines of one timestamp
    log = logged(cluster, *lines)
    cluster.cuts = [0, 3, 1, 2, 0, 4]
    read: list[str] = []
    for _ in range(6):
        with pytest.raises(Unreachable, match="broke off"):
            read += log.new_lines(follow=True)
    read += log.new_lines(follow=True)
    assert read == [text for _, text in lines]
    assert list(log.new_lines(follow=False)) == []


def test_lines_of_the_last_second_are_told_apart_by_their_timestamps(cluster: FakeCluster):
    log = logged(cluster, (NOW, "a"), (NOW + 1, "b"), (NOW + 1, "b"))
    assert list(log.new_lines(follow=False)) == ["a", "b", "b"]
    cluster.logs["x"] += [(NOW + 1, "b"), (NOW + 5 * 10**9, "c")]
    assert list(log.new_lines(follow=False)) == ["b", "c"]


def test_lines_that_come_while_it_is_read_are_read_too(cluster: FakeCluster):
    log = logged(cluster, (NOW, "a"))
    lines = log.new_lines(follow=True)
    assert next(lines) == "a"
    cluster.logs["x"].append((NOW + 1, "drei – ☃"))
    assert list(lines) == ["drei – ☃"]


class Unterminated:
    def chunks(self):
        yield b"2026-11-24T23:15:50.5Z one\n2026-11-24T23:15:51Z tw"
        yield b"o"


@pytest.mark.parametrize(("is_complete", "read"), [(True, ["one", "two"]), (False, ["one"])])
def test_text_without_a_line_end_is_a_line_once_the_log_is_complete(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, is_complete: bool, read: list[str]
):
    from contextlib import nullcontext

    from llm.cluster import pod_log

    monkeypatch.setattr(pod_log, "log_of", lambda *arguments: nullcontext(Unterminated()))
    assert list(logged(cluster).new_lines(follow=False, is_complete=is_complete)) == read


def test_a_pod_that_is_gone_is_404(cluster: FakeCluster):
    with pytest.raises(Refused, match="refused to read the log of pod ml/y: 404 Not Found"):
        list(PodLog(cluster.api(), "ml", "y", "node").new_lines(follow=True))
