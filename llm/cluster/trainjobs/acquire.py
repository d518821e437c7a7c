"""Creating a TrainJob, or adopting the one that an earlier launcher of the same training created."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from llm.cluster.api import Api, Json
from llm.cluster.first_wins import earlier
from llm.cluster.refusal import Refused
from llm.cluster.trainjobs.conditions import COMPLETE, FAILED, ended, is_going
from llm.cluster.trainjobs.delete import delete_and_wait
from llm.cluster.trainjobs.delete_on_signal import DeletesOnSignal
from llm.cluster.trainjobs.trainjob import RUN, SPEC_HASH, WORK
from llm.cluster.trainjobs.trainjob_requests import create_trainjob, delete_trainjob, trainjob, trainjobs_with
from llm.errors import BusyError, ServiceError, UserError


@dataclass(frozen=True)
class Acquired:
    """The TrainJob to follow."""

    job: Json
    created_at: float | None
    """When we created it, in seconds since the epoch; None if another did."""


def acquire(
    api: Api,
    body: Json,
    on_signal: DeletesOnSignal,
    tell: Callable[[str], None],
    *,
    replace_complete: bool,
    before_it_goes: Callable[[], None] = lambda: None,
) -> Acquired:
    """Create the TrainJob. If its name is taken, adopt that TrainJob if it asks for the same.

    `before_it_goes` is called while the pods of one that is to be replaced can still be seen. `why_replace` says which
    TrainJobs are replaced. Raises UserError if it asks for something else, BusyError if another run does the same work
    now (both would write the same checkpoints), ServiceError if that cannot be seen.
    """
    name = body["metadata"]["name"]
    while True:
        started, job = time.time(), None
        on_signal.is_creating = True
        try:
            created = create_trainjob(api, body)
            _give_way(api, created)
            return Acquired(created, started)
        except Refused as error:
            if error.status != 409:
                raise
            job = trainjob(api, name)
        finally:
            on_signal.is_creating = False
        if job is None:
            continue  # it was deleted meanwhile
        why = why_replace(job, body, replace_complete=replace_complete)
        if why is None:
            if ended(job) is None:  # its launcher may have died before it looked for others
                _give_way(api, job)
            return Acquired(job, None)
        tell(why)
        before_it_goes()
        delete_and_wait(api, [job], tell)


def why_replace(job: Json, body: Json, *, replace_complete: bool) -> str | None:
    """Why the TrainJob that is there must go before ours is created; None if it is adopted.

    It must go if it has failed, or is being deleted; also if it is complete and `replace_complete` says so. Raises
    UserError if it asks for something else than ours, `body`.
    """
    name = body["metadata"]["name"]
    if is_going(job):
        return f"waiting until an earlier TrainJob {name} is gone"
    if ended(job) == FAILED:
        return f"an earlier TrainJob {name} has failed; a new one replaces it"
    if _hash(job) != _hash(body):
        raise _two_runs(job, body)
    if ended(job) == COMPLETE and replace_complete:
        return f"an earlier TrainJob {name} is complete; a new one replaces it"
    return None


@dataclass(frozen=True)
class _Claim:
    """A TrainJob at the work that its label says."""

    id: str
    created: str
    job: Json


def _give_way(api: Api, ours: Json) -> None:
    """Delete our TrainJob and raise BusyError unless it is the first of those that do its work now.

    A TrainJob that is being deleted counts too, as its pods may be saving a checkpoint.
    """
    name = ours["metadata"]["name"]
    try:
        others = trainjobs_with(api, WORK, ours["metadata"]["labels"][WORK])
    except ServiceError:
        delete_trainjob(api, name)
        raise
    first = earlier(_claim(ours), [_claim(other) for other in others if ended(other) is None])
    if first is None:
        return
    delete_trainjob(api, name)
    other = first.job["metadata"]
    run = other["labels"].get(RUN, "?")
    raise BusyError(
        f"run {run} trains the same already, as TrainJob {other['namespace']}/{other['name']}",
        f"Wait for its end, and run again: its checkpoint is then used. To end it: gristmill cancel {run}",
    )


def _claim(job: Json) -> _Claim:
    return _Claim(job["metadata"]["uid"], job["metadata"]["creationTimestamp"], job)


def _two_runs(job: Json, body: Json) -> UserError:
    ours, theirs = body["spec"], job["spec"]
    differing = [
        f"{part}.{key}" for part in ("runtimeRef", "trainer") for key, value in ours[part].items()
        if ((theirs.get(part) or {}).get(key) or None) != (value or None)
    ]  # fmt: skip
    metadata = job["metadata"]
    run = metadata.get("labels", {}).get(RUN, "?")
    return UserError(
        f"two runs with one name: TrainJob {metadata['namespace']}/{metadata['name']} of run {run} exists already,"
        " and asks for something else",
        f"it differs in {', '.join(differing) or 'its fingerprint'}; created {metadata.get('creationTimestamp')},"
        f" {ended(job) or 'not ended'}",
        f"Give this run another name (run.name=…), or end the other: gristmill cancel {run}",
    )


def _hash(job: Json) -> str | None:
    value: str | None = (job["metadata"].get("annotations") or {}).get(SPEC_HASH)
    return value
