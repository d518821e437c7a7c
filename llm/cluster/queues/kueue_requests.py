"""All that we ask of Kueue's API. Kueue may be missing, and an account may not be allowed to see it: then the answer
is None, and whoever asked says less.
"""

from __future__ import annotations

from llm.cluster.api import Api, Json, Query
from llm.cluster.pod_requests import items, or_none
from llm.cluster.refusal import Refused

GROUP, VERSION = "kueue.x-k8s.io", "v1beta2"
VISIBILITY = "visibility.kueue.x-k8s.io"
"""The API of the order in a queue; Kueue serves it next to its own."""
JOB_UID = "kueue.x-k8s.io/job-uid"
"""Label of a Workload with the uid of the job that it stands for."""
UNSEEN = frozenset({403, 404})


def kueue_versions(api: Api) -> list[str]:
    """The versions of Kueue's API that the cluster serves; none without Kueue, ours if the cluster hides its APIs."""
    try:
        group = or_none(api, f"/apis/{GROUP}", "list its APIs")
    except Refused as error:
        if error.status != 403:
            raise
        return [VERSION]
    return [] if group is None else [version["version"] for version in group.get("versions") or []]


def local_queue(api: Api, name: str) -> Json | None:
    """The LocalQueue of our namespace."""
    return _seen(api, _in_namespace(api, "localqueues", name), f"read queue {api.namespace}/{name}")


def local_queues(api: Api) -> list[Json] | None:
    """The LocalQueues of our namespace."""
    return _list(api, _in_namespace(api, "localqueues"), f"list queues in {api.namespace}")


def cluster_queues(api: Api) -> list[Json] | None:
    """All ClusterQueues; the chart's right `rbac.clusterQueues` lets a launcher see them."""
    return _list(api, f"/apis/{GROUP}/{VERSION}/clusterqueues", "list ClusterQueues")


def cohorts(api: Api) -> list[Json] | None:
    """All Cohorts that have an object; a cohort can exist by its name alone."""
    return _list(api, f"/apis/{GROUP}/{VERSION}/cohorts", "list Cohorts")


def priority_classes(api: Api) -> list[str] | None:
    """Names of the WorkloadPriorityClasses."""
    found = _list(api, f"/apis/{GROUP}/{VERSION}/workloadpriorityclasses", "list WorkloadPriorityClasses")
    return None if found is None else sorted(one["metadata"]["name"] for one in found)


def workload_of(api: Api, job_uid: str) -> Json | None:
    """The Workload of our namespace that stands for the job with that uid."""
    path, doing = _in_namespace(api, "workloads"), f"list Workloads in {api.namespace}"
    found = _list(api, path, doing, {"labelSelector": f"{JOB_UID}={job_uid}"})
    return found[0] if found else None


def place_in_queue(api: Api, queue: str, workload: str) -> int | None:
    """The place of a Workload among those that wait in a LocalQueue; the first is 1."""
    path = f"/apis/{VISIBILITY}/{VERSION}/namespaces/{api.namespace}/localqueues/{queue}/pendingworkloads"
    for one in _list(api, path, f"list what waits in queue {api.namespace}/{queue}") or ():
        if one["metadata"]["name"] == workload:
            return int(one.get("positionInLocalQueue") or 0) + 1
    return None


def _in_namespace(api: Api, kind: str, name: str = "") -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{api.namespace}/{kind}" + (f"/{name}" if name else "")


def _list(api: Api, path: str, doing: str, query: Query | None = None) -> list[Json] | None:
    answer = _seen(api, path, doing, query)
    return None if answer is None else items(answer)


def _seen(api: Api, path: str, doing: str, query: Query | None = None) -> Json | None:
    """The answer; None if there is no such thing, or if we may not see it."""
    try:
        return api.get(path, doing, query)
    except Refused as error:
        if error.status not in UNSEEN:
            raise
        return None
