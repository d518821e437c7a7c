"""The pod of a step: what it asks for, where it may run, and as whom.

All of it is for a cluster; KFP's local runners leave it out. Kubeflow Pipelines (2.17) knows no request for ephemeral
storage and no PriorityClass of a step's pod: a LimitRange of the namespace gives the first.
"""

from kfp import dsl, kubernetes

from llm.config import ClusterConfig, PodConfig
from llm.config.sections.cluster import PRIORITY_LABEL, QUEUE_LABEL

STEP_LABEL = "gristmill.io/step"
"""Label of a step's pod, by which the platform chart's network policy knows it."""


def with_pod(task: dsl.PipelineTask, step: str, pod: PodConfig, cluster: ClusterConfig) -> dsl.PipelineTask:
    """The task, in a pod that a namespace with PodSecurity `restricted`, quotas and queues admits."""
    user = cluster.run_as_user
    kubernetes.set_security_context(task, run_as_user=user, run_as_group=user, run_as_non_root=True)
    _ask_for(task, pod)
    for key, value in pod.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for one in pod.tolerations:
        kubernetes.add_toleration(task, key=one.key, operator=one.operator, value=one.value, effect=one.effect)
    if pod.timeout_seconds is not None:
        kubernetes.set_timeout(task, pod.timeout_seconds)
    kueue = {key: name for key, name in ((QUEUE_LABEL, pod.queue), (PRIORITY_LABEL, pod.priority)) if name is not None}
    for key, value in {**pod.labels, **kueue, STEP_LABEL: step}.items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in pod.annotations.items():
        kubernetes.add_pod_annotation(task, key, value)
    return task


def _ask_for(task: dsl.PipelineTask, pod: PodConfig) -> None:
    for amount, ask in (
        (pod.cpu_request, task.set_cpu_request), (pod.cpu_limit, task.set_cpu_limit),
        (pod.memory_request, task.set_memory_request), (pod.memory_limit, task.set_memory_limit),
    ):  # fmt: skip
        if amount is not None:
            ask(amount)
    if pod.accelerator is not None and pod.accelerators is not None:
        task.set_accelerator_type(pod.accelerator).set_accelerator_limit(pod.accelerators)
