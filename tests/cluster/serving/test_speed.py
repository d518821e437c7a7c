"""How fast a Triton in a pod answers, against the same on this machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.serving_in_a_pod import TARGET, compare
from llm.errors import UserError
from llm.serving.triton.server import find_installation
from tests.cases.cluster import kubectl
from tests.cluster.serving.release import RELEASE, Models, Serving

pytestmark = pytest.mark.alone
NOT_SLOWER = 0.8
"""Below this the pod's Triton is slower for a reason, and not for what else the machine does.

The first pair of processes that reaches it is enough; the benchmark measures four.
"""


def test_triton_in_a_pod_is_as_fast_as_on_the_host(
    serving: Serving, models: Models, record_figure: Callable[[str, str], None]
) -> None:
    try:
        find_installation()
    except UserError as error:
        pytest.skip(str(error))
    soon_gone = ("drain.delaySeconds=1",)  # another_pod waits for the drain
    serving.upgrade(models.default.uri, "resources.requests.cpu=500m", *soon_gone)
    comparison = compare(models.default.uri, serving.url, lambda: another_pod(serving), NOT_SLOWER)
    record_figure("Triton in a pod / on the host, tokens/s", f"{comparison.ratio:.3f} (target {TARGET})\n{comparison}")
    assert max(comparison.ratio, comparison.fastest) > NOT_SLOWER


def another_pod(serving: Serving) -> None:
    """Delete the only pod, wait for its successor: after a rollout, the old one would drain beside what is measured."""
    kubectl("-n", serving.namespace, "delete", "pod", *serving.pods(), "--wait")
    kubectl("-n", serving.namespace, "rollout", "status", f"deployment/{RELEASE}", "--timeout=120s")
