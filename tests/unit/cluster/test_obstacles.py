"""What keeps a container from starting, and how long each obstacle has been there."""

from __future__ import annotations

import pytest

from llm.cluster.obstacles import Advice, ObstacleClock, container_obstacle
from llm.cluster.pods import Pod, Waiting

POD = Pod("x", "ml", "Pending", "", False, "node-1", image="gristmill/train:1")
ADVICE = Advice("Push the image.", "Make the Secret.")


@pytest.mark.parametrize(
    ("reason", "message", "summary", "advice", "seconds"),
    [
        ("ErrImageNeverPull", "is not present", "the image i:1 cannot be pulled", "Push the image.", 0),
        ("InvalidImageName", "could not parse", "the image i:1 cannot be pulled", "Push the image.", 0),
        ("ErrImagePull", "not found", "the image i:1 cannot be pulled", "Push the image.", 60),
        ("ImagePullBackOff", "Back-off", "the image i:1 cannot be pulled", "Push the image.", 60),
        ("CreateContainerConfigError", 'secret "s3" not found', 'its container cannot be made: secret "s3" not found',
         "Make the Secret.", 10),
        ("CreateContainerError", "", "its container cannot be made: CreateContainerError", "Make the Secret.", 10),
    ],
)  # fmt: skip
def test_a_container_that_cannot_start_is_explained_and_waited_for_by_kind(
    reason: str, message: str, summary: str, advice: str, seconds: float
):
    found = container_obstacle(POD, Waiting("node", "i:1", reason, message), "the training", ADVICE)
    assert found is not None
    assert found.summary == f"the training cannot start: {summary}"
    assert found.details[0].startswith("pod ml/x")
    assert reason in found.details[0]
    assert (found.details[1], found.patience_seconds) == (advice, seconds)


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", ""])
def test_a_matter_of_moments_is_no_obstacle(reason: str):
    assert container_obstacle(POD, Waiting("node", "i:1", reason, ""), "the training", ADVICE) is None


KEY = ("x", "image")


@pytest.mark.parametrize(
    ("looks", "lasts"),
    [
        ([(0, True)], 0),
        ([(0, True), (3, True), (6, True)], 6),
        ([(0, True), (3, False), (5, True)], 5),
        ([(0, True), (3, False), (6, True), (7, True)], 1),
    ],
    ids=["seen once", "stays", "blinks", "was gone"],
)
def test_an_obstacle_that_blinks_is_the_same_and_one_that_was_gone_is_new(looks: list[tuple[int, bool]], lasts: float):
    clock = ObstacleClock(gap_seconds=5)
    for now, there in looks:
        clock = clock.see([KEY] if there else [], now)
    assert clock.lasts(KEY) == lasts


def test_each_obstacle_has_its_own_time():
    clock = ObstacleClock(5).see([KEY], 0).see([KEY, ("y", "image"), ("x", "room")], 4)
    assert [clock.lasts(key) for key in (KEY, ("y", "image"), ("x", "room"))] == [4, 0, 0]
