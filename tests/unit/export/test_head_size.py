"""The head sizes that a configuration allows are those that ONNX Runtime's own attention runs."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from llm.config.checks.model import ONNX_HEAD_MULTIPLE

TENSORS = {"query": ["B", "S", "N"], "key": ["B", "S", "K"], "value": ["B", "S", "K"], "past_key": ["B", 1, "P", "H"],
           "past_value": ["B", 1, "P", "H"], "cos": ["C", "R"], "sin": ["C", "R"]}  # fmt: skip
LENGTHS = {"lengths": ["B"], "total": [1]}


def attention_runs(head_size: int) -> bool:
    """Whether one GroupQueryAttention with rotary embeddings, as GenAI's builder makes it, runs with this head."""
    names = ["query", "key", "value", "past_key", "past_value", "lengths", "total", "cos", "sin"]
    node = helper.make_node("GroupQueryAttention", names, ["y", "k", "v"], domain="com.microsoft", num_heads=2,
                            kv_num_heads=1, do_rotary=1)  # fmt: skip
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in TENSORS.items()]
    inputs += [helper.make_tensor_value_info(name, TensorProto.INT32, shape) for name, shape in LENGTHS.items()]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "k", "v")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(
        helper.make_graph([node], "attention", inputs, outputs), opset_imports=opsets, ir_version=9
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ones = {"query": (1, 3, 2 * head_size), "key": (1, 3, head_size), "value": (1, 3, head_size),
            "past_key": (1, 1, 0, head_size), "past_value": (1, 1, 0, head_size),
            "cos": (8, head_size // 2), "sin": (8, head_size // 2)}  # fmt: skip
    feed = {name: np.ones(shape, dtype=np.float32) for name, shape in ones.items()}
    feed |= {"lengths": np.array([2], dtype=np.int32), "total": np.array([3], dtype=np.int32)}
    try:
        session.run(None, feed)
    except InvalidArgument as error:
        if "head_size" not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize("head_size", [4, 8, 12, 16, 20, 24, 32, 40, 48, 64])
def test_what_the_configuration_allows_is_what_onnx_runtime_runs(head_size: int):
    assert attention_runs(head_size) == (head_size % ONNX_HEAD_MULTIPLE == 0)
