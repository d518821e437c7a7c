"""Outcomes of steps: a version in the registry as a manifest, and the verdict of a step that judges."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from llm.runs.folder import RunFolder
from llm.steps.step import Given, Step
from llm.storage import Manifest, identity
from llm.storage.products import GateCounts, PromotionCounts, RegistrationCounts


def manifest_of(outcome: RegistrationCounts | PromotionCounts, uri: str, given: Given) -> Manifest:
    """A manifest without files that names a model version by its URI."""
    parents = tuple(manifest.as_parent() for manifest in given.values())
    kind, counts = outcome.kind, outcome.document()
    return Manifest(
        kind=kind, id=identity(kind, (), counts, {}, parents), uri=uri, files=(), counts=counts, parents=parents
    )


def refusal(steps: Iterable[Step], finished: Callable[[str], bool], folder: RunFolder) -> Step | None:
    """The first of the finished steps that judged, and did not say PASS; None if there is none."""
    judged = (step for step in steps if step.verdict is not None and finished(step.name))
    return next((step for step in judged if refused(step, folder.manifest(step.name))), None)


def refused(step: Step, manifest: Manifest) -> bool:
    """Whether a step judged, and its verdict is not PASS."""
    return step.verdict is not None and not GateCounts.of(manifest).passed
