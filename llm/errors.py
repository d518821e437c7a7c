"""The errors that a user can cause, and the exit code of each kind.

    GristmillError                 has `exit_code`; printed without a traceback
    ├── UserError           2      the request is wrong: config, arguments, missing or damaged input
    │   ├── DamagedError    2      a manifest's file was changed, cut short or removed
    │   └── BusyError       2      another process holds the folder
    ├── ServiceError        2      a service that the request needs refuses
    │   └── OutageError     2      it does not answer, or cannot now
    ├── ValidationFailed    3      the data did not pass its suite
    ├── GateNotPassed       4      the gate said FAIL or INCONCLUSIVE
    └── Preempted          75      stopped: run again to go on from the last checkpoint

Everything else is a fault of ours: it keeps its traceback and ends with 70.
"""

from __future__ import annotations

from collections.abc import Iterator

EXIT_OK = 0
EXIT_FAULT = 70


class GristmillError(Exception):
    """An end that the user can understand and act on: what is wrong, where, what is allowed, what to do."""

    exit_code = EXIT_FAULT

    def __init__(self, message: str, *details: str) -> None:
        """Take the message's first line and any number of detail lines, printed indented below it."""
        super().__init__("\n  ".join((message, *details)))


class UserError(GristmillError):
    """The request is wrong: config, arguments, missing or damaged input."""

    exit_code = 2


class DamagedError(UserError):
    """A file does not match its manifest."""


class BusyError(UserError):
    """Another process works in the same folder."""


class ServiceError(GristmillError):
    """A service (MLflow, S3, Triton) does not answer, or refuses; the message keeps its status and reason."""

    exit_code = 2


class OutageError(ServiceError):
    """A service does not answer, or says that it cannot now: the same request may pass later."""


class ValidationFailed(GristmillError):
    """The corpus did not pass its expectation suite."""

    exit_code = 3


class GateNotPassed(GristmillError):
    """The gate said FAIL or INCONCLUSIVE: the candidate is not promoted."""

    exit_code = 4


class Preempted(GristmillError):
    """Stopped on request or by preemption with a complete checkpoint; the same command goes on from it."""

    exit_code = 75


def as_error(exit_code: int, message: str) -> GristmillError:
    """The error that ended another process with this code and these words, to be raised in ours."""
    for kind in (UserError, ValidationFailed, GateNotPassed, Preempted):
        if kind.exit_code == exit_code:
            return kind(message)
    return GristmillError(message)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it came from, each once, outermost first.

    Libraries keep the cause in different places: urllib3 as `reason`, requests as an argument.
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        kept = (one for one in (getattr(link, "reason", None), *link.args) if isinstance(one, BaseException))
        link = next(kept, None) or link.__cause__ or link.__context__
