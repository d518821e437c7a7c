"""Weights on disk: a folder that `transformers` loads as it is.

`model.safetensors` holds float32 tensors under Hugging Face's names, `config.json` a `LlamaConfig`.
Law: `load(folder)` after `save(model, folder)` gives a model with the same logits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from llm.config import ModelConfig
from llm.errors import DamagedError
from llm.model.decoder import Decoder

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def save(model: Decoder, folder: Path, end_of_text: int | None = None) -> None:
    """Write a model's weights and config into a folder."""
    save_state(model.state_dict(), model.config, model.vocab_size, folder, end_of_text)


def save_state(
    state: dict[str, Tensor], config: ModelConfig, vocab_size: int, folder: Path, end_of_text: int | None = None
) -> None:
    """Write weights that are not in a model now (gathered from ranks, say)."""
    tensors = {name: tensor.detach().float().contiguous().cpu() for name, tensor in sorted(state.items())}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    document = hugging_face_config(config, vocab_size, end_of_text)
    (folder / CONFIG).write_text(json.dumps(document, indent=2) + "\n")


def load(folder: Path) -> Decoder:
    """The model in a folder, in evaluation mode; raises DamagedError if names or shapes do not fit its config."""
    document = json.loads((folder / CONFIG).read_text())
    model = Decoder(ModelConfig(**{name: document[name] for name in ModelConfig.model_fields}), document["vocab_size"])
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise DamagedError(f"the weights in {folder} do not fit their config", str(error).splitlines()[-1]) from error
    return model.eval()


def hugging_face_config(config: ModelConfig, vocab_size: int, end_of_text: int | None) -> dict[str, Any]:
    """The same model as a `LlamaConfig` document."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        **config.model_dump(),
        "head_dim": config.hidden_size // config.num_attention_heads,
        "vocab_size": vocab_size,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "torch_dtype": "float32",
    }
