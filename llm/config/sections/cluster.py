"""The cluster, and the pods of a run's steps there."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from llm.config.decides import NOTHING
from llm.config.quantity import Cpu, Memory, cores, size_bytes
from llm.config.sections.base import NameInKubernetes, PositiveFloat, PositiveInt, Section, Text

LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
OF_OTHERS = {
    "gristmill.io": "Gristmill", "pipeline": "Kubeflow Pipelines", "pipelines.kubeflow.org": "Kubeflow Pipelines",
    "workflows.argoproj.io": "Argo",
}  # fmt: skip
"""Domains of keys by which a run's pods are found, and by whom they are set."""
QUEUE_LABEL, PRIORITY_LABEL = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"


def _as_text(value: Any) -> Any:
    """A number or a truth value of a command line (`cpu_limit=2`) as the text that Kubernetes takes."""
    if isinstance(value, bool):
        return "true" if value else "false"  # many labels of nodes are `true`
    return str(value) if isinstance(value, int | float) else value


def _texts(value: Any) -> Any:
    return {_as_text(key): _as_text(one) for key, one in value.items()} if isinstance(value, dict) else value


CpuAmount = Annotated[Cpu, BeforeValidator(_as_text)]
MemoryAmount = Annotated[Memory, BeforeValidator(_as_text)]
Texts = Annotated[dict[str, str], BeforeValidator(_texts)]


class ClusterConfig(Section):
    """Kubernetes and Kubeflow Pipelines: used by `submit` and by a training on a pool."""

    namespace: NameInKubernetes | None = None
    """Namespace of the platform chart; None: the pod's own, or that of the kubeconfig's current context."""
    kfp_uri: str | None = None
    """Address of the Kubeflow Pipelines API; None: KFP_ENDPOINT, or the client's own search."""
    experiment: Annotated[Text, NOTHING] = "gristmill"
    """Experiment of the submitted runs."""
    service_account: NameInKubernetes = "gristmill-pipeline"
    """Service account of a submitted run's steps."""
    run_as_user: PositiveInt | None = 1000
    """Number of the user and of the group that the steps run as; None: those that the cluster gives."""
    gpu_resource: Text = "nvidia.com/gpu"
    """Resource name of a GPU, by which a pool asks for it (`resources.limits` of the platform chart)."""
    unschedulable_after_seconds: PositiveFloat = 600.0
    """How long pods that no node has room for may wait before the training is given up; what is short is named at
    once. A queued job waits for as long as it takes; it is given up after this time if its queue is gone or can never
    hold it."""
    timeout_seconds: PositiveFloat = 30.0
    """How long an answer of an API server may take."""

    @field_validator("gpu_resource")
    @classmethod
    def _is_a_resource(cls, value: str) -> str:
        return _resource("gpu_resource", value)


class Toleration(Section):
    """A taint of nodes that a pod puts up with, as in a pod."""

    key: Text | None = None
    """Key of the taint; None with `operator: Exists`: every taint."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Whether the value must be equal, or the key must only be there."""
    value: str | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; None: every effect."""

    @model_validator(mode="after")
    def _means_something(self) -> Toleration:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("a toleration with operator Exists has no value")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("a toleration with operator Equal needs a key")
        return self


class PodConfig(Section):
    """The requests and limits of a step's pod, and the nodes that it may run on."""

    cpu_request: CpuAmount | None = None
    """CPU that the scheduler keeps free for the step, as `500m` or `2`."""
    cpu_limit: CpuAmount | None = None
    """Most CPU that it gets. Its threads are as many as this, rounded up."""
    memory_request: MemoryAmount | None = None
    """Memory that the scheduler keeps free for the step, as `512Mi` or `4Gi`."""
    memory_limit: MemoryAmount | None = None
    """Memory beyond which the step is killed."""
    accelerator: Text | None = None
    """Resource name of the accelerators, such as `nvidia.com/gpu`; only for steps whose image has torch."""
    accelerators: PositiveInt | None = None
    """Number of accelerators."""
    node_selector: Texts = Field(default_factory=dict)
    """Labels of the nodes that it may run on."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of nodes that it puts up with."""
    timeout_seconds: Annotated[PositiveInt, Field(lt=2**31)] | None = None
    """Time after which the pod is ended for good; None: no limit."""
    queue: NameInKubernetes | None = None
    """LocalQueue of Kueue that the step's pod waits in; None: none. Kueue must be set up for pods."""
    priority: NameInKubernetes | None = None
    """WorkloadPriorityClass of Kueue for the pod in that queue."""
    labels: Texts = Field(default_factory=dict)
    """Labels of the pod, for cost centres and the like."""
    annotations: Texts = Field(default_factory=dict)
    """Annotations of the pod."""

    @model_validator(mode="after")
    def _fits(self) -> PodConfig:
        _at_most("cpu", self.cpu_request, self.cpu_limit, cores)
        _at_most("memory", self.memory_request, self.memory_limit, size_bytes)
        if (self.accelerator is None) != (self.accelerators is None):
            raise ValueError("accelerator and accelerators go together: a resource name and a number")
        if self.accelerator is not None:
            _resource("accelerator", self.accelerator)
        _check_labels("node_selector", self.node_selector)
        _check_labels("labels", self.labels)
        if kueue := {QUEUE_LABEL: "queue", PRIORITY_LABEL: "priority"}.keys() & self.labels.keys():
            raise ValueError(f"labels: {min(kueue)} is set by queue and priority")
        for key in self.annotations:
            _check_key("annotations", key)
        for field, keys in (("labels", self.labels), ("annotations", self.annotations)):
            for key in keys:
                if (owner := OF_OTHERS.get(key.rpartition("/")[0])) is not None:
                    raise ValueError(f"{field}: {key} is set by {owner}; a run's pods are found by it")
        return self


def _resource(field: str, value: str) -> str:
    if "/" not in value or not LABEL_KEY.fullmatch(value):
        raise ValueError(f"{field}={value} is no resource of nodes: write nvidia.com/gpu or its like")
    return value


def _at_most(name: str, request: str | None, limit: str | None, amount: Any) -> None:
    if request is not None and limit is not None and amount(request) > amount(limit):
        raise ValueError(f"{name}_request={request} is above {name}_limit={limit}")


def _check_labels(field: str, labels: dict[str, str]) -> None:
    for key, value in labels.items():
        _check_key(field, key)
        if not LABEL_VALUE.fullmatch(value):
            raise ValueError(
                f"{field}: {key}={value} is no label: up to 63 letters, digits, '-', '_' and '.',"
                " with a letter or digit at both ends"
            )


def _check_key(field: str, key: str) -> None:
    if not LABEL_KEY.fullmatch(key):
        raise ValueError(
            f"{field}: {key} is no key: up to 63 letters, digits, '-', '_' and '.', with a letter or digit at both"
            " ends, and a domain and '/' before it if it has one"
        )


class EveryPod(PodConfig):
    """The pod of every step, in sizes that fit the model `tiny` on two cores."""

    cpu_request: CpuAmount | None = "500m"
    """CPU that the scheduler keeps free for a step, as `500m` or `2`."""
    cpu_limit: CpuAmount | None = "2"
    """Most CPU that a step gets. Its threads are as many as this, rounded up. None: what the node has."""
    memory_request: MemoryAmount | None = "1Gi"
    """Memory that the scheduler keeps free for a step, as `512Mi` or `4Gi`."""
    memory_limit: MemoryAmount | None = "4Gi"
    """Memory beyond which a step is killed; None: what the node has."""


class PodsConfig(Section):
    """The pods of a run's steps: on a cluster all of it, and with `--runner docker` the limits of CPU and memory.

    The pods of a training on a pool are sized by the pool.
    """

    all: EveryPod = EveryPod()
    """Every step."""
    steps: dict[str, PodConfig] = Field(default_factory=dict)
    """The same by step, where one needs something else: `pods.steps.train.memory_limit=16Gi`. A key that is not set
    here is that of `pods.all`; mappings and lists are not mixed."""

    @model_validator(mode="after")
    def _fit_together(self) -> PodsConfig:
        for step in self.steps:
            try:
                self.of(step)
            except ValidationError as error:
                words = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(
                    f"steps.{step} does not fit pods.all: {words}; set both in pods.steps.{step}"
                ) from None
        return self

    def of(self, step: str) -> PodConfig:
        """The pod of a step."""
        if (own := self.steps.get(step)) is None:
            return self.all
        given = {name: value for name, value in own.model_dump().items() if value}
        return PodConfig.model_validate(self.all.model_dump() | given)
