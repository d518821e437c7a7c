"""Whether a training can ever fit into a queue: what all its pods ask for, against the most that the queue can get.

The most is an upper bound: the queue's own quota and all that its cohort may lend it, with nobody else there. So a
training that is refused here would wait for ever, and one that passes may still wait for long.
Source: kueue.sigs.k8s.io/docs/concepts/cluster_queue and /cohort.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llm.cluster.api import Json
from llm.config.quantity import amount

Amounts = Mapping[str, float]


@dataclass(frozen=True)
class Shortage:
    """A resource of which a flavor can never have enough."""

    flavor: str
    resource: str
    asked: float
    most: float
    nominal: float
    """The queue's own quota."""


def asked_for(pool: Json, nodes: int) -> dict[str, float]:
    """The amounts that the pods of a training ask for together; a limit without a request counts as one, as in Kueue.

    `pool` is a TrainingRuntime.
    """
    total: dict[str, float] = {}
    for job in _below(pool, "spec", "template", "spec").get("replicatedJobs") or ():
        pod = _below(job, "template", "spec", "template", "spec")
        for container in pod.get("containers") or ():
            resources = container.get("resources") or {}
            for name, text in {**(resources.get("limits") or {}), **(resources.get("requests") or {})}.items():
                total[name] = total.get(name, 0.0) + nodes * (amount(str(text)) or 0.0)
    return total


def shortages(asked: Amounts, queue: Json, queues: Sequence[Json], cohorts: Sequence[Json] | None) -> list[Shortage]:
    """Why the request never fits into a ClusterQueue: what each flavor is short of; empty if it can fit.

    `queues` are all ClusterQueues. `cohorts` None: they may not be read, so the cohort's share is not known and counts
    as endless. Only resources that the queue has quotas for are compared: Kueue can be set to ignore others.
    """
    in_cohort = _cohort_members(queue, queues, cohorts)
    for group in queue["spec"].get("resourceGroups") or ():
        short = [_shortage(asked, flavor, in_cohort) for flavor in group["flavors"]]
        if short and None not in short:  # all resources of a group come from one flavor
            return [one for one in short if one is not None]
    return []


def _shortage(asked: Amounts, flavor: Json, in_cohort: Sequence[Json] | None) -> Shortage | None:
    """The first resource of which a flavor never has enough."""
    for resource in flavor["resources"]:
        name, nominal = resource["name"], _number(resource["nominalQuota"])
        most = nominal + _borrowed(flavor["name"], resource, in_cohort)
        if asked.get(name, 0.0) > most * (1 + 1e-12):
            return Shortage(flavor["name"], name, asked[name], most, nominal)
    return None


def _borrowed(flavor: str, resource: Json, in_cohort: Sequence[Json] | None) -> float:
    """The most that the others of the cohort can lend, within the queue's own limit on borrowing."""
    limit = resource.get("borrowingLimit")
    most = math.inf if limit is None else _number(limit)
    if in_cohort is None:
        return most
    return min(most, sum(_lends(one, flavor, resource["name"]) for one in in_cohort))


def _lends(member: Json, flavor: str, resource: str) -> float:
    for group in member["spec"].get("resourceGroups") or ():
        for one in group["flavors"]:
            for quota in one["resources"] if one["name"] == flavor else ():
                if quota["name"] == resource:
                    nominal, lent = _number(quota["nominalQuota"]), quota.get("lendingLimit")
                    return nominal if lent is None else min(nominal, _number(lent))
    return 0.0


def _cohort_members(queue: Json, queues: Sequence[Json], cohorts: Sequence[Json] | None) -> list[Json] | None:
    """The other ClusterQueues and the Cohorts under the same root; None if that is not known."""
    cohort = queue["spec"].get("cohortName")
    if not cohort:
        return []
    if cohorts is None:
        return None
    parents = {one["metadata"]["name"]: one["spec"].get("parentName") for one in cohorts}
    root = _root(cohort, parents)
    others = (one for one in queues if one["metadata"]["name"] != queue["metadata"]["name"])
    members = [one for one in others if (name := one["spec"].get("cohortName")) and _root(name, parents) == root]
    return members + [one for one in cohorts if _root(one["metadata"]["name"], parents) == root]


def _root(cohort: str, parents: Mapping[str, str | None]) -> str:
    """The cohort at the top; any one name for cohorts that name each other by mistake."""
    seen = {cohort}
    while parent := parents.get(cohort):
        if parent in seen:
            return min(seen)
        seen.add(parent)
        cohort = parent
    return cohort


def written(resource: str, number: float) -> str:
    """An amount of a resource for a person: `cpu 4`, `memory 16 GiB`."""
    if resource in ("memory", "ephemeral-storage") and number >= 2**20:
        unit, size = ("GiB", 2**30) if number >= 2**30 else ("MiB", 2**20)
        return f"{resource} {number / size:g} {unit}"
    return f"{resource} {number:g}"


def _number(quantity: object) -> float:
    return amount(str(quantity)) or 0.0


def _below(document: Json, *keys: str) -> Json:
    for key in keys:
        document = document.get(key) or {}
    return document


def all_written(amounts: Iterable[tuple[str, float]]) -> str:
    """Amounts of several resources for a person."""
    return ", ".join(written(*one) for one in sorted(amounts)) or "nothing"
