from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from llm.config import ModelConfig
from llm.export import standard_onnx
from llm.model import Decoder, initialise

CONFIG = ModelConfig(
    hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
    max_position_embeddings=64, initializer_range=0.2,
)  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"tie_word_embeddings": False}, {"num_key_value_heads": 6}])
def test_the_graph_answers_as_the_decoder_does_at_once_and_in_pieces(settings: dict, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update=settings)
    model = Decoder(config, vocab_size=97)
    initialise(model, seed=0)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    standard_onnx.write(config, weights, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(0, 97, size=(3, 20))
    with torch.inference_mode():
        expected = model(torch.from_numpy(ids)).numpy()
    empty = np.zeros((3, config.num_key_value_heads, 0, 8), np.float32)
    past = {tensor.name: empty for tensor in session.get_inputs() if tensor.name.startswith("past")}
    pieces = []
    for piece in (ids[:, :11], ids[:, 11:12], ids[:, 12:]):
        logits, *present = session.run(None, {"input_ids": piece, **past})
        past = dict(zip(past, present, strict=True))
        pieces.append(logits)
    whole = session.run(["logits"], {"input_ids": ids, **{name: value[:, :, :0] for name, value in past.items()}})[0]
    np.testing.assert_allclose(whole, expected, atol=2e-4)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), expected, atol=2e-4)


def test_only_standard_operators_are_used(tmp_path: Path) -> None:
    model = Decoder(CONFIG, vocab_size=97)
    initialise(model, seed=0)
    standard_onnx.write(CONFIG, {n: t.numpy() for n, t in model.state_dict().items()}, tmp_path / "model.onnx")
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    assert {node.domain for node in onnx.load(tmp_path / "model.onnx").graph.node} == {""}
