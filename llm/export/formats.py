"""The formats of an exported model, each written and compared with the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm.config import ExportConfig
from llm.export import hugging_face, onnx_check, onnx_model, tensorrt
from llm.export.reference import Reference, references
from llm.export.tolerance import Check, require
from llm.model.weights import load as load_model
from llm.runs.event_kinds import Progress
from llm.runs.events import EventLog
from llm.storage import Manifest
from llm.storage.products import ModelCounts
from llm.tokenizer import load as load_tokenizer


def write_formats(
    config: ExportConfig, checkpoint: Manifest, tokenizer: Manifest, corpus: Manifest, folder: Path, log: EventLog
) -> ModelCounts:
    """Write every format that is wanted into `folder`, and checks.json; raises UserError for one that differs."""
    progress = _Progress(log, total=2 + len(config.onnx) + int(config.tensorrt is not None))
    progress.next("reading the checkpoint")
    expected = references(load_model(checkpoint.verify()), load_tokenizer(tokenizer.verify()), corpus)
    checks = _export_all(config, checkpoint, tokenizer, expected, folder, progress)
    engine = "off" if config.tensorrt is None else "built"
    document = {"documents": len(expected), "tensorrt": engine, "checks": checks}
    (folder / "checks.json").write_text(json.dumps(document, indent=1) + "\n")
    return ModelCounts(formats=_formats(folder), checks=len(checks))


def _export_all(
    config: ExportConfig,
    checkpoint: Manifest,
    tokenizer: Manifest,
    expected: Sequence[Reference],
    folder: Path,
    progress: _Progress,
) -> list[dict[str, Any]]:
    """Write and check every format; the records of all checks."""
    progress.next("Hugging Face")
    source = folder / "huggingface"
    hugging_face.write_folder(checkpoint, tokenizer, source)
    checks = _kept(hugging_face.check_folder(source, expected))
    for precision in config.onnx:
        progress.next(f"ONNX {precision}")
        target = folder / f"onnx-{precision}"
        onnx_model.build(source, target, precision, progress.log.path.with_name(f"onnx-builder-{precision}.log"))
        if precision == "fp32":
            checks += _kept(onnx_check.check_fp32(target, expected))
        else:
            checks += _kept(onnx_check.check_int4(target, expected, config.onnx_int4_bits_per_token_tolerance))
    if config.tensorrt is not None:
        progress.next("TensorRT")
        checks += _kept(tensorrt.export(config.tensorrt, checkpoint.folder, folder / "tensorrt", expected))
    return [check.record() for check in checks]


def _kept(checks: list[Check]) -> list[Check]:
    require(checks)
    return checks


def _formats(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


class _Progress:
    def __init__(self, log: EventLog, total: int) -> None:
        self.log = log
        self._done, self._total = 0, total

    def next(self, message: str) -> None:
        self.log.emit(Progress(step="export", message=message, done=self._done, total=self._total))
        self._done += 1
