"""The pods of a run's steps, seen through Kubernetes: their logs, and what keeps them from starting.

What does not go away by itself (an image that nobody has, a Secret that is not there) is an obstacle, with the patience
that a training's pods have with it; a node with room may yet come.

KFP labels every pod of a run with the run's id; Argo notes on it which node it is, such as
`pretrain-x7k2p.root.exit-handler-1.train.executor`, each part with `(N)` behind it when it was tried again.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

from llm.cluster import obstacles
from llm.cluster.api import Api, Json, connect
from llm.cluster.obstacles import NEVER_PULLED, NOT_CONFIGURED, NOT_PULLED, Obstacle
from llm.cluster.pipelines.run_state import DRIVER, RETRY_INDEX
from llm.cluster.pods import is_going
from llm.cluster.refusal import Refused, Unreachable
from llm.cluster.trainjobs.pool_preflight import read_pool
from llm.config import ClusterConfig
from llm.errors import ServiceError

RUN_LABEL = "pipeline/runid"
NODE_ANNOTATION = "workflows.argoproj.io/node-name"
CONTAINER = "main"
KFP_NAMESPACE = "kubeflow"
KFP_SERVICE = "ml-pipeline"
TIMEOUT_SECONDS = 5.0
SILENCE_SECONDS = 60.0
"""A log that says nothing for so long is attached to anew: its connection may be dead without anyone knowing."""
PASSING_WAITS = frozenset({"ContainerCreating", "PodInitializing"})
OF_A_STEP = (
    "If the cluster should have it: `make images`, then load them (scripts/load_images.py),"
    " or push them (scripts/make_images.py --push REPOSITORY)."
)
OF_KFP = "It is an image of Kubeflow Pipelines, not of this project: the nodes must be able to pull it."


@dataclass(frozen=True)
class StepPod:
    """One pod of a run."""

    name: str
    namespace: str
    step: str
    is_driver: bool
    phase: str
    created: str
    trouble: str | None
    """What keeps it from starting; None if nothing does."""
    obstacle: Obstacle | None = None
    """The same, if it does not go away by itself."""

    @property
    def has_log(self) -> bool:
        """Whether its container has begun, so that there is something to read."""
        return self.phase in ("Running", "Succeeded", "Failed")

    @property
    def has_ended(self) -> bool:
        """Whether its log is complete."""
        return self.phase in ("Succeeded", "Failed")


class StepPods:
    """Kubernetes' API as far as the pods of steps go. Methods raise ServiceError when it does not answer, or refuses.

    Without `cluster.namespace` the pods are looked for in the namespace that is ours in the kubeconfig or by our pod,
    and in `kubeflow`, where a Kubeflow Pipelines that is not divided between users runs them.
    """

    def __init__(self, cluster: ClusterConfig) -> None:
        """Connect; raises UserError if no cluster is known, ServiceError if it does not answer."""
        # a convenience: who has no such cluster should not wait for it long, and whoever asks asks again
        bounds = {"timeout_seconds": min(cluster.timeout_seconds, TIMEOUT_SECONDS)}
        self._api: Api = connect(cluster.model_copy(update=bounds))
        self._api.patience_seconds = 0.0
        own = (self._api.namespace,)
        self.namespaces = own if cluster.namespace else tuple(dict.fromkeys((*own, KFP_NAMESPACE)))

    def of_run(self, run_id: str) -> list[StepPod]:
        """The run's pods, in the order of their creation."""
        pods = [_step_pod(pod) for pod in self._labelled("/api/v1", "pods", run_id)]
        return sorted(pods, key=lambda pod: (pod.created, pod.name))

    def log(self, pod: StepPod, *, follow: bool = False) -> Iterator[str]:
        """What its container printed so far; with `follow` also what comes, until it ends or the connection does."""
        path, doing = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/log", f"read the log of pod {pod.name}"
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            with self._api.stream(path, doing, {"container": CONTAINER, "follow": follow}, SILENCE_SECONDS) as answer:
                for piece in answer.stream():
                    yield decoder.decode(piece)
        except Unreachable:
            if not follow:
                raise

    def workflow_message(self, run_id: str) -> str | None:
        """Why Argo gave a run up; None if it does not say, or must not be asked."""
        try:
            workflows = self._labelled("/apis/argoproj.io/v1alpha1", "workflows", run_id)
        except ServiceError:
            return None
        states = [workflow.get("status", {}) for workflow in workflows]
        nodes = [node for state in states for node in state.get("nodes", {}).values() if node.get("type") == "Pod"]
        return next((str(one["message"]) for one in [*nodes, *states] if one.get("message")), None)

    def kfp_namespace(self) -> str | None:
        """The namespace in which Kubeflow Pipelines runs here; None if it does not, or if that may not be known."""
        path = "/api/v1/namespaces/{}/services/" + KFP_SERVICE
        return next((namespace for namespace in self.namespaces if self._is_there(path.format(namespace))), None)

    def check_pool(self, namespace: str, name: str) -> None:
        """Raise UserError if a pool is not there, ServiceError without a Trainer and JobSet whose objects we write.

        What may not be looked at passes.
        """
        api = self._api.twin(self._api.timeout_seconds)
        api.namespace = namespace
        with closing(api), suppress(Refused, Unreachable):
            read_pool(api, name)

    def lacks(self, path: str) -> bool:
        """Whether an object is certainly not there."""
        return self._is_there(path) is False

    def _is_there(self, path: str) -> bool | None:
        try:
            self._api.get(path, f"read {path}")
        except Refused as error:
            return False if error.status == 404 else None
        except Unreachable:
            return None
        return True

    def _labelled(self, group: str, kind: str, run_id: str) -> list[Json]:
        """The objects of a run in all namespaces that may be read; raises ServiceError if none may."""
        query = {"labelSelector": f"{RUN_LABEL}={run_id}"}

        def asked(namespace: str) -> list[Json]:
            answer = self._api.get(f"{group}/namespaces/{namespace}/{kind}", f"list {kind} in {namespace}", query)
            return list(answer.get("items") or [])

        return [item for items in _of_those_that_answer(asked, self.namespaces) for item in items]


def _of_those_that_answer(ask: Callable[[str], list[Json]], namespaces: tuple[str, ...]) -> list[list[Json]]:
    answers, last = [], None
    for namespace in namespaces:
        try:
            answers.append(ask(namespace))
        except ServiceError as error:
            last = error
    if not answers and last is not None:
        raise last
    return answers


def _step_pod(pod: Json) -> StepPod:
    metadata, status = pod["metadata"], pod.get("status", {})
    node = metadata.get("annotations", {}).get(NODE_ANNOTATION, metadata["name"])
    path = [RETRY_INDEX.sub("", part) for part in node.split(".")]
    is_driver = path[-1].endswith(DRIVER)
    step = path[-1].removesuffix(DRIVER) if is_driver or len(path) < 2 else path[-2]
    return StepPod(
        name=metadata["name"],
        namespace=metadata["namespace"],
        step=step,
        is_driver=is_driver,
        phase=status.get("phase", "Pending"),
        created=metadata.get("creationTimestamp", ""),
        trouble=_trouble(status),
        obstacle=_obstacle(pod, step, is_driver=is_driver),
    )


def _trouble(status: Json) -> str | None:
    """What keeps a pod from starting: an image that is not there, no node with room, a missing secret."""
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason')}: {condition.get('message')}"
    return next((f"{reason}: {said or container.get('image')}" for container, reason, said in _waiting(status)), None)


def _obstacle(pod: Json, step: str, *, is_driver: bool) -> Obstacle | None:
    """What keeps a pod from starting and does not go away by itself; None if nothing does, or the pod is to end."""
    metadata = pod["metadata"]
    where = f"pod {metadata['namespace']}/{metadata['name']}"
    for container, reason, said in () if is_going(pod) else _waiting(pod.get("status", {})):
        if reason in NEVER_PULLED | NOT_PULLED:
            ours = container.get("name") == CONTAINER and not is_driver
            return Obstacle(
                "image", f"{step} cannot start: the image {container.get('image')} cannot be had",
                (f"{where}: {reason}: {said}", OF_A_STEP if ours else OF_KFP),
                0.0 if reason in NEVER_PULLED else obstacles.PULL_SECONDS,
            )  # fmt: skip
        if reason in NOT_CONFIGURED:
            return Obstacle(
                "configuration", f"{step} cannot start: its container cannot be made: {said or reason}",
                (f"{where}, image {container.get('image')}: {reason}",
                 f"Make what is missing in the namespace {metadata['namespace']}, or change the values of"
                 " gristmill-platform."),
                obstacles.CONFIGURATION_SECONDS,
            )  # fmt: skip
    return None


def _waiting(status: Json) -> Iterator[tuple[Json, str, str]]:
    """The containers that wait for what is not a matter of moments, each with the kubelet's reason and words."""
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") not in PASSING_WAITS:
            yield container, str(waiting.get("reason")), " ".join(str(waiting.get("message") or "").split())
