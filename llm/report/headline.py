"""The first thing that a report says: how the run ended, in words, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llm.errors import EXIT_OK, GateNotPassed, Preempted
from llm.evaluation.gate.words import verdict_in_words
from llm.report.content import Content
from llm.runs.attempt import StepOutcome

Tone = Literal["good", "bad", "unsure", "plain"]
VERDICTS: Mapping[str, tuple[str, Tone]] = {
    "PASS": ("Passed the gate", "good"),
    "FAIL": ("Did not pass the gate", "bad"),
    "INCONCLUSIVE": ("The gate could not decide", "unsure"),
}


@dataclass(frozen=True)
class Headline:
    """A title in its tone, lines that explain it, and what the run left for others to use."""

    tone: Tone
    title: str
    lines: list[str]
    made: list[str]


def headline(content: Content) -> Headline:
    """The end of the run; a failed step is always named with its reason, whatever the gate said before it."""
    failed = content.attempt.failure
    made = _made(content)
    if content.gate is None:
        return Headline(*_without_verdict(content, failed), made)
    title, tone = VERDICTS[content.gate["verdict"]]
    lines = verdict_in_words(content.gate)
    if failed is None:
        return Headline(tone, title, lines, made)
    end, end_tone, reason = _failure(failed)
    joint = "but" if content.gate["verdict"] == "PASS" else "and"
    both = f"{title}, {joint} {end[0].lower()}{end[1:]}"
    return Headline(end_tone if tone == "good" else tone, both, reason + lines, made)


def _without_verdict(content: Content, failed: StepOutcome | None) -> tuple[Tone, str, list[str]]:
    if failed is not None:
        title, tone, reason = _failure(failed)
        return tone, title, reason
    last = next(reversed(content.attempt.steps.values()), None)
    if last is None:
        where = "before its first step"
    else:
        where = f"after {last.name}" if last.state in ("done", "reused") else f"in {last.name}"
    code = content.attempt.exit_code
    if code is None:
        return "plain", f"Not finished: this is how it stood {where}", []
    if code in (EXIT_OK, GateNotPassed.exit_code):
        return "plain", "Finished", []
    why = "No step gave a reason: it was killed, or never began. pipeline.log in the run folder has its output."
    return "bad", f"Ended early, {where}", [why]


def _failure(step: StepOutcome) -> tuple[str, Tone, list[str]]:
    lines = (step.message or "no reason was given").splitlines()
    if step.exit_code == Preempted.exit_code:
        return f"Stopped in {step.name}", "unsure", lines
    return f"Failed in {step.name}", "bad", lines


def _made(content: Content) -> list[str]:
    """The registered version, whether it is the champion, and its Triton model repository."""
    lines = []
    if (registered := content.manifests.get("register")) is not None:
        promoted = "promote" in content.manifests
        lines.append(f"Registered as {registered.uri}, {'the champion now' if promoted else 'not promoted'}.")
    if (repository := content.manifests.get("deploy")) is not None:
        lines.append(f"Its Triton model repository is {repository.uri}.")
    return lines
