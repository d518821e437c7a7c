"""A training that waits in a queue of Kueue, from its label to its events, on a cluster in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llm.cluster.trainjobs.trainjob import manifest
from llm.config.sections.cluster import PRIORITY_LABEL, QUEUE_LABEL
from llm.errors import UserError
from llm.runs.event_kinds import Admitted, Evicted, Progress, Queued, Warned
from llm.runs.events import EventLog
from tests.fakes.cluster import KUEUE, FakeCluster, Training
from tests.unit.cluster.conftest import IMAGE, NAME, SPEC, Run, steps, told

BUSY = (False, "Pending", "couldn't assign flavors to pod set node: insufficient unused quota for cpu")
RESERVED, ADMITTED = (True, "QuotaReserved", ""), (True, "Admitted", "")
FOR_ANOTHER = (
    True, "Preempted", "Preempted to accommodate a workload (UID: w, JobUID: 7-8) due to prioritization in the queue",
)  # fmt: skip
PENDING = "/apis/visibility.kueue.x-k8s.io/v1beta2/namespaces/ml/localqueues/team-a/pendingworkloads"


@pytest.fixture
def kueue(cluster: FakeCluster) -> FakeCluster:
    cluster.install_kueue()
    cluster.kueue("localqueues", "team-a", "ml", spec={"clusterQueue": "whole"})
    cluster.kueue("workloadpriorityclasses", "urgent", value=9)
    return cluster


def admit(training: Training) -> None:
    training.workload("team-a", QuotaReserved=RESERVED, Admitted=ADMITTED)
    training.go()
    training.run_pods()


def waits_and_works(training: Training) -> None:
    training.wait()
    training.workload("team-a", QuotaReserved=BUSY)
    training.after(30, admit, training)
    training.after(40, training.train_step, 1)
    training.after(50, training.succeed)


def evict(training: Training, path: str = "") -> None:
    training.wait()
    why = (*FOR_ANOTHER[:2], FOR_ANOTHER[2] + path)
    training.workload("team-a", QuotaReserved=BUSY, Evicted=why)


def test_queue_and_priority_are_labels_and_no_part_of_the_fingerprint():
    queued = manifest(replace(SPEC, queue="team-a", priority="urgent"), "ml", IMAGE, None)
    plain = manifest(SPEC, "ml", IMAGE, None)
    assert queued["metadata"]["labels"].items() - plain["metadata"]["labels"].items() == {
        (QUEUE_LABEL, "team-a"), (PRIORITY_LABEL, "urgent"),
    }  # fmt: skip
    assert QUEUE_LABEL not in plain["metadata"]["labels"], "the namespace's queue `default` takes it"
    assert queued["metadata"]["annotations"] == plain["metadata"]["annotations"]


def test_a_wait_is_told_with_its_place_and_its_reason_and_so_is_its_end(kueue: FakeCluster, run: Run, log: EventLog):
    kueue.script = waits_and_works
    pending = [{"metadata": {"name": "other"}}, {"metadata": {"name": f"trainjob-{NAME}"}, "positionInLocalQueue": 1}]
    kueue.objects[PENDING] = {"items": pending}
    run(queue="team-a", priority="urgent")
    (queued,), (admitted,) = log.of_kind(Queued), log.of_kind(Admitted)
    assert (queued.queue, queued.place, queued.why) == ("team-a", 2, "insufficient unused quota for cpu")
    assert (admitted.cluster_queue, admitted.seconds) == ("all", 30.0)
    assert told(log, Progress)[0] == "queued in team-a, place 2: insufficient unused quota for cpu"
    assert not log.of_kind(Warned)
    assert steps(log) == [1]


def test_a_preemption_names_the_work_of_the_same_namespace_that_it_was_for(kueue: FakeCluster, run: Run, log: EventLog):
    metadata = {"labels": {"kueue.x-k8s.io/job-uid": "7-8"}, "ownerReferences": [{"kind": "Job", "name": "urgent"}]}
    kueue.kueue("workloads", "job-urgent", "ml", metadata=metadata)

    def script(training: Training) -> None:
        waits_and_works(training)
        training.after(35, evict, training)
        training.after(38, admit, training)

    kueue.script = script
    run(queue="team-a")
    (evicted,) = log.of_kind(Evicted)
    assert (evicted.reason, evicted.by, evicted.message) == ("Preempted", "Job urgent", FOR_ANOTHER[2])
    assert [event.again for event in log.of_kind(Queued)] == [False, True]
    assert len(log.of_kind(Admitted)) == 2


@pytest.mark.parametrize(
    ("path", "by"), [("", None), ("; preemptor path: /research/b; preemptee path: /research/a", "ClusterQueue b")]
)
def test_a_preemption_for_another_team_names_its_cluster_queue(
    kueue: FakeCluster, run: Run, log: EventLog, path: str, by: str | None
):
    def script(training: Training) -> None:
        waits_and_works(training)
        training.after(35, evict, training, path)
        training.after(38, admit, training)

    kueue.script = script
    run(queue="team-a")
    assert [event.by for event in log.of_kind(Evicted)] == [by]


def test_an_account_that_may_not_see_workloads_waits_all_the_same(kueue: FakeCluster, run: Run, log: EventLog):
    kueue.script = waits_and_works
    kueue.forbidden = {"workloads", "localqueues", "clusterqueues"}
    run(queue="team-a")
    assert not [*log.of_kind(Queued), *log.of_kind(Admitted), *log.of_kind(Warned)]
    assert told(log, Progress)[0] == "queued: the TrainJob is suspended until its queue starts it"
    assert steps(log) == [1]


def test_a_second_launcher_tells_nothing_again(kueue: FakeCluster, run: Run, log: EventLog):
    training = kueue.create(manifest(SPEC, "ml", IMAGE, None))
    waits_and_works(training)
    log.emit(Queued(time=kueue.clock.date().timestamp(), queue="team-a", why="x"))
    run()
    assert [event.why for event in log.of_kind(Queued)] == ["x"]
    assert len(log.of_kind(Admitted)) == 1


def test_a_queue_that_is_gone_is_refused_only_for_a_trainjob_that_is_not_there_yet(
    kueue: FakeCluster, run: Run, log: EventLog
):
    del kueue.objects[f"{KUEUE}/v1beta2/namespaces/ml/localqueues/team-a"]
    with pytest.raises(UserError, match=r"training\.queue=team-a: namespace ml has no LocalQueue"):
        run(queue="team-a")
    assert not kueue.made("POST", "trainjobs")
    training = kueue.create(manifest(SPEC, "ml", IMAGE, None))
    waits_and_works(training)
    run(queue="team-a")
    (said,) = told(log, Warned)
    assert said.startswith(f"TrainJob {NAME} has queue none and keeps it; for training.queue=team-a end it first")


def test_a_queue_that_is_deleted_meanwhile_ends_the_wait(kueue: FakeCluster, run: Run, log: EventLog):
    def script(training: Training) -> None:
        training.wait()
        training.workload("team-a", QuotaReserved=(False, "Inadmissible", "LocalQueue team-a doesn't exist"))

    kueue.script = script
    with pytest.raises(UserError) as raised:
        run(queue="team-a")
    assert str(raised.value) == (
        "queue team-a can never start the training\n  Kueue says: LocalQueue team-a doesn't exist\n"
        "  Name another queue (training.queue), ask for less (training.parallel.nodes, training.pool), or let an"
        " administrator change the queue.\n"
        f"  TrainJob {NAME} was deleted after 600 s (cluster.unschedulable_after_seconds)"
    )
    assert not kueue.trainjobs()


def test_a_stopped_queue_is_a_warning_in_the_runs_log(kueue: FakeCluster, run: Run, log: EventLog):
    kueue.kueue("localqueues", "team-a", "ml", spec={"clusterQueue": "whole", "stopPolicy": "Hold"})
    kueue.script = waits_and_works
    run(queue="team-a")
    assert "is stopped (stopPolicy Hold of LocalQueue team-a)" in told(log, Warned)[0]
