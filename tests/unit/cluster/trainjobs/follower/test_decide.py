"""What a follower does after each look: tables of what it sees, without a cluster, a thread, or a clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from llm.cluster.obstacles import Obstacle
from llm.cluster.pods import Pod, Terminated, Waiting
from llm.cluster.trainjobs.follower.actions import Action, Done, Fail, GiveUp, ReadLogs, ReadRest, Say, Warn
from llm.cluster.trainjobs.follower.decide import State, decide, wanted
from llm.cluster.trainjobs.follower.endings import ATTEMPT, INDEX
from llm.cluster.trainjobs.follower.snapshot import Followed, Snapshot, Wants
from llm.errors import GateNotPassed, GristmillError, Preempted, UserError, ValidationFailed
from tests.unit.cluster.conftest import NAME, SPEC

FOLLOWED = Followed(NAME, "uid", "2026-11-24T23:00:00Z", SPEC, patience_seconds=600)
DATE = datetime(2026, 11, 24, 23, 5, tzinfo=UTC)
FAILED_ACTION = ("Failed", "FailJobSetFailurePolicyAction", "applying FailJobSet failure policy action")
Json = dict[str, Any]


def job(*conditions: tuple[str, ...], suspend: bool = False, going: bool = False) -> Json:
    metadata: Json = {"uid": "uid"} | ({"deletionTimestamp": "2026-11-24T23:04:00Z"} if going else {})
    listed = [dict(zip(("type", "reason", "message"), one, strict=False), status="True") for one in conditions]
    return {"metadata": metadata, "spec": {"suspend": suspend}, "status": {"conditions": listed}}


def pod(index: int, attempt: int = 0, **changes: Any) -> Pod:
    """A pod that runs, with changes."""
    labels = {INDEX: str(index), ATTEMPT: str(attempt)}
    made = Pod(f"{NAME}-node-0-{index}-{attempt}", "ml", "Running", "", False, "node-1", labels, is_running=True,
               image="gristmill/train:1", limits={"memory": "1Gi"})  # fmt: skip
    return replace(made, **changes)


def ended(index: int, code: int | None, message: str = "", reason: str = "Error", at: str = "1", **more: Any) -> Pod:
    how = Terminated(code, reason, message, at)
    return pod(index, is_running=False, phase="Failed" if code else "Succeeded", terminated=how, **more)


def pending(index: int, **changes: Any) -> Pod:
    return pod(index, **{"is_running": False, "phase": "Pending", "node": None, **changes})


def seen(*pods: Pod, of: Json | None = None, **more: Any) -> Snapshot:
    return Snapshot(job() if of is None else of, pods, date=DATE, **more)


def after(*looks: Snapshot, every: float = 1.0) -> tuple[State, list[Action]]:
    """What is known after some looks, and what is done after the last."""
    state, actions = State(), list[Action]()
    for number, look in enumerate(looks):
        state, actions = decide(FOLLOWED, state, look, number * every)
    return state, actions


def of_kind(actions: list[Action], kind: type) -> list[Any]:
    return [action for action in actions if isinstance(action, kind)]


def test_pods_that_run_are_counted_once_and_their_log_is_read():
    state, actions = after(seen(pod(0), pending(1)))
    assert actions == [ReadLogs((f"{NAME}-node-0-0-0",)), Say("1 of 2 pods run")]
    _, actions = decide(FOLLOWED, state, seen(pod(0), pending(1)), 1)
    assert actions == [ReadLogs((f"{NAME}-node-0-0-0",))]


def test_logs_are_read_of_rank_0_only_earlier_attempts_first():
    _, actions = after(seen(pod(1, 1), pod(0, 1), ended(0, 75)))
    (read,) = of_kind(actions, ReadLogs)
    assert read.pods == (f"{NAME}-node-0-0-0", f"{NAME}-node-0-0-1")


def test_a_complete_training_is_done_once_its_log_is_read():
    _, actions = after(seen(pod(0), pod(1)), seen(ended(0, 0), ended(1, 0), of=job(("Complete",))))
    assert actions[-2:] == [ReadRest(), Done()]


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (job(suspend=True), "queued: the TrainJob is suspended until its queue starts it"),
        (job(("Suspended",)), "queued: the TrainJob is suspended until its queue starts it"),
        (job(going=True), "the TrainJob is being deleted"),
    ],
)
def test_a_training_that_may_not_run_is_waited_for_however_long_it_takes(of: Json, words: str):
    stuck = pending(0, waiting=(Waiting("node", "x", "ErrImageNeverPull", ""),))
    state, actions = after(seen(stuck, of=of))
    assert Say(words) in actions
    for hours in range(1, 50):
        state, actions = decide(FOLLOWED, state, seen(stuck, of=of), hours * 3600)
        assert not of_kind(actions, GiveUp)
    wants = wanted(FOLLOWED, state, 1e6, seen(of=of))
    assert replace(wants, queue=False) == Wants()


@pytest.mark.parametrize(
    ("looks", "why"),
    [
        ([seen(ended(0, 75, "saved", at="2"), ended(1, 137, reason="OOMKilled", at="1"))],
         f"pod {NAME}-node-0-1-0 was killed for lack of memory (OOMKilled; its limit is 1Gi)"),
        ([seen(pod(0), pod(1)), seen(pod(0))],
         f"pod {NAME}-node-0-1-0 is gone: deleted, or its node is lost"),
        ([seen(pod(0), pod(1))], f"pod {NAME}-node-0-0-0 is gone: deleted, or its node is lost"),
        ([seen(ended(0, 1, at="1"), ended(1, 75, at="0"))], f"pod {NAME}-node-0-0-0 ended with exit code 1"),
        ([seen(ended(0, None, reason="", message="", at=""), pod(1))],
         f"pod {NAME}-node-0-0-0 was ended by its node:"),
    ],
    ids=["out of memory", "a pod is lost", "all are lost", "crash", "by the node"],
)  # fmt: skip
def test_a_restart_is_said_with_its_cause(looks: list[Snapshot], why: str):
    state, actions = after(*looks, seen(pod(0, 1), pod(1, 1)))
    assert of_kind(actions, Warn) == [Warn(f"the training starts again (restart 1): {why}")]
    assert state.lost is None
    _, actions = decide(FOLLOWED, state, seen(pod(0, 1), pod(1, 1)), 9)
    assert not of_kind(actions, Warn)


@pytest.mark.parametrize(("code", "kind"), [(2, UserError), (3, ValidationFailed), (4, GateNotPassed), (75, Preempted)])
def test_a_failure_is_the_trainers_own_error_in_its_own_words(code: int, kind: type[GristmillError]):
    other = pod(1) if code == 75 else ended(1, 1, at="0")  # it ended first, but its end is not final
    blamed = ended(0, code, "training.optimizer.lr=-1 is wrong\n  set more", at="1")
    _, actions = after(seen(blamed, other, of=job(FAILED_ACTION)))
    assert ReadRest() in actions
    error = actions[-1].error  # type: ignore[union-attr]
    assert type(error) is kind
    assert str(error).startswith(
        f"training.optimizer.lr=-1 is wrong\n  set more\n  pod {NAME}-node-0-0-0 ended with exit code"
    )


def test_a_crash_is_shown_with_the_end_of_its_log_and_without_its_events():
    event = '{"time": 1, "kind": "train_step", "step": 1, "steps": 9, "loss": 1.0}'
    lines = ("Traceback (most recent call last):", event, "RuntimeError: boom")
    crash, stop = ended(1, 1, at="1"), ended(0, 75, "saved", at="2")
    look = seen(crash, stop, of=job(("Failed", "ReachedMaxRestarts", "x")), last_lines={crash.name: lines})
    assert wanted(FOLLOWED, State(), 0, look) == Wants((f"{NAME}-node-0",), (crash.name,))
    error = after(look)[1][-1].error  # type: ignore[union-attr]
    assert str(error) == (
        f"the training failed: pod {NAME}-node-0-1-0 ended with exit code 1\n"
        "  Its log ended with:\n    Traceback (most recent call last):\n    RuntimeError: boom\n"
        "  The restarts of pool cpu are used up (its maxRestarts)."
    )
    assert error.exit_code == 70


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("2026-11-24T23:04:00Z", "The deadline of pool cpu has passed (its deadlineSeconds)."),
        ("2026-11-24T22:04:00Z", f"TrainJob {NAME}: FailJobSetFailurePolicyAction: applying FailJobSet"),
    ],
    ids=["of this TrainJob", "of an earlier one"],
)
def test_a_deadline_is_named_although_the_pods_are_gone(at: str, why: str):
    warning = {"reason": "DeadlineExceeded", "message": "Job was active longer", "lastTimestamp": at}
    look = seen(of=job(FAILED_ACTION), warnings={f"{NAME}-node-0": [warning]})
    error = after(look)[1][-1].error  # type: ignore[union-attr]
    assert str(error).startswith(f"TrainJob {NAME} failed, and nothing is left of its pods\n  {why}")


@pytest.mark.parametrize("gone", [Snapshot(None)])
def test_a_trainjob_that_others_deleted_ends_as_stopped_with_the_last_words(gone: Snapshot):
    _, actions = after(seen(pod(0), pod(1)), seen(ended(0, 75, "stopped on request at step 1"), pod(1)), gone)
    assert actions[0] == ReadRest(), "the pods write in their grace too"
    error = actions[1].error  # type: ignore[union-attr]
    assert isinstance(error, Preempted)
    assert str(error) == (
        f"TrainJob {NAME} was deleted while it was followed\n"
        "  By `gristmill cancel`, by the end of the run that created it, or by hand.\n"
        f"  pod {NAME}-node-0-0-0 ended with exit code 75: stopped on request at step 1\n"
        "  Run the same command again to go on from the last checkpoint."
    )


def no_room(index: int) -> Pod:
    return pending(index, not_scheduled=("Unschedulable", "0/3 nodes are available: 1 Insufficient cpu."))


def waits(reason: str) -> Pod:
    return pending(0, node="a", waiting=(Waiting("node", "i:1", reason, "no"),))


@pytest.mark.parametrize(
    ("look", "said_at", "given_up_at"),
    [
        (seen(no_room(0), no_room(1)), 0, 600),
        (seen(waits("ErrImagePull"), pod(1)), 0, 60),
        (seen(waits("CreateContainerConfigError"), pod(1)), 0, 10),
        (seen(waits("ErrImageNeverPull"), pod(1)), None, 0),
    ],
    ids=["no room", "image", "configuration", "image that nobody pulls"],
)
def test_an_obstacle_is_said_at_once_and_given_up_when_its_time_has_come(
    look: Snapshot, said_at: float | None, given_up_at: float
):
    state, said = State(), list[float]()
    for now in range(700):
        state, actions = decide(FOLLOWED, state, look, now)
        said += [now] * len(of_kind(actions, Warn))
        if of_kind(actions, GiveUp):
            break
    assert (said, now) == ([] if said_at is None else [said_at], given_up_at)


def test_what_is_in_the_way_in_time_is_no_reason_to_give_up():
    looks = [seen(no_room(0), no_room(1))] * 599 + [seen(pod(0), pod(1))] * 10
    assert not any(of_kind(after(*looks[:count])[1], GiveUp) for count in (1, 300, 599, 600, 609))


QUOTA = "Error creating: pods is forbidden: exceeded quota: team, requested: cpu=2, used: cpu=9"


def look_for_pods(state: State, now: float, *warnings: Json) -> tuple[Wants, State, list[Action]]:
    """A look that finds one of two pods."""
    first = seen(pod(0))
    wants = wanted(FOLLOWED, state, now, first)
    read = dict.fromkeys(wants.warnings, warnings)
    return wants, *decide(FOLLOWED, state, replace(first, warnings=read), now)


def test_pods_that_are_missing_are_explained_by_warnings_that_are_read_now_and_then():
    warning = {"reason": "FailedCreate", "message": QUOTA, "lastTimestamp": "2026-11-24T23:01:00Z"}
    state, read = State(), []
    for now in range(7):
        wants, state, actions = look_for_pods(state, now, warning)
        read += [now] if wants.warnings else []
        assert wants.warnings in ((), (NAME, f"{NAME}-node-0"))
        assert bool(of_kind(actions, Warn)) == (now == 0)
    assert read == [0, 3, 6]
    _, _, actions = look_for_pods(state, 604, warning)
    assert not of_kind(actions, GiveUp), "nobody saw it for ten minutes, so its time begins again"


def test_missing_pods_without_a_word_are_said_after_a_while_and_given_up():
    state, said = State(), list[float]()
    for now in range(700):
        _, state, actions = look_for_pods(state, now)
        said += [now] * len(of_kind(actions, Warn))
        if of_kind(actions, GiveUp):
            break
    assert (said, now) == ([10], 600)
    assert actions[-1].obstacle.kind == "silence"  # type: ignore[union-attr]


def test_pods_that_end_after_a_restart_are_not_missing():
    assert wanted(FOLLOWED, State(), 0, seen(pod(0, is_going=True))) == Wants()


def test_a_pod_that_its_node_prepares_for_long_is_explained_by_its_own_warnings():
    slow = pending(0, node="a")
    look = seen(slow, pod(1))
    state, _ = after(*[look] * 31)
    assert wanted(FOLLOWED, state, 30, look) == Wants()
    assert wanted(FOLLOWED, state, 31, look) == Wants((slow.name,))
    warning = {"reason": "FailedMount", "message": 'secret "ca" not found', "lastTimestamp": "2026-11-24T23:04:00Z"}
    state, actions = decide(FOLLOWED, state, replace(look, warnings={slow.name: [warning]}), 31)
    assert of_kind(actions, Warn) == [
        Warn(f'the node of pod {slow.name} cannot prepare it: FailedMount (secret "ca" not found)')
    ]
    assert isinstance(state.warned, Obstacle)
    state, _ = decide(FOLLOWED, state, seen(pod(0), pod(1)), 32)
    assert (state.warned, state.warnings_read_at) == (None, None)


def test_a_trainer_that_said_why_it_ended_needs_no_log():
    endings = [ended(0, 0), ended(1, 75), ended(2, 2, "wrong"), ended(3, 2), ended(4, 137)]
    assert wanted(FOLLOWED, State(), 0, seen(*endings)).last_lines == (endings[3].name, endings[4].name)
    state, _ = after(seen(*endings))
    assert wanted(FOLLOWED, state, 1, seen(*endings)).last_lines == (), "it is read once"


def test_a_failure_comes_last():
    for look in (seen(ended(0, 1), of=job(FAILED_ACTION)), Snapshot(None)):
        _, actions = after(look)
        assert [isinstance(action, Fail) for action in actions] == [False] * (len(actions) - 1) + [True]
