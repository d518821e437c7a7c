"""The log of a step: from its pod, or else from KFP's API, which reads it from the pod or from Argo's archive.

The launcher and Argo write the end of a step's log. The step's own exit code is only there:

    error: …                                                       the step's own words
    F1128 15:21:22.552240  27 main.go:53] failed to execute component: exit status 3
    Error: exit status 1                                           the launcher's code, whatever the step's was
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from llm.cluster.pipelines.kfp_client import KfpApi
from llm.cluster.pipelines.pods.refused import RefusedPod
from llm.cluster.pipelines.pods.step_pods import StepPod, StepPods
from llm.cluster.pipelines.run_state import FINAL, Node, RunState
from llm.cluster.pipelines.wait import Limits, RunPrinter, look
from llm.cluster.pod_log import PodLog
from llm.config import ClusterConfig
from llm.errors import ServiceError, UserError

EXIT_STATUS = re.compile(r"[Cc]omponent(?: failed to execute successfully)?: (?:.*: )?exit status (\d+)$", re.MULTILINE)
OWN_WORDS = re.compile(r"^error: (.+(?:\n  .*)*)$", re.MULTILINE)
OF_OTHERS = re.compile(
    r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w.-]+\.go:\d+\] "
    r'|\[KFP Executor \d{4}-|time="\d{4}-|Error: exit status \d+$'
)
"""The beginning of a line of the launcher, of KFP's executor, or of Argo."""
DUMP = re.compile(r"[\[{]$|executor_input:$")
"""The end of a line that JSON follows, in lines of its own."""
EXECUTOR = "executor"
Piece = tuple[str | None, str]
"""A heading where another log begins, and what was printed."""
TEMPLATES = ("system-container-impl", "retry-system-container-impl")
"""The templates that KFP (2.17) gives the pods of steps; Argo makes their names from them. Before the template of a pod
with metadata of its own stands their number: `metadata-ANNOTATIONS-LABELS-`."""


@dataclass(frozen=True)
class StepLog:
    """The output of a step, and where it was read."""

    text: str
    source: str

    @property
    def exit_status(self) -> int | None:
        """The step's own exit code, as the launcher writes it; None if it does not."""
        found = EXIT_STATUS.findall(self.text)
        return int(found[-1]) if found else None

    @property
    def own_words(self) -> str | None:
        """The step's last error message; None if it printed none."""
        found = OWN_WORDS.findall(self.text)
        return found[-1] if found else None

    def tail(self, lines: int) -> list[str]:
        """The last lines of the step's own; those of the launcher and of Argo only where there are no others."""
        return (own_lines(self.text) or self.text.splitlines())[-lines:]


def own_lines(text: str) -> list[str]:
    """The lines of a log that the step itself wrote, without those of others and the parameters that these print."""
    own, in_dump = [], False
    for line in text.splitlines():
        if in_dump and (line[:1] in (" ", "{", "[") or line.rstrip() in ("}", "]")):
            in_dump = line.rstrip() not in ("}", "]")
            continue
        is_others = OF_OTHERS.match(line) is not None
        in_dump = is_others and DUMP.search(line.rstrip()) is not None
        if not is_others:
            own.append(line)
    return own


@dataclass
class Shown:
    """The part of one step's log that was shown already."""

    logs: dict[str, PodLog] = field(default_factory=dict)
    """By pod."""
    characters: dict[str, int] = field(default_factory=dict)
    """By pod, of what came through Kubeflow Pipelines."""
    headings: set[str] = field(default_factory=set)
    """The sources that were named."""


class StepLogs:
    """The logs of the runs of one cluster."""

    def __init__(self, api: KfpApi | None, cluster: ClusterConfig) -> None:
        """Take the connection to KFP; Kubernetes is asked where the kubeconfig leads, if it does."""
        self._api = api
        self.pods: StepPods | None = None
        self.why_no_pods = ""
        try:
            self.pods = StepPods(cluster)
        except (ServiceError, UserError) as error:
            self.why_no_pods = str(error)

    def of_run(self, run_id: str) -> list[StepPod]:
        """The pods of a run in the order of their start; none where Kubernetes cannot be asked: see `why_no_pods`."""
        if self.pods is None:
            return []
        try:
            return self.pods.of_run(run_id)
        except ServiceError as error:
            self.why_no_pods = str(error)
            return []

    def namespace_of(self, run_id: str) -> str | None:
        """The namespace that a run's pods are in; None if that is not known."""
        found = next((one.pod.namespace for one in self.of_run(run_id)), None)
        return found or (self.pods.kfp_namespace() if self.pods else None)

    def read(self, run: RunState, step: str, *, of_driver: bool = False) -> StepLog | None:
        """The log of a step's last try, or of its driver; None if nobody has it."""
        source, text = "", ""
        for source, piece in self.new_text(run, step, Shown(), of_driver=of_driver):  # noqa: B007  the last one's
            text += piece
        return StepLog(text, source) if source else None

    def new_text(
        self, run: RunState, step: str, shown: Shown, *, of_driver: bool = False, follow: bool = False
    ) -> Iterator[tuple[str, str]]:
        """The rest of the log, each piece with its source; with `follow` also what comes, until it breaks off.

        A pod's log is read on from its last line. KFP's API gives the whole log, of which the shown part is cut off.
        """
        pods = [one for one in self.of_run(run.id) if (one.step, one.is_driver) == (step, of_driver)]
        readable = [one for one in pods if one.pod.has_log]
        if readable and self.pods is not None:
            last = readable[-1]
            log = shown.logs.setdefault(last.name, self.pods.log(last))
            follow = follow and not last.pod.has_ended
            try:
                for line in log.new_lines(follow=follow, is_complete=last.pod.has_ended):
                    yield f"pod {last.name}", f"{line}\n"
                return
            except ServiceError as error:
                self.why_no_pods = str(error)
                if follow:
                    return  # the next look reads on
        if self._api is not None and not of_driver:
            for pod in _possible_pods(run, step):
                if (text := self._api.pod_log(run.id, pod)) is not None:
                    if new := text[shown.characters.get(pod, 0) :]:
                        shown.characters[pod] = len(text)
                        yield f"pod {pod}, through Kubeflow Pipelines", new
                    return

    def held_up(self, run_id: str) -> list[StepPod | RefusedPod]:
        """The pods of a run that something keeps from starting: a missing image, no node with room, a quota."""
        return [*(one for one in self.of_run(run_id) if one.trouble and not one.pod.has_ended), *self.refused(run_id)]

    def refused(self, run_id: str) -> list[RefusedPod]:
        """The pods of a run that the API server did not take; none where that cannot be seen."""
        return self.pods.refused(run_id) if self.pods is not None else []

    def troubles(self, run_id: str) -> dict[str, str]:
        """Reasons why steps do not start, by step."""
        return {pod.step: pod.trouble for pod in self.held_up(run_id) if pod.trouble}


def _possible_pods(run: RunState, step: str) -> Iterator[str]:
    """Names that a step's pod may have, likeliest first.

    KFP gives Argo's ids of the nodes below a node, never a node's own. Below `train` is the executor, or with Argo's
    retries its first try; then the pod is below a node named `executor`, and KFP does not say which of several. Of a
    failed step it is known, as there is one failed executor.
    """
    of_step = [node for node in run.nodes if node.base == step]
    prefix = _metadata_prefix(run, step)
    failed = any(node.state == "FAILED" for node in of_step)
    executors = [node for node in run.nodes if node.base == EXECUTOR and node.state == "FAILED" and node.children]
    for node in [*(executors if failed else []), *of_step]:
        yield from _pods_below(node, prefix)


def _metadata_prefix(run: RunState, step: str) -> str:
    metadata = run.pod_metadata.get(step)
    if metadata is None:
        return ""
    return f"metadata-{len(metadata.get('annotations') or {})}-{len(metadata.get('labels') or {})}-"


def _pods_below(node: Node, prefix: str) -> Iterator[str]:
    """`pretrain-x7k2p-1234` is the pod `pretrain-x7k2p-system-container-impl-1234`."""
    for child in reversed(node.children):
        workflow, _, hashed = child.rpartition("-")
        for template in TEMPLATES:
            yield f"{workflow}-{prefix}{template}-{hashed}"


def follow_logs(
    api: KfpApi,
    run: RunState,
    logs: StepLogs,
    limits: Limits,
    say: Callable[[str], None],
    *,
    only: str | None = None,
    to_the_end: bool = False,
) -> Iterator[Piece]:
    """The output of a run's steps so far, in the order of their start; with `to_the_end` also the output that follows.

    Nothing comes twice, however often a connection or the server breaks off. Of steps that run at the same time, one is
    shown before the next.
    """
    shown: dict[str, Shown] = {}
    complete: set[str] = set()
    printer = RunPrinter(say, limits.clock)
    while True:
        has_ended = run.has_ended
        for node in run.steps:
            if only in (None, node.name) and node.name not in complete:
                yield from _news(run, node, logs, shown.setdefault(node.name, Shown()), follow=to_the_end)
                if node.state in FINAL:
                    complete.add(node.name)
        if has_ended or not to_the_end:
            return
        limits.clock.sleep(limits.poll_seconds)
        run = look(api, run.id, printer, limits)


def _news(run: RunState, node: Node, logs: StepLogs, shown: Shown, *, follow: bool) -> Iterator[Piece]:
    for source, text in logs.new_text(run, node.name, shown, follow=follow and node.state not in FINAL):
        heading = None if source in shown.headings else f"--- {node.name} ({source})"
        shown.headings.add(source)
        yield heading, text
