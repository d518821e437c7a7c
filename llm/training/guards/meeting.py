"""Why the machines of a training did not meet, by the words of torchrun (`static_tcp_rendezvous`, torch 2.13)."""

from __future__ import annotations

import re

from llm.errors import GristmillError, Preempted, UserError

_MEETING = "static_tcp_rendezvous"
_PORT_IN_USE = re.compile(r"DistNetworkError: .*port: (\d+),.*EADDRINUSE")
_TOO_FEW = re.compile(r"DistStoreError: Timed out after (\d+) seconds waiting for clients\. (\d+)/(\d+) clients")
_NO_ANSWER = re.compile(r"DistNetworkError: .*timed out after (\d+)ms while trying to connect to \((.+), (\d+)\)")


def not_met(log: str, again: str) -> GristmillError | None:
    """The error when torchrun ended before any rank began; None if the machines met.

    `again` says where the training continues, and how.
    """
    if _MEETING not in log:
        return None
    if (found := _PORT_IN_USE.search(log)) is not None:
        return UserError(
            f"port {found[1]} of this machine, where the machines of the training meet, is in use",
            "End what uses it (another training?), or name another port in training.parallel.rendezvous.",
        )
    if (found := _TOO_FEW.search(log)) is not None:
        return Preempted(
            f"{found[2]} of {found[3]} machines came within {found[1]} s",
            "Start the training on all of them; in a pool, look at the other pods.",
            again,
        )
    if (found := _NO_ANSWER.search(log)) is not None:
        return Preempted(
            f"{found[2]}:{found[3]}, where the machines of the training meet, did not answer for"
            f" {int(found[1]) // 1000} s",
            "Look there: does the training run, is the name right, is the port open?",
            again,
        )
    return None
