"""Grouped-query attention, and the cache of keys and values for generation.

Shapes: B sequences, T queries, S keys, N query heads, K key/value heads, H head width, D width of the stream.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm.config import ModelConfig
from llm.model.rotary import rotate


class KeyValueCache:
    """Keys and values of what a batch of sequences has seen, a pair for each layer; grows with every call."""

    def __init__(self, num_hidden_layers: int) -> None:
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * num_hidden_layers

    @property
    def length(self) -> int:
        """Positions seen so far."""
        first = self._layers[0]
        return 0 if first is None else first[0].shape[2]

    def extend(self, layer: int, k_BKTH: Tensor, v_BKTH: Tensor) -> tuple[Tensor, Tensor]:
        """Append a layer's new keys and values; returns all of them, [B, K, S, H] each."""
        seen = self._layers[layer]
        if seen is not None:
            k_BKTH, v_BKTH = torch.cat((seen[0], k_BKTH), dim=2), torch.cat((seen[1], v_BKTH), dim=2)
        self._layers[layer] = (k_BKTH, v_BKTH)
        return k_BKTH, v_BKTH


def reference_attention(q_BNTH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor) -> Tensor:
    """Causal attention in which N / K query heads share one key/value head, spelled out; returns [B, N, T, H].

    The last query sits on the last key, so T < S is decoding from a cache. The fused path is tested against it.
    Source: Ainslie et al. 2023, arXiv:2305.13245, section 2.2.
    """
    (_, N, T, H), (_, K, S, _) = q_BNTH.shape, k_BKSH.shape
    k_BNSH, v_BNSH = k_BKSH.repeat_interleave(N // K, dim=1), v_BKSH.repeat_interleave(N // K, dim=1)
    scores_BNTS: Tensor = q_BNTH @ k_BNSH.transpose(2, 3) * H**-0.5
    weights_BNTS = scores_BNTS.masked_fill(future(T, S, q_BNTH.device), -torch.inf).softmax(dim=-1)
    return weights_BNTS @ v_BNSH


def grouped_attention(q_BNTH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor) -> Tensor:
    """The same in torch's fused kernel."""
    (_, N, T, _), (_, K, S, _) = q_BNTH.shape, k_BKSH.shape
    mask = None if T in (1, S) else ~future(T, S, q_BNTH.device)  # a single query sees all keys: no mask at all
    return functional.scaled_dot_product_attention(
        q_BNTH, k_BKSH, v_BKSH, attn_mask=mask, is_causal=S == T > 1, enable_gqa=N != K
    )


def future(queries: int, keys: int, device: torch.device) -> Tensor:
    """True where a key lies after its query, [T, S]; the last query sits on the last key."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).triu(keys - queries + 1)


class Attention(nn.Module):
    """Multi-head attention of one layer; weights are named as in Hugging Face's Llama."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_size = config.hidden_size // config.num_attention_heads
        keys = config.num_key_value_heads * self.head_size
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x_BTD: Tensor, cos_TH: Tensor, sin_TH: Tensor, cache: KeyValueCache | None) -> Tensor:
        """Mix each position with those before it; returns [B, T, D]."""
        q_BNTH = rotate(self._heads(self.q_proj(x_BTD)), cos_TH, sin_TH)
        k_BKSH = rotate(self._heads(self.k_proj(x_BTD)), cos_TH, sin_TH)
        v_BKSH = self._heads(self.v_proj(x_BTD))
        if cache is not None:
            k_BKSH, v_BKSH = cache.extend(self.layer, k_BKSH, v_BKSH)
        y_BNTH = grouped_attention(q_BNTH, k_BKSH, v_BKSH)
        output: Tensor = self.o_proj(y_BNTH.transpose(1, 2).flatten(2))
        return output

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, self.head_size).transpose(1, 2)
