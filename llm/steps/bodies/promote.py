"""The step promote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.storage import Manifest


def body(context: Context, given: Given) -> Manifest:
    """Only the gate's PASS leads here."""
    from llm.registry import promote
    from llm.steps.outcome import manifest_of
    from llm.storage.products import PromotionCounts, RegistrationCounts

    version = RegistrationCounts.of(given["register"]).version
    judgement = json.loads(given["gate"].file("gate.json").read_text(encoding="utf-8"))
    promote(context.config.tracking, context.folder, version, judgement["verdict"], judgement["champion"])
    return manifest_of(PromotionCounts(version=version), f"models:/{context.config.tracking.model}@champion", given)


STEP = Step(
    name="promote",
    reads=("register", "gate"),
    body=body,
    purpose="Make a registered version the champion.",
    makes=Product("promotion", "that names the promoted version"),
    image="registry",
    is_always_done=True,
    only_if="gate",
)
