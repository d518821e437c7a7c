"""Grouped-query attention, and the cache of keys and values for generation.

Shapes: B sequences, T queries, S keys, N query heads, K key/value heads, H head width, D width of the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from llm.config import ModelConfig
from llm.model.masks import Mask, causal, dense
from llm.model.norms import norm
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


@dataclass(frozen=True)
class View:
    """The positions as a layer of one kind sees them."""

    cos: Tensor | None
    """Cosines of the rotation, [T, H]; None where positions are not turned (ALiBi)."""
    sin: Tensor | None
    """Sines of the rotation, [T, H]."""
    mask: Tensor | BlockMask | Windowed | None
    """Booleans, or numbers to add to the scores, that broadcast to [B, N, T, S]; None: causal, T = S, or T = 1."""


@dataclass(frozen=True)
class Windowed:
    """The window of a sliding layer, for a kernel that makes no mask of it."""

    size: int
    """Positions that a query sees, itself included."""
    kernel: Callable[..., Tensor]
    """As `llm.model.kernels.sliding_window.sliding_window_attention`."""


def view_mask(mask: Mask, sequences: int, queries: Tensor | int, keys: int, device: torch.device) -> Tensor | BlockMask:
    """A mask in the form that is fastest here: FlexAttention's blocks on a GPU, booleans on a CPU or with a cache."""
    if device.type == "cpu" or not isinstance(queries, int) or queries != keys:
        return dense(mask, sequences, queries, keys, device)
    return create_block_mask(mask, sequences, None, queries, keys, device=str(device))


def reference_attention(
    q_BNTH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor, mask: Tensor | None = None, *,
    scale: float | None = None, softcap: float | None = None, dropout: float = 0.0,
) -> Tensor:  # fmt: skip
    """Attention in which N / K query heads share one key/value head, spelled out; returns [B, N, T, H].

    Without a mask it is causal, and the last query sits on the last key, so T < S is decoding from a cache. The fused
    path is tested against it. Source: Ainslie et al. 2023, arXiv:2305.13245, section 2.2.
    """
    (_, N, T, H), (_, K, S, _) = q_BNTH.shape, k_BKSH.shape
    k_BNSH, v_BNSH = k_BKSH.repeat_interleave(N // K, dim=1), v_BKSH.repeat_interleave(N // K, dim=1)
    scores_BNTS: Tensor = q_BNTH @ k_BNSH.transpose(2, 3) * (H**-0.5 if scale is None else scale)
    if softcap is not None:
        scores_BNTS = torch.tanh(scores_BNTS / softcap) * softcap
    seen = dense(causal, 1, T, S, q_BNTH.device) if mask is None else mask
    scores_BNTS = scores_BNTS.masked_fill(~seen, -torch.inf) if seen.dtype == torch.bool else scores_BNTS + seen
    weights_BNTS = functional.dropout(scores_BNTS.softmax(dim=-1), dropout)
    return weights_BNTS @ v_BNSH


def grouped_attention(
    q_BNTH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor, mask: Tensor | BlockMask | Windowed | None = None, *,
    scale: float | None = None, softcap: float | None = None, dropout: float = 0.0,
) -> Tensor:  # fmt: skip
    """The same in torch's fused kernels, or in one of ours; scores with a bound have none."""
    (_, N, T, _), (_, K, S, _) = q_BNTH.shape, k_BKSH.shape
    if isinstance(mask, Windowed):
        return mask.kernel(q_BNTH, k_BKSH, v_BKSH, mask.size, scale)
    if isinstance(mask, BlockMask):
        flexible = _compiled_flex_attention() if q_BNTH.device.type != "cpu" else flex_attention
        y_BNTH: Tensor = flexible(q_BNTH, k_BKSH, v_BKSH, block_mask=mask, scale=scale, enable_gqa=N != K)
        return y_BNTH
    if softcap is not None:
        return reference_attention(q_BNTH, k_BKSH, v_BKSH, mask, scale=scale, softcap=softcap, dropout=dropout)
    if mask is None and T not in (1, S):  # a single query sees all keys: no mask at all
        mask = dense(causal, 1, T, S, q_BNTH.device)
    return functional.scaled_dot_product_attention(
        q_BNTH, k_BKSH, v_BKSH, attn_mask=mask, dropout_p=dropout, is_causal=mask is None and S == T > 1,
        scale=scale, enable_gqa=N != K,
    )  # fmt: skip


@cache
def _compiled_flex_attention() -> Any:
    """Its kernel is made when it is first needed; without one all scores are in memory at once."""
    return torch.compile(flex_attention)


class Attention(nn.Module):
    """Multi-head attention of one layer; weights are named as in Hugging Face's models."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_size, width = config.head_size, config.hidden_size
        queries, keys = config.num_attention_heads * self.head_size, config.num_key_value_heads * self.head_size
        bias = config.attention_bias
        self.q_proj = nn.Linear(width, queries, bias=bias != "none")
        self.k_proj = nn.Linear(width, keys, bias=bias != "none")
        self.v_proj = nn.Linear(width, keys, bias=bias != "none")
        self.o_proj = nn.Linear(queries, width, bias=bias == "all")
        if config.qk_norm:
            self.q_norm = norm(config, self.head_size, "rms")
            self.k_norm = norm(config, self.head_size, "rms")
        divisor = config.query_pre_attn_scalar
        self.scale = None if divisor is None else divisor**-0.5
        self.softcap, self.dropout = config.attn_logit_softcapping, config.attention_dropout
        self.normalises = config.qk_norm
        self.gather: Callable[[Tensor], Tensor] | None = None
        """Gives the keys or values of all positions for those of some, where a sequence is shared."""

    def forward(self, x_BTD: Tensor, view: View, cache: KeyValueCache | None, layer: int) -> Tensor:
        """Mix each position with those that it sees; returns [B, T, D]. `layer` is its place in the cache."""
        q_BNTH, k_BKSH, v_BKSH = (self._heads(part(x_BTD)) for part in (self.q_proj, self.k_proj, self.v_proj))
        if self.normalises:
            q_BNTH, k_BKSH = self.q_norm(q_BNTH), self.k_norm(k_BKSH)
        if view.cos is not None and view.sin is not None:
            q_BNTH, k_BKSH = (rotate(part, view.cos, view.sin) for part in (q_BNTH, k_BKSH))
        if cache is not None:
            k_BKSH, v_BKSH = cache.extend(layer, k_BKSH, v_BKSH)
        if self.gather is not None:
            k_BKSH, v_BKSH = self.gather(k_BKSH), self.gather(v_BKSH)
        dropout = self.dropout if self.training else 0.0
        y_BNTH = grouped_attention(
            q_BNTH, k_BKSH, v_BKSH, view.mask, scale=self.scale, softcap=self.softcap, dropout=dropout
        )
        output: Tensor = self.o_proj(y_BNTH.transpose(1, 2).flatten(2))
        return output

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, self.head_size).transpose(1, 2)
