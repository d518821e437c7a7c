"""Two objects that are created at the same moment, of which only one may continue: of several, the first goes on.

Each creates its own, then looks for the others, so of two at least one sees the other. Servers write times in whole
seconds: of two that were created in one second both may give way. None is better than two that write to one place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Claim(Protocol):
    """One of the objects that are compared."""

    @property
    def id(self) -> str:
        """Unique in its server."""

    @property
    def created(self) -> object | None:
        """When the server made it; None if the server does not say."""


Other = TypeVar("Other", bound=Claim)


def earlier(ours: Claim, others: Iterable[Other]) -> Other | None:
    """The one that ours must give way to: the first that was not created after ours; None if ours goes on."""
    return next((other for other in others if other.id != ours.id and not _is_later(other, ours)), None)


def _is_later(other: Claim, ours: Claim) -> bool:
    if other.created is None or ours.created is None:
        return False
    return bool(other.created > ours.created)  # type: ignore[operator]  # two times of one server, of one type
