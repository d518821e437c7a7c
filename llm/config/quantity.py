"""Kubernetes' quantities: `500m` of a CPU, `4Gi` of memory.

`cores` and `size_bytes` take the forms that Kubernetes and Kubeflow Pipelines (2.17) both take, for what a user writes.
`amount` reads what an API server writes.
Source: kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

CPU = re.compile(r"(\d+(?:\.\d+)?)(m?)")
MEMORY = re.compile(r"(\d+)(|[KMGTP]i|[MGTP])")
ANY = re.compile(r"([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)([numkMGTPE]|[KMGTPE]i)?")
BINARY: dict[str, int] = {f"{letter}i": 1 << 10 * power for power, letter in enumerate("KMGTPE", start=1)}
DECIMAL: dict[str, float] = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
}  # fmt: skip


def cores(text: str) -> float:
    """The number of CPUs that a quantity means; raises ValueError with the forms that are allowed."""
    if CPU.fullmatch(text) is None or (found := amount(text)) is None or found <= 0:
        raise ValueError(f"a CPU is written as 500m, 2 or 1.5, not as {text}")
    return found


def size_bytes(text: str) -> int:
    """The bytes that a quantity means; raises ValueError with the forms that are allowed."""
    if MEMORY.fullmatch(text) is None or (found := amount(text)) is None or found <= 0:
        raise ValueError(f"memory is written as 512Mi, 4Gi or 2G, not as {text}")
    return int(found)


def amount(text: str) -> float | None:
    """The number that any quantity of Kubernetes means; None for a text that is none."""
    found = ANY.fullmatch(text.strip())
    if found is None:
        return None
    suffix = found[2] or ""
    return float(found[1]) * (BINARY[suffix] if suffix in BINARY else DECIMAL[suffix])


def _cpu(text: str) -> str:
    cores(text)
    return text


def _memory(text: str) -> str:
    size_bytes(text)
    return text


Cpu = Annotated[str, AfterValidator(_cpu)]
Memory = Annotated[str, AfterValidator(_memory)]
