"""The model as an ONNX graph of standard operators only, with a key/value cache: what TensorRT's parser takes.

The GenAI folders hold the attention as one operator of ONNX Runtime's own; here it is spelled out. All sequences of a
batch have one length. Inputs `input_ids` [B, T] and `past.<layer>.key|value` [B, K, P, H]; outputs `logits`
[B, T, V] and `present.<layer>.key|value` [B, K, P + T, H]. Law: its logits are the checkpoint's to rounding.

Shapes: B sequences, T new tokens, P past ones, N query and K key/value heads, H head width, D stream, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from llm.config import ModelConfig
from llm.model.foreign import files_of
from llm.model.rotary import rotary_tables

OPSET = 18
Weights = dict[str, NDArray[np.float32]]
Shape = list[str | int | None]


def read_weights(checkpoint: Path) -> Weights:
    """The tensors of a checkpoint's folder."""
    from safetensors.numpy import load_file

    weights: Weights = {}
    for path in files_of(checkpoint):
        weights |= load_file(path)
    return weights


def write(config: ModelConfig, weights: Weights, path: Path) -> None:
    """Write the graph of a Llama with these weights (Hugging Face's names); the weights lie next to it."""
    graph = _Graph(config, weights)
    model = helper.make_model(graph.build(), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024)


class _Graph:
    """Nodes and weights, collected in the order of execution."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self.config = config
        self.weights = weights
        self.head_size = config.head_size
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}

    def build(self) -> Any:
        config, head = self.config, self.head_size
        past: Shape = ["B", config.num_key_value_heads, "P", head]
        present: Shape = ["B", config.num_key_value_heads, "S", head]
        names = [f"{layer}.{what}" for layer in range(config.num_hidden_layers) for what in ("key", "value")]
        inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", "T"])]
        inputs += [helper.make_tensor_value_info(f"past.{name}", TensorProto.FLOAT, past) for name in names]
        vocab_size = len(self.weights["model.embed_tokens.weight"])
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", "T", vocab_size])]
        outputs += [helper.make_tensor_value_info(f"present.{name}", TensorProto.FLOAT, present) for name in names]
        self._positions()
        x = self.op("Gather", self.weight("model.embed_tokens.weight"), "input_ids", axis=0)
        for layer in range(config.num_hidden_layers):
            x = self._layer(x, layer)
        head_name = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
        self.op("MatMul", self._norm(x, "model.norm"), self.transposed(head_name), output="logits")
        return helper.make_graph(self.nodes, "decoder", inputs, outputs, list(self.initializers.values()))

    def _positions(self) -> None:
        """Rotation of the new tokens, and which of all tokens each may see."""
        cos, sin = rotary_tables(self.head_size, self.config.max_position_embeddings, self.config.rope_theta)
        past = self.op("Shape", "past.0.key", start=2, end=3)
        new = self.op("Shape", "input_ids", start=1, end=2)
        end = self.op("Add", past, new)
        scalars = [self.op("Squeeze", value) for value in (past, end)]
        one = self.constant("one", np.int64(1))
        queries = self.op("Range", *scalars, one)
        keys = self.op("Range", self.constant("zero", np.int64(0)), scalars[1], one)
        self.cos = self.op("Gather", self.constant("cos", cos.numpy()), queries)
        self.sin = self.op("Gather", self.constant("sin", sin.numpy()), queries)
        column = self.op("Unsqueeze", queries, self.constant("axis.1", np.array([1])))
        self.hidden = self.op("Less", column, self.op("Unsqueeze", keys, self.constant("axis.0", np.array([0]))))

    def _layer(self, x: str, layer: int) -> str:
        name = f"model.layers.{layer}"
        x = self.op("Add", x, self._attention(self._norm(x, f"{name}.input_layernorm"), layer))
        normed = self._norm(x, f"{name}.post_attention_layernorm")
        gate, up = (self.linear(normed, f"{name}.mlp.{part}_proj") for part in ("gate", "up"))
        gated = self.op("Mul", self.op("Mul", gate, self.op("Sigmoid", gate)), up)
        return self.op("Add", x, self.linear(gated, f"{name}.mlp.down_proj"))

    def _attention(self, x: str, layer: int) -> str:
        name, config = f"model.layers.{layer}.self_attn", self.config
        groups = config.num_attention_heads // config.num_key_value_heads
        q = self._rotate(self._heads(x, f"{name}.q_proj", config.num_attention_heads))
        k = self._rotate(self._heads(x, f"{name}.k_proj", config.num_key_value_heads))
        v = self._heads(x, f"{name}.v_proj", config.num_key_value_heads)
        k = self.op("Concat", f"past.{layer}.key", k, axis=2, output=f"present.{layer}.key")
        v = self.op("Concat", f"past.{layer}.value", v, axis=2, output=f"present.{layer}.value")
        k, v = (self._repeat(value, groups) for value in (k, v))
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.op("Mul", scores, self.constant("scale", np.float32(self.head_size**-0.5)))
        scores = self.op("Where", self.hidden, self.constant("never", np.float32(-1e30)), scores)
        mixed = self.op("Transpose", self.op("MatMul", self.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        flat = self.op("Reshape", mixed, self.constant("flat", np.array([0, 0, config.hidden_size])))
        return self.linear(flat, f"{name}.o_proj")

    def _heads(self, x: str, name: str, heads: int) -> str:
        shape = self.constant(f"heads.{heads}", np.array([0, 0, heads, self.head_size]))
        return self.op("Transpose", self.op("Reshape", self.linear(x, name), shape), perm=[0, 2, 1, 3])

    def _rotate(self, x: str) -> str:
        half = self.constant("half", np.array([self.head_size // 2]))
        last = self.constant("axis.3", np.array([3]))
        left = self.op("Slice", x, self.constant("from.0", np.array([0])), half, last)
        right = self.op("Slice", x, half, self.constant("to.end", np.array([self.head_size])), last)
        turned = self.op("Concat", self.op("Neg", right), left, axis=3)
        return self.op("Add", self.op("Mul", x, self.cos), self.op("Mul", turned, self.sin))

    def _repeat(self, x: str, groups: int) -> str:
        if groups == 1:
            return x
        heads, head = self.config.num_key_value_heads, self.head_size
        wide = self.op("Unsqueeze", x, self.constant("axis.2", np.array([2])))
        wide = self.op("Expand", wide, self.constant("groups", np.array([1, 1, groups, 1, 1])))
        return self.op("Reshape", wide, self.constant("repeated", np.array([0, heads * groups, -1, head])))

    def _norm(self, x: str, name: str) -> str:
        mean = self.op("ReduceMean", self.op("Mul", x, x), self.constant("last", np.array([-1])))
        std = self.op("Sqrt", self.op("Add", mean, self.constant("eps", np.float32(self.config.rms_norm_eps))))
        return self.op("Mul", self.op("Div", x, std), self.weight(f"{name}.weight"))

    def linear(self, x: str, name: str) -> str:
        return self.op("MatMul", x, self.transposed(f"{name}.weight"))

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Append a node with one output; returns its name."""
        output = output or f"{kind}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weight(self, name: str) -> str:
        return self.constant(name, self.weights[name])

    def transposed(self, name: str) -> str:
        return self.constant(f"{name}.T", np.ascontiguousarray(self.weights[name].T))

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        self.initializers.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name
