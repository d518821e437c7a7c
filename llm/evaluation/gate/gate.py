"""The gate step: may this candidate take the champion's place?

Pair or refuse, never compare bare numbers; `comparison.py` has the rules and their sources, `words.py` puts the
verdict into words. The step writes gate.json and returns; the command that runs it ends with exit code 4 unless it says
PASS.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from llm.config import GateConfig, deciding
from llm.errors import UserError
from llm.evaluation.gate.comparison import Comparison, Verdict, check_floors, compare, decide
from llm.evaluation.gate.words import reason
from llm.evaluation.statistics.intervals import Intervals
from llm.evaluation.statistics.pairing import metrics_of, pair_items
from llm.evaluation.words import several
from llm.runs.event_kinds import MetricMeasured
from llm.runs.events import EventLog
from llm.storage import Manifest, Parent, Recipe, Store
from llm.storage.products import GateCounts

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

    The intervals are made as the evaluation made its own. Raises UnpairedError (a UserError) if the champion was not
    scored on the candidate's documents: ask `pairing.covers` first, and `evaluate.rescore` the champion if it says no.
    Never raises for the verdict.
    """
    recipe = Recipe(
        "gate",
        deciding(config),
        [evaluation] if champion is None else [evaluation, champion.checkpoint, champion.evaluation],
        code=(__name__,),
        inputs={"champion": None if champion is None else champion.version},
    )
    if (done := store.find(recipe)) is not None:
        return done
    intervals = Intervals(**_summary(evaluation)["intervals"])
    verdict, reasons, comparisons = _judge(config, evaluation, champion, intervals)
    document = {
        "verdict": verdict,
        "reasons": reasons,
        "champion": None if champion is None else champion.version,
        "candidate_checkpoint": checkpoint_of(evaluation).id,
        "champion_checkpoint": None if champion is None else champion.checkpoint.id,
        **asdict(intervals),
        "multiplicity": MULTIPLICITY,
        "comparisons": comparisons,
    }
    log.emit(MetricMeasured(name="gate/passed", value=int(verdict == "PASS")))
    with store.stage("gate", recipe) as stage:
        (stage.path / "gate.json").write_text(
            json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
        )
        return stage.commit(GateCounts(verdict=verdict, passed=int(verdict == "PASS")))


def checkpoint_of(evaluation: Manifest) -> Parent:
    """The checkpoint that an evaluation scored."""
    return next(parent for parent in evaluation.parents if parent.kind == "checkpoint")


def _judge(
    config: GateConfig, evaluation: Manifest, champion: Champion | None, intervals: Intervals
) -> tuple[Verdict, list[str], list[dict[str, Any]]]:
    metrics = metrics_of(evaluation)
    lacking = sorted(set(config.metrics) - set(metrics))
    if lacking:
        raise UserError(
            f"gate.metrics names {', '.join(lacking)}, which the evaluation did not measure",
            f"Measured: {', '.join(sorted(metrics))}. Add it to evaluation.metrics, or take it out of gate.metrics.",
        )
    if champion is None:
        floors = [floor for name, rule in config.metrics.items() for floor in check_floors(name, metrics[name], rule)]
        return _with_reasons(floors, intervals)
    if checkpoint_of(evaluation).id == champion.checkpoint.id:
        return "PASS", [f"this checkpoint already is the champion (version {champion.version})"], []
    names = [*config.metrics, *(name for name in metrics if name not in config.metrics)]
    comparisons = [
        comparison
        for name in names
        for comparison in compare(
            name, metrics[name], pair_items(evaluation, champion.evaluation, name), config.metrics.get(name), intervals
        )
    ]
    return _with_reasons(comparisons, intervals)


def _with_reasons(
    comparisons: list[Comparison], intervals: Intervals
) -> tuple[Verdict, list[str], list[dict[str, Any]]]:
    rows = [comparison.as_json() for comparison in comparisons]
    reasons = [reason(row, intervals.confidence, named=several(rows)) for row in rows]
    return decide(comparisons), reasons or ["gate.metrics sets no floor"], rows


def _summary(evaluation: Manifest) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(evaluation.file("summary.json").read_text(encoding="utf-8"))
    if "metrics" not in summary:
        raise UserError(
            f"evaluation {evaluation.id} was made by an earlier version of Gristmill", "Run evaluate again."
        )
    return summary
