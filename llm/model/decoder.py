"""A Llama decoder: RMSNorm before each block, rotary grouped-query attention, SwiGLU, tied or untied head.

Every parameter has Hugging Face's name and shape, so a state dict is a `LlamaForCausalLM`'s and the other way
round. The model knows nothing of files, devices or parallelism.
Sources: Touvron et al. 2023, arXiv:2302.13971; Shazeer 2020, arXiv:2002.05202 (SwiGLU); Zhang and Sennrich 2019,
arXiv:1910.07467 (RMSNorm).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm.config import ModelConfig
from llm.errors import UserError
from llm.model.attention import Attention, KeyValueCache
from llm.model.draws import draw_normal
from llm.model.rotary import rotary_tables


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Transform each position by itself."""
        output: Tensor = self.down_proj(functional.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))
        return output


class DecoderLayer(nn.Module):
    """Attention and feed-forward, each on a normalised copy of the stream and added to it."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = FeedForward(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, x_BTD: Tensor, cos_TH: Tensor, sin_TH: Tensor, cache: KeyValueCache | None) -> Tensor:
        """One layer's step of the stream."""
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), cos_TH, sin_TH, cache)
        output: Tensor = x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        return output


class Backbone(nn.Module):
    """Embedding, layers and final norm: what Hugging Face names `model.*`."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class Decoder(nn.Module):
    """The language model: token ids in, logits of the next token out."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.model = Backbone(config, vocab_size)
        self.lm_head = None if config.tie_word_embeddings else nn.Linear(config.hidden_size, vocab_size, bias=False)
        cos_TH, sin_TH = rotary_tables(
            config.hidden_size // config.num_attention_heads, config.max_position_embeddings, config.rope_theta
        )
        self.register_buffer("cos", cos_TH, persistent=False)
        self.register_buffer("sin", sin_TH, persistent=False)

    def forward(self, input_ids_BT: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Logits of the token after each position, [B, T, V]; with a cache, the ids continue its sequences.

        Raises UserError if the positions do not fit the model's context.
        """
        x_BTD = self.hidden(input_ids_BT, cache)
        head = self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight
        return functional.linear(x_BTD, head)

    def hidden(self, input_ids_BT: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """The normalised stream before the head, [B, T, D]."""
        start = 0 if cache is None else cache.length
        end = start + input_ids_BT.shape[1]
        if end > self.config.max_position_embeddings:
            raise UserError(
                f"{end} tokens do not fit the model's context of {self.config.max_position_embeddings}",
                "Shorten the text, or ask for fewer tokens.",
            )
        cos_TH, sin_TH = self.cos[start:end], self.sin[start:end]
        x_BTD: Tensor = self.model.embed_tokens(input_ids_BT)
        for layer in self.model.layers:
            x_BTD = layer(x_BTD, cos_TH, sin_TH, cache)
        normalised: Tensor = self.model.norm(x_BTD)
        return normalised


def initialise(model: Decoder, seed: int) -> None:
    """Draw all weights from `seed` and their names, the same on every machine: matrices normal, norms one.

    Projections back into the stream are scaled by 1/sqrt(2 * layers), so that its variance does not grow with
    depth. Source: Radford et al. 2019 (GPT-2), section 2.3.
    """
    std = model.config.initializer_range
    residual_std = std / (2 * model.config.num_hidden_layers) ** 0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2:
                parameter.fill_(1.0)
            else:
                is_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                draw_normal(parameter, residual_std if is_residual else std, seed, name)
