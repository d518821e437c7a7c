"""The thread that reads rank 0's log: pod after pod, to the end, or until it is stopped."""

from __future__ import annotations

import pytest

from llm.cluster.trainjobs.follower import log_stream
from llm.cluster.trainjobs.follower.log_stream import LogStream
from llm.cluster.trainjobs.trainjob import manifest
from tests.fakes.cluster import FakeCluster, Training
from tests.unit.cluster.conftest import IMAGE, SPEC


@pytest.fixture
def training(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> Training:
    monkeypatch.setattr(log_stream, "RETRY_SECONDS", 0.0)
    made = cluster.create(manifest(SPEC, "ml", IMAGE, None))
    made.run_pods()
    return made


def test_pods_are_read_in_their_order_each_to_its_end(cluster: FakeCluster, training: Training):
    training.say("first")
    training.end(0, 75)
    first, training.attempt = training.pod(0), 1
    training.run_pods()
    training.say("second")
    lines: list[str] = []
    with LogStream(cluster.api(), lines.append) as stream:
        stream.see([first])
        stream.see([first, training.pod(0)])
        training.say("third")
        training.succeed()
        assert stream.finish(10)
    assert lines == ["first", "second", "third"]


def test_a_connection_that_breaks_is_made_again(cluster: FakeCluster, training: Training):
    for number in range(9):
        training.say(str(number))
    training.succeed()
    cluster.cuts = [0, 4, 2]
    lines: list[str] = []
    with LogStream(cluster.api(), lines.append) as stream:
        stream.see([training.pod(0)])
        assert stream.finish(10)
    assert lines == [str(number) for number in range(9)]
    assert not cluster.cuts


def test_a_pod_that_is_gone_has_no_log(cluster: FakeCluster):
    with LogStream(cluster.api(), lambda line: None) as stream:
        stream.see(["gone"])
        assert stream.finish(10)


def test_what_becomes_of_a_line_may_fail_and_is_raised_in_the_main_thread(cluster: FakeCluster, training: Training):
    def full(line: str) -> None:
        raise OSError(28, "No space left on device")

    training.say("one")
    training.succeed()
    with LogStream(cluster.api(), full) as stream:
        stream.see([training.pod(0)])
        with pytest.raises(OSError, match="No space left"):
            stream.finish(10)


def test_a_log_that_goes_on_is_left_when_it_is_closed(cluster: FakeCluster, training: Training):
    with LogStream(cluster.api(), lambda line: None) as stream:
        stream.see([training.pod(0)])
        assert not stream.finish(0.0)
    assert not stream._thread.is_alive()
