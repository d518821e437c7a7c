"""The work of each step, by name: what it reads, and the call into its area.

Areas are imported inside the functions: a step loads what it needs and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm.config import RunConfig
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.storage import Manifest, Store, identity

if TYPE_CHECKING:
    from llm.training.train import Elsewhere


@dataclass(frozen=True)
class Context:
    """What a step's body works with."""

    config: RunConfig
    folder: RunFolder
    store: Store
    log: EventLog


Given = Mapping[str, Manifest]


@dataclass(frozen=True)
class Step:
    """A step: its name, the steps whose manifests it reads, its work, and its purpose in a line."""

    name: str
    reads: tuple[str, ...]
    body: Callable[[Context, Given], Manifest]

    @property
    def purpose(self) -> str:
        """First line of the body's docstring."""
        return (self.body.__doc__ or "").splitlines()[0]


def _ingest(context: Context, given: Given) -> Manifest:
    """Read the text into a corpus: one document format, exact duplicates dropped, split by content."""
    from llm.data.ingest import ingest

    return ingest(context.config.data, context.store, context.log)


def _validate(context: Context, given: Given) -> Manifest:
    """Judge the corpus by its expectation suite; exit code 3 if it fails."""
    from llm.data.validation import validate

    return validate(context.config.validation, given["ingest"], context.store, context.log)


def _tokenizer(context: Context, given: Given) -> Manifest:
    """Train the byte-level BPE tokenizer."""
    from llm.tokenizer.train import train_tokenizer

    return train_tokenizer(context.config.tokenizer, given["ingest"], context.store, context.log)


def _tokenize(context: Context, given: Given) -> Manifest:
    """Cut the corpus into token shards."""
    from llm.tokenizer.shards import write_shards

    return write_shards(given["ingest"], given["tokenizer"], context.store, context.log)


def _train(context: Context, given: Given) -> Manifest:
    """Train the model, from the last complete checkpoint if there is one."""
    from llm.tracking.live import LiveDelivery
    from llm.training.train import train

    with LiveDelivery(context.folder, context.config.tracking):
        return train(
            context.config.model,
            context.config.training,
            given["tokenize"],
            given["tokenizer"],
            context.store,
            context.log,
            retrain=context.config.run.retrain,
            elsewhere=_on_a_pool(context),
        )


def _on_a_pool(context: Context) -> Elsewhere | None:
    """What takes the training to the pool that the configuration names; None: it is done here."""
    config = context.config
    if config.training.pool is None:
        return None
    from llm.cluster.trainjobs.run_trainjob import train_job

    return train_job(context.folder.name, config.training, config.cluster, context.log)


def _evaluate(context: Context, given: Given) -> Manifest:
    """Score the model on the test split, by domain, beside gzip and xz."""
    from llm.evaluation.evaluate import evaluate

    return evaluate(
        context.config.evaluation, given["train"], given["tokenizer"], given["ingest"], context.store, context.log
    )


def _gate(context: Context, given: Given) -> Manifest:
    """Compare the model with the champion: PASS, FAIL or INCONCLUSIVE."""
    from llm.evaluation.evaluate import rescore
    from llm.evaluation.gate.gate import Champion, checkpoint_of, judge
    from llm.evaluation.statistics.pairing import covers
    from llm.registry import champion

    current = champion(context.config.tracking, context.config.run)
    rival = None
    if current is not None:
        scores = current.evaluation
        is_candidate = current.checkpoint.id == checkpoint_of(given["evaluate"]).id
        if not is_candidate and not covers(scores, given["evaluate"]):  # other text, or scored by other rules
            config = context.config.evaluation
            scores = rescore(config, current.checkpoint, given["ingest"], context.store, context.log)
        rival = Champion(current.version, current.checkpoint, scores)
    return judge(context.config.gate, given["evaluate"], rival, context.store, context.log)


def _export(context: Context, given: Given) -> Manifest:
    """Export to Hugging Face and ONNX, each compared with the checkpoint."""
    from llm.export.export import export

    return export(
        context.config.export, given["train"], given["tokenizer"], given["ingest"], context.store, context.log
    )


def _register(context: Context, given: Given) -> Manifest:
    """Put the model with its parameters, metrics and lineage into MLflow's registry, as challenger."""
    from llm.registry import register

    version = register(context.config.tracking, context.folder, given)
    model = context.config.tracking.model
    return _outcome("registration", f"models:/{model}/{version.version}", version.version, given)


def _promote(context: Context, given: Given) -> Manifest:
    """Make the registered version the champion; only the gate's PASS leads here."""
    from llm.registry import promote

    version = int(given["register"].counts["version"])
    judgement = json.loads(given["gate"].file("gate.json").read_text(encoding="utf-8"))
    promote(context.config.tracking, context.folder, version, judgement["verdict"], judgement["champion"])
    return _outcome("promotion", f"models:/{context.config.tracking.model}@champion", version, given)


def _deploy(context: Context, given: Given) -> Manifest:
    """Build the Triton model repository of the registered version."""
    from llm.serving.triton.repository import build

    version = int(given["register"].counts["version"])
    return build(context.config.serving, given["export"], version, context.store, context.log)


def _outcome(kind: str, uri: str, version: int, given: Given) -> Manifest:
    """The manifest of a step whose outcome is in the registry, not in the store."""
    parents = tuple(manifest.as_parent() for manifest in given.values())
    counts = {"version": version}
    return Manifest(
        kind=kind, id=identity(kind, (), counts, {}, parents), uri=uri, files=(), counts=counts, parents=parents
    )


STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        Step("ingest", (), _ingest),
        Step("validate", ("ingest",), _validate),
        Step("tokenizer", ("ingest",), _tokenizer),
        Step("tokenize", ("ingest", "tokenizer"), _tokenize),
        Step("train", ("tokenize", "tokenizer"), _train),
        Step("evaluate", ("train", "tokenizer", "ingest"), _evaluate),
        Step("gate", ("evaluate", "ingest"), _gate),
        Step("export", ("train", "tokenizer", "ingest"), _export),
        Step("register", ("ingest", "validate", "tokenizer", "tokenize", "train", "evaluate", "gate", "export"),
             _register),
        Step("promote", ("register", "gate"), _promote),
        Step("deploy", ("register", "export"), _deploy),
    )
}  # fmt: skip
"""All steps, in the order of the path."""
