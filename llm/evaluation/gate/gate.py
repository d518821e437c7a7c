"""The gate step: may this candidate take the champion's place?

Pair or refuse, never compare bare numbers; `comparison.py` has the rules and their sources, `words.py` tells the
verdict to a person. The step writes gate.json and returns; whoever runs it ends with exit code 4 unless it says PASS.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from llm.config.sections import GateConfig
from llm.evaluation.gate.comparison import Comparison, Verdict, check_floors, compare, decide, reason
from llm.evaluation.statistics.pairing import pair_documents
from llm.runs.event_kinds import MetricMeasured
from llm.runs.events import EventLog
from llm.storage import Manifest, Parent, Recipe, Store

CODE = (
    "llm.evaluation.statistics.bootstrap",
    "llm.evaluation.gate.comparison",
    "llm.evaluation.gate.gate",
    "llm.evaluation.statistics.pairing",
    "llm.evaluation.selection",
)
"""Sources that decide a verdict."""
MULTIPLICITY = (
    "PASS asks for every comparison at once (an intersection-union test), so each interval is read at its full"
    " confidence; FAIL is not corrected for the number of domains, since it and INCONCLUSIVE both keep the champion."
)


@dataclass(frozen=True)
class Champion:
    """The model to beat: its registered version, its checkpoint and its evaluation."""

    version: str
    checkpoint: Manifest
    evaluation: Manifest


def judge(config: GateConfig, evaluation: Manifest, champion: Champion | None, store: Store, log: EventLog) -> Manifest:
    """Judge the evaluated checkpoint and keep gate.json; counts are {"verdict", "passed": 0 or 1}.

    Raises UnpairedError (a UserError) if the champion was not scored on the candidate's documents: ask
    `pairing.covers` first, and `evaluate.rescore` the champion if it says no. Never raises for the verdict.
    """
    recipe = Recipe(
        "gate",
        config.model_dump(mode="json"),
        [evaluation] if champion is None else [evaluation, champion.checkpoint, champion.evaluation],
        code=CODE,
        inputs={"champion": None if champion is None else champion.version},
    )
    if (done := store.find(recipe)) is not None:
        return done
    verdict, reasons, comparisons = _judge(config, evaluation, champion)
    document = {
        "verdict": verdict,
        "reasons": reasons,
        "champion": None if champion is None else champion.version,
        "candidate_checkpoint": checkpoint_of(evaluation).id,
        "champion_checkpoint": None if champion is None else champion.checkpoint.id,
        "confidence": config.confidence,
        "resamples": config.bootstrap_resamples,
        "seed": config.seed,
        "multiplicity": MULTIPLICITY,
        "comparisons": [comparison.as_json() for comparison in comparisons],
    }
    log.emit(MetricMeasured(name="gate/passed", value=int(verdict == "PASS")))
    with store.stage("gate", recipe) as stage:
        (stage.path / "gate.json").write_text(
            json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
        )
        return stage.commit(counts={"verdict": verdict, "passed": int(verdict == "PASS")})


def checkpoint_of(evaluation: Manifest) -> Parent:
    """The checkpoint that an evaluation scored."""
    return next(parent for parent in evaluation.parents if parent.kind == "checkpoint")


def _judge(
    config: GateConfig, evaluation: Manifest, champion: Champion | None
) -> tuple[Verdict, list[str], list[Comparison]]:
    if champion is None:
        summary: dict[str, Any] = json.loads(evaluation.file("summary.json").read_text(encoding="utf-8"))
        floors = check_floors(summary, config)
        return decide(floors), [reason(floor, config.confidence) for floor in floors], floors
    if checkpoint_of(evaluation).id == champion.checkpoint.id:
        return "PASS", [f"this checkpoint already is the champion (version {champion.version})"], []
    comparisons = compare(pair_documents(evaluation, champion.evaluation), config)
    return decide(comparisons), [reason(comparison, config.confidence) for comparison in comparisons], comparisons
