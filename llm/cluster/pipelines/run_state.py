"""The state of a run of Kubeflow Pipelines, read from the answers of its API (2.17).

KFP reports the nodes of the Argo workflow, not the steps of the pipeline: a step `train` is the node `train` (the
whole), `train-driver` (chooses its inputs) and `executor` (its pod), and with Argo's retries `train(0)` as well. The
pipeline's own specification says which names are steps, and which groups have a condition.

    PENDING, RUNNING, PAUSED, CANCELING    not ended
    SUCCEEDED, FAILED, CANCELED, SKIPPED   ended
    anything else                          not ended until the server gives it an end time

A terminated run becomes CANCELING and then FAILED (never CANCELED, in 2.17): its history shows that it was cancelled.
The server writes times that it does not know yet as 1970.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

ACTIVE = frozenset({"PENDING", "RUNNING", "PAUSED", "CANCELING"})
FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
UNKNOWN = "UNKNOWN"
"""Our word for a state that the server left out: a node that was never reached."""
RETRY_INDEX = re.compile(r"\(\d+\)$")
DRIVER = "-driver"


@dataclass(frozen=True)
class Node:
    """One node of the workflow."""

    name: str
    state: str
    started: datetime | None = None
    ended: datetime | None = None
    children: tuple[str, ...] = ()
    """Argo's ids of the nodes below."""

    @property
    def base(self) -> str:
        """Its name without the number of the try."""
        return RETRY_INDEX.sub("", self.name)

    @property
    def seconds(self) -> float | None:
        """Its duration; None before its end."""
        return None if self.started is None or self.ended is None else (self.ended - self.started).total_seconds()


@dataclass(frozen=True)
class RunState:
    """One look at a run."""

    id: str
    name: str
    state: str
    created: datetime | None = None
    finished: datetime | None = None
    history: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    specification: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pod_metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Labels and annotations that the package gives the pods of steps, by step."""
    service_account: str | None = None
    error: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it has come to its end."""
        return self.state in FINAL or (self.state not in ACTIVE and self.finished is not None)

    @property
    def was_cancelled(self) -> bool:
        """Whether somebody asked for its end, and did not start it again since."""
        before = (state for state in reversed((*self.history, self.state)) if state not in FINAL)
        return self.state == "CANCELED" or next(before, None) == "CANCELING"

    @property
    def seconds(self) -> float | None:
        """From creation to the end, or until now."""
        if self.created is None:
            return None
        return ((self.finished or datetime.now(UTC)) - self.created).total_seconds()

    @property
    def steps(self) -> tuple[Node, ...]:
        """The steps that have begun, in the order of their start."""
        wanted = set(step_names(self.specification))
        begun = (node for node in self.nodes if node.name in wanted and node.state != UNKNOWN)
        return tuple(sorted(begun, key=_by_start))

    @property
    def failed_node(self) -> Node | None:
        """The node that failed first: a step, or else the driver of one; None if neither is known."""
        wanted = set(step_names(self.specification))
        failed = sorted((node for node in self.nodes if node.state == "FAILED"), key=_by_end)
        steps = [node for node in failed if node.name in wanted]
        drivers = [node for node in failed if node.base.endswith(DRIVER)]
        return next(iter([*steps, *drivers]), None)

    @property
    def untaken_conditions(self) -> set[str]:
        """The names of the groups whose condition did not hold, such as `passed`, as far as they are known."""
        groups = conditional_groups(self.specification)
        return {groups[node.name] for node in self.nodes if node.state == "SKIPPED" and node.name in groups}

    def parameter(self, name: str) -> str | None:
        """A parameter's value: as the run was started with, or the package's own."""
        declared = self.specification.get("root", {}).get("inputDefinitions", {}).get("parameters", {}).get(name, {})
        value = self.parameters.get(name, declared.get("defaultValue"))
        return value if isinstance(value, str) else None


def from_api(run: Any) -> RunState:
    """Read a `V2beta1Run` of KFP's client."""
    details = run.run_details.task_details if run.run_details else None
    specification = run.pipeline_spec or {}
    return RunState(
        id=run.run_id,
        name=run.display_name or run.run_id,
        state=run.state or UNKNOWN,
        created=_known(run.created_at),
        finished=_known(run.finished_at),
        history=tuple(past.state for past in run.state_history or ()),
        nodes=tuple(_node(task) for task in details or () if task.display_name),
        # a package with settings for Kubernetes wraps the pipeline's specification
        specification=specification.get("pipeline_spec", specification),
        pod_metadata=_pod_metadata(specification.get("platform_spec", {})),
        parameters=(run.runtime_config.parameters if run.runtime_config else None) or {},
        service_account=run.service_account,
        error=run.error.message if run.error else None,
    )


def step_names(specification: Mapping[str, Any]) -> list[str]:
    """The tasks that run a container, whatever group they are in."""
    components = specification.get("components", {})
    return [
        name
        for name, task in _tasks(specification)
        if "executorLabel" in components.get(task.get("componentRef", {}).get("name"), {})
    ]


def conditional_groups(specification: Mapping[str, Any]) -> dict[str, str]:
    """The groups that are taken only under a condition: their nodes' name, and their name in the pipeline."""
    return {
        name: task.get("taskInfo", {}).get("name", name)
        for name, task in _tasks(specification)
        if "condition" in task.get("triggerPolicy", {})
    }


def _tasks(specification: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for group in [specification.get("root", {}), *specification.get("components", {}).values()]:
        yield from group.get("dag", {}).get("tasks", {}).items()


def _pod_metadata(platforms: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    kubernetes = platforms.get("platforms", {}).get("kubernetes", {})
    executors = (kubernetes.get("deploymentSpec") or kubernetes.get("deployment_spec") or {}).get("executors", {})
    found = ((name, one.get("podMetadata") or one.get("pod_metadata")) for name, one in executors.items())
    return {name.removeprefix("exec-"): metadata for name, metadata in found if metadata is not None}


def _node(task: Any) -> Node:
    return Node(
        name=task.display_name,
        state=task.state or UNKNOWN,
        started=_known(task.start_time),
        ended=_known(task.end_time),
        children=tuple(child.pod_name for child in task.child_tasks or () if child.pod_name),
    )


def _known(moment: datetime | None) -> datetime | None:
    return None if moment is None or moment.timestamp() <= 0 else moment


def _by_start(node: Node) -> tuple[float, str]:
    return (node.started.timestamp() if node.started else float("inf"), node.name)


def _by_end(node: Node) -> tuple[float, str]:
    return (node.ended.timestamp() if node.ended else float("inf"), node.name)
