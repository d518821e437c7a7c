"""Two evaluations side by side, document by document: paired, or refused.

Documents differ far more than models do, so only differences on the same documents tell two models apart (a paired
standard error was 17 times smaller than an unpaired one here). Same means the same id, a hash of the text, in the
same domain, scored under the same protocol. The candidate decides which documents count; a champion that was
scored on more of them is cut to those.
"""

from __future__ import annotations

import json

import polars as pl

from llm.errors import UserError
from llm.storage import Manifest

PROTOCOL = {
    "version": 1,
    "dtype": "float32",
    "document_start": "<|endoftext|>",
    "document_end": "not scored",
    "history": "at least half a window",
}
"""What must be equal for two scores to be comparable; a change of the scoring's meaning raises the version."""


def covers(champion: Manifest, candidate: Manifest) -> bool:
    """Whether the champion's evaluation has, under the same protocol, every document of the candidate's."""
    try:
        pair_documents(candidate, champion)
    except UnpairedError:
        return False
    return True


def pair_documents(candidate: Manifest, champion: Manifest) -> pl.DataFrame:
    """Rows (id, domain, origin, bytes, candidate, champion), by domain and id; the last two in nats.

    Raises UnpairedError if the champion lacks one of the candidate's documents or was scored by another protocol.
    """
    remedy = "Score the champion again on this corpus: llm.evaluation.evaluate.rescore."
    ours, theirs = protocol_of(candidate), protocol_of(champion)
    if ours != theirs:
        raise UnpairedError(
            "candidate and champion were scored by different protocols",
            f"candidate: {json.dumps(ours)}",
            f"champion:  {json.dumps(theirs)}",
            remedy,
        )
    keys = ["id", "domain", "origin", "bytes"]
    rows = (
        documents_of(candidate)
        .select(*keys, candidate="nats")
        .join(documents_of(champion).select(*keys, champion="nats"), on=keys, how="left", validate="1:1")
    )
    missing = rows["champion"].null_count()
    if missing:
        raise UnpairedError(
            f"candidate and champion were not scored on the same documents: {missing} of {len(rows)} have no pair",
            f"candidate: evaluation {candidate.id}; champion: evaluation {champion.id}",
            remedy,
        )
    return rows.sort("domain", "id")


def documents_of(evaluation: Manifest) -> pl.DataFrame:
    """The scored documents of an evaluation; raises DamagedError."""
    return pl.read_parquet(evaluation.file("documents.parquet"), glob=False)


def protocol_of(evaluation: Manifest) -> object:
    """How an evaluation was scored; raises DamagedError."""
    return json.loads(evaluation.file("summary.json").read_text()).get("protocol")


class UnpairedError(UserError):
    """Two evaluations that cannot be compared document by document."""
