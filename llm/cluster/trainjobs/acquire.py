"""Creating a TrainJob, or taking over the one that an earlier launcher of the same training created."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from llm.cluster.api import Api, Json
from llm.cluster.refusal import Refused
from llm.cluster.trainjobs.conditions import COMPLETE, FAILED, ended, is_going
from llm.cluster.trainjobs.delete import delete_and_wait
from llm.cluster.trainjobs.delete_on_signal import DeletesWhenStopped
from llm.cluster.trainjobs.trainjob import RUN, SPEC_HASH, WORK
from llm.cluster.trainjobs.trainjob_requests import (
    create_trainjob,
    delete_trainjob,
    trainjob,
    trainjobs_with,
)
from llm.errors import BusyError, ServiceError, UserError


@dataclass(frozen=True)
class Begun:
    """The TrainJob to follow."""

    job: Json
    created_at: float | None
    """When we created it, in seconds since the epoch; None if another did."""


def begin(api: Api, body: Json, stop: DeletesWhenStopped, tell: Callable[[str], None], *, anew: bool) -> Begun:
    """Create the TrainJob; where its name is taken, adopt one that asks for the same.

    One that is being deleted is waited for, one that has failed makes room for a new one, and so does one that is
    complete if a new one is wanted (`anew`). Raises UserError if it asks for something else, BusyError if another run
    does the same work now (both would write the same checkpoints), ServiceError if that cannot be seen.
    """
    name = body["metadata"]["name"]
    while True:
        started, job = time.time(), None
        stop.is_creating = True
        try:
            created = create_trainjob(api, body)
            _make_way(api, created)
            return Begun(created, started)
        except Refused as error:
            if error.status != 409:
                raise
            job = trainjob(api, name)
        finally:
            stop.is_creating = False
        if job is None:
            continue  # it has gone in between
        state = ended(job)
        if is_going(job):
            tell(f"waiting for an earlier TrainJob {name} to be gone")
        elif state == FAILED:
            tell(f"an earlier TrainJob {name} has failed, and makes room for a new one")
        elif _hash(job) != _hash(body):
            raise _two_runs(job, body)
        elif state == COMPLETE and anew:
            tell(f"an earlier TrainJob {name} is complete, and makes room for a new one")
        else:
            if state is None:  # whoever created it may have been cut off before it looked
                _make_way(api, job)
            return Begun(job, None)
        delete_and_wait(api, [job], tell)


def _make_way(api: Api, ours: Json) -> None:
    """Delete our TrainJob and refuse unless it is the first of those that do its work now.

    Looked for afterwards, so that of two that are created at once one sees the other. Their times are whole seconds:
    of two in one second both may give way. Rather none than two that write into one place. One that is being deleted
    counts too, as its pods may be saving a checkpoint.
    """
    metadata = ours["metadata"]
    try:
        others = trainjobs_with(api, WORK, metadata["labels"][WORK])
    except ServiceError:
        delete_trainjob(api, metadata["name"])
        raise
    for other in (other["metadata"] for other in others if ended(other) is None):
        if other["uid"] == metadata["uid"] or other["creationTimestamp"] > metadata["creationTimestamp"]:
            continue
        delete_trainjob(api, metadata["name"])
        run = other["labels"].get(RUN, "?")
        raise BusyError(
            f"run {run} trains the same already, as TrainJob {other['namespace']}/{other['name']}",
            f"Wait for its end, and run again: its checkpoint is then used. To end it: gristmill cancel {run}",
        )


def _two_runs(job: Json, body: Json) -> UserError:
    ours, theirs = body["spec"], job["spec"]
    differing = [
        f"{part}.{key}" for part in ("runtimeRef", "trainer") for key, value in ours[part].items()
        if ((theirs.get(part) or {}).get(key) or None) != (value or None)
    ]  # fmt: skip
    metadata = job["metadata"]
    run = metadata.get("labels", {}).get(RUN, "?")
    return UserError(
        f"two runs with one name: TrainJob {metadata['namespace']}/{metadata['name']} of run {run} is there already,"
        " and asks for something else",
        f"it differs in {', '.join(differing) or 'its fingerprint'}; created {metadata.get('creationTimestamp')},"
        f" {ended(job) or 'not ended'}",
        f"Give this run another name (run.name=…), or end the other: gristmill cancel {run}",
    )


def _hash(job: Json) -> str | None:
    value: str | None = (job["metadata"].get("annotations") or {}).get(SPEC_HASH)
    return value
