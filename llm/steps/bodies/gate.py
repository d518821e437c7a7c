"""The step gate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.storage import Manifest


def body(context: Context, given: Given) -> Manifest:
    """The verdict is PASS, FAIL or INCONCLUSIVE; exit code 4 unless it is PASS."""
    from llm.evaluation.evaluate import rescore
    from llm.evaluation.gate.gate import Champion, checkpoint_of, judge
    from llm.evaluation.gate.words import verdict_in_words
    from llm.evaluation.statistics.pairing import covers
    from llm.registry import champion
    from llm.runs.event_kinds import Judged

    current = champion(context.config.tracking, context.config.run, context.store)
    rival = None
    if current is not None:
        scores = current.evaluation
        is_candidate = current.checkpoint.id == checkpoint_of(given["evaluate"]).id
        if not is_candidate and not covers(scores, given["evaluate"]):  # other text, or scored by other rules
            config = context.config.evaluation
            scores = rescore(config, current.checkpoint, given["ingest"], context.store, context.log)
        rival = Champion(current.version, current.checkpoint, scores)
    judgement = judge(context.config.gate, given["evaluate"], rival, context.store, context.log)
    gate = json.loads(judgement.file("gate.json").read_text(encoding="utf-8"))
    context.log.emit(Judged(verdict=gate["verdict"], words=verdict_in_words(gate)))
    return judgement


STEP = Step(
    name="gate",
    reads=("evaluate", "ingest"),
    body=body,
    purpose="Compare a checkpoint's scores with the champion's.",
    makes=Product("judgement", "of the gate's judgement"),
    sections=("gate",),
    image="train",
    verdict="the model is registered, but not promoted",
    is_quick=True,
)
