"""The export step: one model in the formats that others read, none of which may answer differently.

Products (kind `model`):

    huggingface/             weights, config and tokenizer, as `transformers` loads them
    onnx-fp32/, onnx-int4/   ONNX Runtime GenAI folders
    tensorrt/                the engine, where it is wanted
    checks.json              every comparison with the checkpoint: measured value and limit
"""

from __future__ import annotations

from llm.config import ExportConfig, deciding
from llm.export import tensorrt
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.tokenizer import refuse_other_tokenizer


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
    refuse_other_tokenizer(checkpoint, tokenizer)
    from llm.export.formats import write_formats

    with store.stage("model", recipe) as stage:
        return stage.commit(write_formats(config, checkpoint, tokenizer, corpus, stage.path, log))
