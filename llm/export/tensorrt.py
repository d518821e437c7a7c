"""A TensorRT engine of the model, with the key/value cache as inputs and outputs.

The graph is `standard_onnx`'s, in fp32; TensorRT chooses the arithmetic that the configuration allows. An engine is
for one kind of GPU and one version of TensorRT. TensorRT comes with NVIDIA's containers, not from PyPI: without it
nothing here but `missing_reason` can run.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.config import ModelConfig
from llm.config.families import read
from llm.errors import ServiceError, UserError

if TYPE_CHECKING:
    from llm.export.reference import Reference
    from llm.export.tolerance import Check

ENGINE = "model.plan"
ARITHMETIC = {"fp16": "FP16", "bf16": "BF16"}
LOGIT_TOLERANCE = {"fp32": 1e-3, "fp16": 0.1, "bf16": 0.5}
"""Largest difference of a logit, by arithmetic."""
MAX_BATCH_SIZE = 8
"""Most sequences that an engine takes at once: as many as decode at the same time by default (`serving.max_slots`).

More would cost memory: TensorRT plans the memory of an engine for its largest batch.
"""


def missing_reason() -> str | None:
    """Why no engine can be built here, or None if one can."""
    if importlib.util.find_spec("tensorrt") is None:
        return "TensorRT is not installed here: it comes with NVIDIA's containers, such as nvcr.io/nvidia/tensorrt"
    import tensorrt as trt
    import torch

    if not torch.cuda.is_available():
        return "TensorRT needs an NVIDIA GPU, and there is none here"
    if not hasattr(trt.BuilderFlag, "FP16"):  # since version 11 the graph alone chooses the arithmetic
        return f"TensorRT {trt.__version__} is installed, and engines are built with version 10"
    return None


def check_tensorrt(precision: str | None) -> None:
    """Raise UserError if an engine is wanted, and none can be built here.

    It needs no input of the step: a run calls it before its first step.
    """
    if precision is not None and (reason := missing_reason()) is not None:
        raise UserError(
            f"export.tensorrt={precision}, but {reason}",
            "Run the export in an image with TensorRT, or set export.tensorrt=null.",
        )


def built_for() -> str:
    """The only place where an engine built here works: this version of TensorRT on this kind of GPU."""
    import tensorrt as trt
    import torch

    return f"TensorRT {trt.__version__} on {torch.cuda.get_device_name()} {torch.cuda.get_device_capability()}"


def export(precision: str, checkpoint: Path, folder: Path, references: Sequence[Reference]) -> list[Check]:
    """Build `model.plan` below `folder` from a checkpoint's folder, and compare its logits with the references.

    Raises ServiceError with TensorRT's reason if it refuses the graph.
    """
    from llm.export import standard_onnx

    config = checkpoint / "config.json"
    model, _ = read(json.loads(config.read_text()), str(config))
    folder.mkdir()
    with tempfile.TemporaryDirectory() as graphs:
        graph = Path(graphs) / "model.onnx"
        standard_onnx.write(model, standard_onnx.read_weights(checkpoint), graph)
        (folder / ENGINE).write_bytes(_build(precision, model, graph))
    return _check(precision, model, folder / ENGINE, references)


def _build(precision: str, model: ModelConfig, graph: Path) -> bytes:
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        reasons = [str(parser.get_error(index)) for index in range(parser.num_errors)]
        raise ServiceError("TensorRT refuses the model's graph", *reasons)
    settings = builder.create_builder_config()
    if precision in ARITHMETIC:
        settings.set_flag(getattr(trt.BuilderFlag, ARITHMETIC[precision]))
    settings.add_optimization_profile(_profile(builder.create_optimization_profile(), model))
    engine = builder.build_serialized_network(network, settings)
    if engine is None:
        raise ServiceError("TensorRT could not build the engine", "Its own log, above, says why.")
    return bytes(engine)


def _profile(profile: Any, model: ModelConfig) -> Any:
    """Shapes that the engine takes: one token up to the whole context, with an empty cache up to a full one."""
    batch, context = MAX_BATCH_SIZE, model.max_position_embeddings
    heads, head_size = model.num_key_value_heads, model.head_size
    profile.set_shape("input_ids", (1, 1), (batch, 1), (batch, context))
    for layer in range(model.num_hidden_layers):
        for what in ("key", "value"):
            least, usual, most = (1, 0), (batch, context // 2), (batch, context)
            shapes = [(rows, heads, past, head_size) for rows, past in (least, usual, most)]
            profile.set_shape(f"past.{layer}.{what}", *shapes)
    return profile


def _check(precision: str, model: ModelConfig, engine: Path, references: Sequence[Reference]) -> list[Check]:
    import numpy as np
    import tensorrt as trt
    import torch

    from llm.export.tolerance import Check, largest

    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    context = runtime.deserialize_cuda_engine(engine.read_bytes()).create_execution_context()
    differences = []
    for reference in references:
        logits = _run(context, model, torch.tensor([reference.ids], device="cuda"), reference.logits.shape[1])
        differences.append(np.abs(logits - reference.logits).max())
    return [Check("tensorrt", "largest logit difference", largest(differences), at_most=LOGIT_TOLERANCE[precision])]


def _run(context: Any, model: ModelConfig, ids: Any, vocab_size: int) -> Any:
    """Logits of one sequence read with an empty cache, [T, V]."""
    import torch

    heads, head_size = model.num_key_value_heads, model.head_size
    tensors = {"input_ids": ids, "logits": torch.empty(1, ids.shape[1], vocab_size, device="cuda")}
    for layer in range(model.num_hidden_layers):
        for what in ("key", "value"):
            tensors[f"past.{layer}.{what}"] = torch.empty(1, heads, 0, head_size, device="cuda")
            tensors[f"present.{layer}.{what}"] = torch.empty(1, heads, ids.shape[1], head_size, device="cuda")
    unused = torch.empty(1, device="cuda")  # an empty tensor has no address, and TensorRT wants one
    for name, tensor in tensors.items():
        if name.startswith(("input_ids", "past")):
            context.set_input_shape(name, tuple(tensor.shape))
        context.set_tensor_address(name, (tensor if tensor.numel() else unused).data_ptr())
    context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
    torch.cuda.synchronize()
    return tensors["logits"][0].cpu().numpy()
