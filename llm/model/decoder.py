"""A decoder: a norm before each block, grouped-query attention, a feed-forward layer, tied or untied head.

At its defaults it is a Llama; `llm.config.ModelConfig` names what may be otherwise. Every parameter has Hugging Face's
name and shape, so a state dict is a `LlamaForCausalLM`'s and the other way round (`llm.model.families` for others).
The model knows nothing of files, devices or parallelism.
Sources: Touvron et al. 2023, arXiv:2302.13971; Shazeer 2020, arXiv:2002.05202 (SwiGLU); Zhang and Sennrich 2019,
arXiv:1910.07467 (RMSNorm); Henry et al. 2020, arXiv:2010.04245 (QK-norm); Lan et al. 2019, arXiv:1909.11942, and
Takase and Kiyono 2021, arXiv:2104.06022, "cycle" (layers that share weights); Gemma Team 2024, arXiv:2408.00118.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask

from llm.config import ModelConfig
from llm.errors import UserError
from llm.model.attention import Attention, KeyValueCache, View, Windowed, view_mask
from llm.model.draws import draw_normal
from llm.model.masks import Mask, both, causal, dense, slopes, window, with_penalty
from llm.model.norms import norm
from llm.model.rotary import rotary_tables

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
}


class FeedForward(nn.Module):
    """down(act(gate(x)) * up(x)), or without a gate down(act(up(x)))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(width, inner, bias=bias) if config.gated_mlp else None
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)
        self.act = ACTIVATIONS[config.hidden_act]

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Transform each position by itself."""
        if self.gate_proj is None:
            inner: Tensor = self.act(self.up_proj(x_BTD))
        else:
            inner = self.act(self.gate_proj(x_BTD)) * self.up_proj(x_BTD)
        output: Tensor = self.down_proj(inner)
        return output


class DecoderLayer(nn.Module):
    """Attention and feed-forward, each on a normalised copy of the stream and added to it.

    With sandwich norms their output is normalised too, under the names that Gemma 2 gave.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = norm(config, config.hidden_size, config.norm)
        self.post_attention_layernorm = norm(config, config.hidden_size, config.norm)
        self.is_sandwich, self.dropout = config.sandwich_norms, config.residual_dropout
        if self.is_sandwich:
            self.pre_feedforward_layernorm = norm(config, config.hidden_size, config.norm)
            self.post_feedforward_layernorm = norm(config, config.hidden_size, config.norm)

    def forward(self, x_BTD: Tensor, view: View, cache: KeyValueCache | None, layer: int) -> Tensor:
        """One layer's step of the stream."""
        y_BTD = self.self_attn(self.input_layernorm(x_BTD), view, cache, layer)
        if self.is_sandwich:
            x_BTD = x_BTD + self._dropped(self.post_attention_layernorm(y_BTD))
            y_BTD = self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x_BTD)))
        else:
            x_BTD = x_BTD + self._dropped(y_BTD)
            y_BTD = self.mlp(self.post_attention_layernorm(x_BTD))
        output: Tensor = x_BTD + self._dropped(y_BTD)
        return output

    def _dropped(self, y_BTD: Tensor) -> Tensor:
        return functional.dropout(y_BTD, self.dropout, self.training) if self.dropout else y_BTD


class Backbone(nn.Module):
    """Embedding, layers and final norm: what Hugging Face names `model.*`."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.unique_layers))
        self.norm = norm(config, config.hidden_size, config.norm)


class Decoder(nn.Module):
    """The language model: token ids in, logits of the next token out."""

    slopes: Tensor

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.model = Backbone(config, vocab_size)
        self.lm_head = None if config.tie_word_embeddings else nn.Linear(config.hidden_size, vocab_size, bias=False)
        self.window_kernel: Callable[..., Tensor] | None = None
        """Computes the attention of sliding layers without a mask; None: torch's kernels do."""
        self.make_tables()

    def make_tables(self) -> None:
        """Compute what is no parameter: after `to_empty`, which gives memory without content."""
        config = self.config
        if config.position == "alibi":
            self.register_buffer("slopes", slopes(config.num_attention_heads), persistent=False)
            return
        for kind in sorted(set(config.layers)):
            theta, scaling = config.rope_theta, config.rope_scaling
            if kind == "sliding_attention" and config.rope_theta_sliding is not None:
                theta, scaling = config.rope_theta_sliding, None
            tables = rotary_tables(config.head_size, config.max_position_embeddings, theta, scaling)
            for name, table_TH in zip(("cos", "sin"), tables, strict=True):
                self.register_buffer(f"{name}_{kind}", table_TH, persistent=False)

    def forward(self, input_ids_BT: Tensor, cache: KeyValueCache | None = None, mask: Mask = causal) -> Tensor:
        """Logits of the token after each position, [B, T, V]; with a cache, the ids continue its sequences.

        Raises UserError if the positions do not fit the model's context.
        """
        return self.logits(self.hidden(input_ids_BT, cache, mask))

    def logits(self, x_BTD: Tensor) -> Tensor:
        """The head, on any part of the normalised stream."""
        logits_BTV = functional.linear(x_BTD, self.head)
        bound = self.config.final_logit_softcapping
        return logits_BTV if bound is None else torch.tanh(logits_BTV / bound) * bound

    @property
    def head(self) -> Tensor:
        """The matrix of the head, [V, D]."""
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def hidden(
        self, input_ids_BT: Tensor, cache: KeyValueCache | None = None, mask: Mask = causal,
        positions_T: Tensor | None = None, length: int | None = None,
    ) -> Tensor:  # fmt: skip
        """The normalised stream before the head, [B, T, D].

        `positions_T` and `length` are given where the ids are some of the positions of longer sequences.
        """
        start = 0 if cache is None else cache.length
        end = start + input_ids_BT.shape[1] if length is None else length
        if end > self.config.max_position_embeddings:
            raise UserError(
                f"{end} tokens do not fit the model's context of {self.config.max_position_embeddings}",
                "Shorten the text, or ask for fewer tokens.",
            )
        queries = end - start if positions_T is None else positions_T
        x_BTD = self.through_layers(self.embedded(input_ids_BT), len(input_ids_BT), queries, end, cache, mask)
        normalised: Tensor = self.model.norm(x_BTD)
        return normalised

    def embedded(self, input_ids_BT: Tensor) -> Tensor:
        """The stream before the layers, [B, T, D]."""
        x_BTD: Tensor = self.model.embed_tokens(input_ids_BT)
        return x_BTD * self.config.hidden_size**0.5 if self.config.scale_embeddings else x_BTD

    def through_layers(
        self, x_BTD: Tensor, sequences: int, queries: Tensor | int, end: int,
        cache: KeyValueCache | None = None, mask: Mask = causal, layers: range | None = None,
    ) -> Tensor:  # fmt: skip
        """The stream after these layers (or all): the last `queries` of `end` positions, or those that are given."""
        kinds = self.config.layers
        layers = range(len(kinds)) if layers is None else layers
        here = {kinds[number] for number in layers}
        views = {kind: self._view(kind, sequences, queries, end, mask, x_BTD.device) for kind in here}
        for number in layers:
            layer = self.model.layers[number % len(self.model.layers)]
            x_BTD = layer(x_BTD, views[kinds[number]], cache, number)
        return x_BTD

    def _view(
        self, kind: str, sequences: int, queries: Tensor | int, end: int, mask: Mask, device: torch.device
    ) -> View:
        """The view of the layers of a kind."""
        places = slice(end - queries, end) if isinstance(queries, int) else queries
        tables = (getattr(self, f"{name}_{kind}", None) for name in ("cos", "sin"))
        cos_TH, sin_TH = (None if table_TH is None else table_TH[places] for table_TH in tables)
        return View(cos_TH, sin_TH, self._seen(kind, sequences, queries, end, mask, device))

    def _seen(
        self, kind: str, sequences: int, queries: Tensor | int, end: int, mask: Mask, device: torch.device
    ) -> Tensor | BlockMask | Windowed | None:
        config, are_last = self.config, isinstance(queries, int)
        size = config.sliding_window if kind == "sliding_attention" else None
        if size is not None and end > size:
            if self.window_kernel is not None and mask is causal and are_last and queries == end:
                return Windowed(size, self.window_kernel)
            mask = both(mask, window(size))
        if config.position == "alibi":
            return with_penalty(dense(mask, sequences, queries, end, device), self.slopes, queries)
        if mask is causal and are_last and queries in (1, end):
            return None
        return view_mask(mask, sequences, queries, end, device)


Part = Callable[[nn.Parameter], tuple[Tensor, int, int]]
"""The part of a parameter that is here, and the numbers of its first row and column in the whole parameter."""


def all_rows(parameter: nn.Parameter) -> tuple[Tensor, int, int]:
    """The part of a parameter that is not cut."""
    return parameter, 0, 0


def initialise(model: Decoder, seed: int, part: Part = all_rows) -> None:
    """Draw all weights from `seed` and their names, the same on every machine: matrices normal, norms one, biases zero.

    Where a parameter is cut, `part` gives the part to draw, and it is that of the whole one. Projections back into
    the stream are scaled by 1/sqrt(2 * layers), so that its variance does not grow with depth. Source: Radford et al.
    2019 (GPT-2), section 2.3.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            rows, first_row, first_column = part(parameter)
            if parameter.dim() < 2 or rows.shape[1] == parameter.shape[1]:
                draw_rows(rows, name, model.config, seed, first_row)
            else:
                whole = torch.empty(len(rows), parameter.shape[1])
                draw_rows(whole, name, model.config, seed, first_row)
                rows.copy_(whole[:, first_column : first_column + rows.shape[1]])


def draw_rows(rows: Tensor, name: str, config: ModelConfig, seed: int, first_row: int = 0) -> None:
    """Draw rows of the parameter of this name in place, as `initialise` does; a vector has rows of one value."""
    if rows.dim() < 2:
        rows.fill_(0.0 if name.endswith("bias") or config.unit_offset_norms else 1.0)
        return
    deviation = config.initializer_range
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        deviation /= (2 * config.num_hidden_layers) ** 0.5
    draw_normal(rows, deviation, seed, name, first_row)
