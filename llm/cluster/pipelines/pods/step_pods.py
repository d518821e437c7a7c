"""The pods of a run's steps, seen through Kubernetes: their logs, and what keeps them from starting.

KFP labels every pod of a run with the run's id. Argo writes on it which node it is, such as
`pretrain-x7k2p.root.exit-handler-1.train.executor`; a part that was tried again ends with `(N)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from llm.cluster.api import Api, Json, connect
from llm.cluster.obstacles import Advice, Obstacle, container_obstacle
from llm.cluster.pipelines.pods.lost import Loss, loss_of, words_of_argo
from llm.cluster.pipelines.pods.refused import RefusedPod, refused_in_events, refused_in_nodes, step_of_node
from llm.cluster.pod_log import PodLog
from llm.cluster.pod_requests import warnings_of
from llm.cluster.pods import Pod, Waiting, read_pod
from llm.cluster.refusal import Refused, Unreachable
from llm.config import ClusterConfig
from llm.config.sections.cluster import QUEUE_LABEL
from llm.errors import ServiceError

RUN_LABEL = "pipeline/runid"
WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
ARGO = "/apis/argoproj.io/v1alpha1"
NODE_ANNOTATION = "workflows.argoproj.io/node-name"
CONTAINER = "main"
KFP_NAMESPACE = "kubeflow"
KFP_SERVICE = "ml-pipeline"
TIMEOUT_SECONDS = 5.0
PASSING_WAITS = frozenset({"ContainerCreating", "PodInitializing"})
OF_A_STEP = (
    "If the cluster should have it: `make images`, then load them (scripts/load_images.py),"
    " or push them (scripts/make_images.py --push REPOSITORY)."
)
OF_KFP = "It is an image of Kubeflow Pipelines, not of this project: the nodes must be able to pull it."


@dataclass(frozen=True)
class StepPod:
    """One pod of a run."""

    pod: Pod
    step: str
    is_driver: bool

    @property
    def name(self) -> str:
        """The pod's name."""
        return self.pod.name

    @property
    def trouble(self) -> str | None:
        """The reason why it does not start: an image, a Secret, no node with room; None if there is none."""
        queue = self.pod.labels.get(QUEUE_LABEL)
        if self.pod.not_scheduled is not None and self.pod.not_scheduled[0] == "SchedulingGated" and queue is not None:
            return f"it waits in queue {queue} of Kueue"
        if self.pod.not_scheduled is not None:
            return ": ".join(self.pod.not_scheduled)
        return next((f"{one.reason}: {one.message or one.image}" for one in self._waiting), None)

    @property
    def obstacle(self) -> Obstacle | None:
        """The obstacle to its start that does not go away by itself; None if there is none, or if it is to end."""
        if self.pod.is_going:
            return None
        found = (container_obstacle(self.pod, one, self.step, self._advice(one)) for one in self._waiting)
        return next((obstacle for obstacle in found if obstacle is not None), None)

    @property
    def _waiting(self) -> tuple[Waiting, ...]:
        return tuple(one for one in self.pod.waiting if one.reason not in PASSING_WAITS)

    def _advice(self, waiting: Waiting) -> Advice:
        ours = waiting.container == CONTAINER and not self.is_driver
        return Advice(
            OF_A_STEP if ours else OF_KFP,
            f"Make what is missing in the namespace {self.pod.namespace}, or change the values of gristmill-platform.",
        )


class StepPods:
    """Kubernetes' API as far as the pods of steps go. Methods raise ServiceError when it does not answer, or refuses.

    Without `cluster.namespace` the pods are looked for in our own namespace, by the kubeconfig or by our pod, and in
    `kubeflow`: a Kubeflow Pipelines that does not keep its users apart runs them there.
    """

    def __init__(self, cluster: ClusterConfig) -> None:
        """Connect; raises UserError if no cluster is known, ServiceError if it does not answer."""
        # The pods are a convenience: without such a cluster nobody should wait for it long.
        bounds = {"timeout_seconds": min(cluster.timeout_seconds, TIMEOUT_SECONDS)}
        self._api: Api = connect(cluster.model_copy(update=bounds))
        self._api.patience_seconds = 0.0  # callers ask again anyway
        own = (self._api.namespace,)
        self.namespaces = own if cluster.namespace else tuple(dict.fromkeys((*own, KFP_NAMESPACE)))

    def of_run(self, run_id: str) -> list[StepPod]:
        """The run's pods, in the order of their creation."""
        return _in_order(self._labelled("/api/v1", "pods", run_id))

    def log(self, pod: StepPod) -> PodLog:
        """Its container's log, from the beginning."""
        return PodLog(self._api, pod.pod.namespace, pod.name, CONTAINER)

    def workflow_message(self, run_id: str) -> str | None:
        """Why Argo gave a run up; None if it does not say, or may not be asked."""
        states = [workflow.get("status", {}) for workflow in self._readable(ARGO, "workflows", run_id)]
        nodes = [node for state in states for node in state.get("nodes", {}).values() if node.get("type") == "Pod"]
        return next((str(one["message"]) for one in [*nodes, *states] if one.get("message")), None)

    def loss(self, run_id: str, step: str) -> tuple[Loss | None, str | None]:
        """Why a step ended that did not say it itself, and Argo's words about it; None for what is not known."""
        pods, workflows = self._readable("/api/v1", "pods", run_id), self._readable(ARGO, "workflows", run_id)
        argo = words_of_argo(workflows, step)
        of_step = [one.pod for one in _in_order(pods) if (one.step, one.is_driver) == (step, False)]
        return loss_of(step, of_step[-1] if of_step else None, argo), argo

    def refused(self, run_id: str) -> list[RefusedPod]:
        """The pods of the run that the API server did not take; none where Workflows and events may not be read."""
        try:
            workflows = self._labelled(ARGO, "workflows", run_id)
            return [refused for workflow in workflows for refused in refused_in_nodes(workflow)]
        except ServiceError:
            return list(refused_in_events(self._warnings_of_workflow(run_id)))

    def _warnings_of_workflow(self, run_id: str) -> list[Json]:
        """The warnings about the run's Workflow, which the pods of drivers name."""
        try:
            pods = [one.pod for one in self.of_run(run_id) if WORKFLOW_LABEL in one.pod.labels]
            if not pods:
                return []
            there = pods[0]
            return warnings_of(self._api, there.labels[WORKFLOW_LABEL], there.namespace)
        except ServiceError:
            return []

    def kfp_namespace(self) -> str | None:
        """The namespace in which Kubeflow Pipelines runs here; None if it does not, or if we may not know it."""
        path = "/api/v1/namespaces/{}/services/" + KFP_SERVICE
        return next((namespace for namespace in self.namespaces if self._is_there(path.format(namespace))), None)

    def api_in(self, namespace: str) -> Api:
        """The same cluster, in another namespace; the caller closes it."""
        return self._api.new_connection(self._api.timeout_seconds, namespace)

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

    def _readable(self, group: str, kind: str, run_id: str) -> list[Json]:
        """The objects of a run; none if they may not be read, or cannot be now."""
        try:
            return self._labelled(group, kind, run_id)
        except ServiceError:
            return []

    def _labelled(self, group: str, kind: str, run_id: str) -> list[Json]:
        """The objects of a run in all namespaces that may be read; raises ServiceError if none may."""
        query = {"labelSelector": f"{RUN_LABEL}={run_id}"}

        def asked(namespace: str) -> list[Json]:
            answer = self._api.get(f"{group}/namespaces/{namespace}/{kind}", f"list {kind} in {namespace}", query)
            return list(answer.get("items") or [])

        return [item for items in _of_those_that_answer(asked, self.namespaces) for item in items]


def _in_order(documents: Iterable[Json]) -> list[StepPod]:
    """Pods in the order of their creation."""
    return sorted((step_pod(document) for document in documents), key=lambda one: (one.pod.created, one.name))


def step_pod(document: Json) -> StepPod:
    """Read the API server's JSON of a pod that Argo made."""
    pod = read_pod(document, CONTAINER)
    return StepPod(pod, *step_of_node(pod.annotations.get(NODE_ANNOTATION, pod.name)))


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
