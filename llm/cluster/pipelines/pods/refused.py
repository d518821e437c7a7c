"""Pods of a run that the API server refused: PodSecurity, a quota, a LimitRange, a webhook, an account that is missing.

Such a pod never is, so it has no log and no events of its own, and Kubeflow Pipelines (2.17) tells nothing of it: Argo
tries again, 27 times with upstream's settings. The reason stands in the nodes of the Workflow, or in its events.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from llm.cluster.api import Json
from llm.cluster.obstacles import Obstacle
from llm.cluster.pipelines.run_state import DRIVER, RETRY_INDEX
from llm.config.quantity import amount

REFUSED = re.compile(
    r'is forbidden|denied the request|serviceaccount "?[\w.-]+"? not found|error looking up service account'
)
SECURITY = re.compile(r'violates PodSecurity "(?P<level>[^"]+)": (?P<why>.+)')
FULL_QUOTA = re.compile(
    r"exceeded quota: (?P<quota>\S+), requested: (?P<requested>.+), used: (?P<used>.+), limited: (?P<limited>.+)"
)
INCOMPLETE = re.compile(r"failed quota: (?P<quota>\S+): must specify (?P<what>.+)")
LIMIT_RANGE = re.compile(r"((?:maximum|minimum) .+? per (?:Container|Pod) is .+)")
WEBHOOK = re.compile(r'admission webhook "(?P<webhook>[^"]+)" denied the request: (?P<why>.+)')
ACCOUNT = re.compile(r'serviceaccount "?(?P<account>[\w.-]+)"? not found|service account \S*?/(?P<other>[\w.-]+):')
NODE_EVENT = re.compile(r"(?:Error|Failed) node (?P<node>\S+): (?P<message>.+)", re.DOTALL)
MAKING_SECONDS = 10.0
"""An account, or a policy, may be made a moment after us."""
ROOT = "root"
"""The node of the whole pipeline; its driver runs before any step."""
STARTED = frozenset({"Running", "Succeeded"})


@dataclass(frozen=True)
class RefusedPod:
    """A pod that the API server did not take."""

    step: str
    is_driver: bool
    message: str
    """The API server's words."""

    @property
    def name(self) -> str:
        """The step: each try has another pod, and all are refused for the same reason."""
        return self.step

    @property
    def trouble(self) -> str:
        """The reason in a line."""
        return f"refused: {self.message}"

    @property
    def obstacle(self) -> Obstacle | None:
        """The obstacle to its start; None if it may go away by itself, as a quota that is used up."""
        if (quota := FULL_QUOTA.search(self.message)) is not None:
            return self._of_quota(quota)
        kind, why, advice, patience = self._why()
        return Obstacle(kind, f"{self._who} cannot start: {why}", (advice,), patience)

    @property
    def _who(self) -> str:
        return f"the step {self.step}" if self.step not in ("", ROOT) else "the run"

    def _of_quota(self, quota: re.Match[str]) -> Obstacle | None:
        requested, limited = _amounts(quota["requested"]), _amounts(quota["limited"])
        too_much = [name for name, wanted in requested.items() if wanted > limited.get(name, float("inf"))]
        if not too_much:
            return None
        return Obstacle(
            "quota",
            f"{self._who} can never start: it asks for {quota['requested']}, and the quota {quota['quota']} of"
            f" the namespace allows {quota['limited']} in all",
            (f"Ask for less ({self._setting('…')}), or let the administrator raise the quota.",),
            0.0,
        )

    def _why(self) -> tuple[str, str, str, float]:
        """Kind, reason and advice, and the seconds to be patient for."""
        if (found := SECURITY.search(self.message)) is not None:
            why = f"PodSecurity {found['level']} of the namespace refuses its pod: {found['why']}"
            return "security", why, self._of_security(), 0.0
        if (found := INCOMPLETE.search(self.message)) is not None:
            why = f"the quota {found['quota']} of the namespace takes only pods that say {found['what']}"
            advice = f"Set {self._setting('cpu_request, cpu_limit, memory_request, memory_limit')}; what Kubeflow"
            advice += " Pipelines cannot ask for needs a LimitRange (limitRange of the chart gristmill-platform)."
            return "quota", why, advice, 0.0
        if (found := WEBHOOK.search(self.message)) is not None:
            why = f"the cluster's policy {found['webhook']} refuses its pod: {found['why']}"
            return (
                "webhook",
                why,
                f"Change what the policy names ({self._setting('…')}), or ask its administrator.",
                0.0,
            )
        if (found := ACCOUNT.search(self.message)) is not None:
            why = f"there is no service account {found['account'] or found['other']} in its namespace"
            advice = "Install the chart gristmill-platform there, or set cluster.service_account."
            return "account", why, advice, MAKING_SECONDS
        if (found := LIMIT_RANGE.search(self.message)) is not None:
            why = f"the LimitRange of the namespace refuses its pod: {found[1]}"
            return "limits", why, f"Change {self._setting('…')}, or let the administrator change the range.", 0.0
        why = f"the API server refuses its pod: {self.message}"
        return "refused", why, "Ask the administrator of the namespace.", MAKING_SECONDS

    def _of_security(self) -> str:
        if self.is_driver:
            return "It is a pod of Kubeflow Pipelines itself: its administrator must see to it."
        return "A package of this version passes `restricted`: compile and submit it again; see cluster.run_as_user."

    def _setting(self, key: str) -> str:
        return "the settings of Kubeflow Pipelines' own pods" if self.is_driver else f"pods.steps.{self.step}.{key}"


def refused_in_nodes(workflow: Json) -> Iterator[RefusedPod]:
    """The pods that a Workflow's nodes say were refused, of steps that have not begun since."""
    nodes = list(nodes_of(workflow.get("status") or {}).values())
    pods = [one for one in nodes if one.get("type") == "Pod"]
    begun = {step_of_node(_name(one)) for one in pods if one.get("phase") in STARTED}
    found = ((_name(one), str(one.get("message") or "")) for one in pods)
    return _refused((name, message) for name, message in found if step_of_node(name) not in begun)


def refused_in_events(events: Iterable[Json]) -> Iterator[RefusedPod]:
    """The pods that the warnings about a Workflow say were refused."""
    found = (NODE_EVENT.match(str(event.get("message") or "")) for event in events)
    return _refused((one["node"], one["message"]) for one in found if one is not None)


def step_of_node(name: str) -> tuple[str, bool]:
    """The step of a node of Argo, such as `pretrain-x7k2p.root(0).exit-handler-1.train.executor(1)`, and whether it is
    the driver of the step.
    """
    path = [RETRY_INDEX.sub("", part) for part in name.split(".")]
    is_driver = path[-1].endswith(DRIVER)
    return path[-1].removesuffix(DRIVER) if is_driver or len(path) < 2 else path[-2], is_driver


def _name(node: Json) -> str:
    return str(node.get("name") or node.get("displayName") or "")


def _refused(found: Iterable[tuple[str, str]]) -> Iterator[RefusedPod]:
    seen = set()
    for node, message in found:
        words = " ".join(message.split())
        if REFUSED.search(words):
            one = RefusedPod(*step_of_node(node), words)
            if (key := (one.step, one.is_driver)) not in seen:
                seen.add(key)
                yield one


def nodes_of(status: Mapping[str, Json]) -> Mapping[str, Json]:
    """The nodes of a Workflow, from its status; Argo packs those of a large one."""
    if (packed := status.get("compressedNodes")) is not None:
        try:
            unpacked: Mapping[str, Json] = json.loads(gzip.decompress(base64.b64decode(str(packed))))
        except (ValueError, OSError, EOFError):
            return {}
        return unpacked
    return status.get("nodes") or {}


def _amounts(text: str) -> dict[str, float]:
    """`requests.cpu=5,limits.memory=4Gi` by name."""
    pairs = (one.partition("=") for one in text.split(","))
    amounts = ((name.strip(), amount(value)) for name, _, value in pairs)
    return {name: found for name, found in amounts if found is not None}
