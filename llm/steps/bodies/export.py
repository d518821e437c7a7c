"""The step export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.storage import Manifest


def body(context: Context, given: Given) -> Manifest:
    """The formats are Hugging Face and ONNX; each is compared with the checkpoint."""
    from llm.export.export import export

    return export(
        context.config.export, given["train"], given["tokenizer"], given["ingest"], context.store, context.log
    )


STEP = Step(
    name="export",
    reads=("train", "tokenizer", "ingest"),
    body=body,
    purpose="Export a checkpoint to Hugging Face and ONNX.",
    makes=Product("model", "of the exported model", "Model"),
    sections=("export",),
    image="export",
    after=("gate",),
)
