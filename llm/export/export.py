"""The export step: one model in the formats that others read, none of which may answer differently.

Products (kind `model`):

    huggingface/             weights, config and tokenizer, as `transformers` loads them
    onnx-fp32/, onnx-int4/   ONNX Runtime GenAI folders
    tensorrt/                the engine, where it is wanted
    checks.json              every comparison with the checkpoint: measured value and limit

torch is imported when there is something to export: a step that finds its product does not need it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.config import ExportConfig, deciding
from llm.export import tensorrt
from llm.export.tolerance import Check, require
from llm.runs.event_kinds import Progress
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import ModelCounts
from llm.tokenizer import load as load_tokenizer
from llm.tokenizer import refuse_other_tokenizer

if TYPE_CHECKING:
    from llm.export.reference import Reference


def export(
    config: ExportConfig, checkpoint: Manifest, tokenizer: Manifest, corpus: Manifest, store: Store, log: EventLog
) -> Manifest:
    """Export `checkpoint` and compare every format with it on validation documents.

    Raises UserError, before any other work, if TensorRT is wanted and missing; UserError naming format, measured
    value and tolerance if a format differs; DamagedError if an input is not what its manifest says.
    """
    tensorrt.check_tensorrt(config.tensorrt)
    recipe = Recipe(
        "export", deciding(config), [checkpoint, tokenizer, corpus], code=(__name__,),
        inputs={"tensorrt": None if config.tensorrt is None else tensorrt.built_for()},
    )  # fmt: skip
    if (done := store.find(recipe)) is not None:
        return done
    from llm.export.reference import references
    from llm.model.weights import load as load_model

    refuse_other_tokenizer(checkpoint, tokenizer)
    progress = _Progress(log, total=2 + len(config.onnx) + int(config.tensorrt is not None))
    progress.next("reading the checkpoint")
    expected = references(load_model(checkpoint.verify()), load_tokenizer(tokenizer.verify()), corpus)
    with store.stage("model", recipe) as stage:
        checks = _export_all(config, checkpoint, tokenizer, expected, stage.path, progress)
        engine = "off" if config.tensorrt is None else "built"
        document = {"documents": len(expected), "tensorrt": engine, "checks": checks}
        (stage.path / "checks.json").write_text(json.dumps(document, indent=1) + "\n")
        return stage.commit(ModelCounts(formats=_formats(stage.path), checks=len(checks)))


def _export_all(
    config: ExportConfig,
    checkpoint: Manifest,
    tokenizer: Manifest,
    expected: Sequence[Reference],
    folder: Path,
    progress: _Progress,
) -> list[dict[str, Any]]:
    """Write and check every format; the records of all checks."""
    from llm.export import hugging_face, onnx_check, onnx_model

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
