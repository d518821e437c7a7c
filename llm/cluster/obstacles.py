"""What keeps a pod from starting: the kubelet's reasons, and how long each is waited for."""

from __future__ import annotations

from dataclasses import dataclass

NEVER_PULLED = frozenset({"ErrImageNeverPull", "InvalidImageName"})
NOT_PULLED = frozenset({"ErrImagePull", "ImageInspectError", "ImagePullBackOff", "RegistryUnavailable"})
NOT_CONFIGURED = frozenset({"CreateContainerConfigError", "CreateContainerError"})

PULL_SECONDS = 60.0
"""A registry may be busy for a moment."""
CONFIGURATION_SECONDS = 10.0
"""A Secret may be made a moment after us; a webhook may be starting."""


@dataclass(frozen=True)
class Obstacle:
    """Something that is in the way."""

    kind: str
    """What its time is counted for: its words may change while it stands."""
    summary: str
    details: tuple[str, ...]
    patience_seconds: float
    quiet_seconds: float = 0.0
    """How long it is not told."""
