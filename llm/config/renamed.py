"""Keys that a configuration may no longer have, and their replacements.

A key of this table is refused with its new name, whether it comes from the command line or from a file. Keys
below an old key move with it: if `a.b` is now `c.d`, then `a.b.x` is now `c.d.x`. To rename or remove a setting,
add one line here; nothing else needs to know. A section that became one value has its old keys among those that are
removed, and a line in FOLDED, by which the configurations of earlier runs are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

RENAMED: Mapping[str, str] = {
    "gate.bootstrap_resamples": "evaluation.bootstrap_resamples",
    "gate.confidence": "evaluation.confidence",
    "gate.max_bits_per_byte": "gate.metrics.bits_per_byte.floor",
    "gate.max_domain_bits_per_byte": "gate.metrics.bits_per_byte.domain_floors",
    "gate.non_inferiority_margin": "gate.metrics.bits_per_byte.margin",
    "gate.seed": "evaluation.seed",
    "training.global_batch_tokens": "training.batch.tokens",
    "training.sequence_length": "training.batch.sequence_length",
    "training.micro_batch_size": "training.batch.micro_batch_size",
    "training.max_steps": "training.length.steps",
    "training.minutes": "training.length.minutes",
    "training.lr": "training.optimizer.lr",
    "training.max_grad_norm": "training.optimizer.max_grad_norm",
    "training.weight_decay": "training.optimizer.weight_decay",
    "training.beta1": "training.optimizer.beta1",
    "training.beta2": "training.optimizer.beta2",
    "training.warmup_fraction": "training.schedule.warmup_fraction",
    "training.min_lr_fraction": "training.schedule.min_lr_fraction",
    "training.precision": "training.compute.precision",
    "training.nodes": "training.parallel.nodes",
    "training.processes": "training.parallel.processes",
    "training.backend": "training.parallel.backend.name",
    "training.zero_stage": "training.parallel.backend.zero_stage",
    "training.checkpoint_every_steps": "training.checkpoints.every_steps",
    "training.keep_checkpoints": "training.checkpoints.keep",
    "training.validate_every_steps": "training.validation.every_steps",
}
"""Old dotted key to new dotted key."""
REMOVED: Mapping[str, str] = {
    "evaluation.sample_temperature": "The drawn samples have temperature 0.8; `gristmill generate` takes any.",
    "evaluation.sample_tokens": "A sample has 64 tokens; `gristmill generate` gives as many as you ask for.",
    "evaluation.sample_top_p": "The drawn samples have top-p 0.95; `gristmill generate` takes any.",
    "export.hf_logit_tolerance": "A logit of `transformers` may differ from the checkpoint's by 1e-4.",
    "export.onnx_fp32_logit_tolerance": "A logit of ONNX fp32 may differ from the checkpoint's by 1e-3.",
    "export.onnx_int4_greedy_agreement": "ONNX int4 must have the checkpoint's most likely token at 70 % of positions.",
    "export.check_documents": "The formats are compared on 8 validation documents.",
    "export.check_tokens": "The continuations that are compared have 64 tokens.",
    "export.tensorrt.enabled": "Write export.tensorrt=fp16 (or fp32, bf16) for an engine, null for none.",
    "export.tensorrt.precision": "Write export.tensorrt=fp16 (or fp32, bf16) for an engine, null for none.",
    "export.tensorrt.if_missing": "Write export.tensorrt=null where TensorRT is missing: no engine is built.",
    "export.tensorrt.max_batch_size": "An engine of export.tensorrt=fp16 takes 8 sequences at once.",
    "serving.address": "Write `gristmill serve --address ADDRESS`.",
    "serving.http_port": "Write `gristmill serve --http-port PORT`.",
    "serving.grpc_port": "Write `gristmill serve --grpc-port PORT`.",
    "serving.metrics_port": "Write `gristmill serve --metrics-port PORT`.",
}
"""Old dotted key to a sentence: what holds now, or what to do."""
FOLDED: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "export.tensorrt": lambda old: old.get("precision", "fp16") if old.get("enabled") else None,
}
"""Key that was a section and is a value today, to what the old section comes to."""


def what_replaces(key: str) -> tuple[str, str] | None:
    """The message and the hint for a dotted key that was renamed or removed; None for any other key."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        old, rest = ".".join(parts[:length]), "".join(f".{part}" for part in parts[length:])
        if old in RENAMED:
            return f"{key} has a new name", f"Write {RENAMED[old]}{rest}."
        if old in REMOVED:
            return f"{key} is no longer a setting", REMOVED[old]
    return None


def up_to_date(document: Any) -> Any:
    """The document of an earlier version, with its old keys under their new names and without those that are gone.

    A value that has its new name already wins. Law: `up_to_date(d) == d` for a document of today.
    """
    moved: Any = _copied(document)
    for key, value_of in FOLDED.items():
        *parents, last = key.split(".")
        section = _at(moved, parents)
        if isinstance(section, dict) and isinstance(section.get(last), dict):
            section[last] = value_of(section[last])
    for old in (*RENAMED, *REMOVED):
        value = _taken(moved, old.split("."))
        if value is not None and old in RENAMED:
            *parents, last = RENAMED[old].split(".")
            place = moved
            for parent in parents:
                place = place.setdefault(parent, {})
            place.setdefault(last, value[0])
    return moved


def _copied(document: Any) -> Any:
    return {key: _copied(value) for key, value in document.items()} if isinstance(document, dict) else document


def _taken(document: Any, path: list[str]) -> tuple[Any] | None:
    """Remove a key and return its value; None if it is not there."""
    *parents, last = path
    section = _at(document, parents)
    return (section.pop(last),) if isinstance(section, dict) and last in section else None


def _at(document: Any, path: list[str]) -> Any:
    """The value at a path; None if there is none."""
    for part in path:
        document = document.get(part) if isinstance(document, dict) else None
    return document
