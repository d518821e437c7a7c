"""Causal attention over a sliding window, forward and backward, whose time and memory grow with the window.

A block of queries visits only the blocks of keys that it can see. Scores and masks are never in memory: the
forward pass keeps the logarithm of each query's sum, and the backward pass computes the scores again from it. Sources:
Dao 2023, arXiv:2307.08691 (FlashAttention-2, algorithms 1 and 2); Beltagy et al. 2020, arXiv:2004.05150 (the window).

Shapes: B sequences, T positions, N query heads, K key/value heads, H head width. All tensors are contiguous, so query
head `row` = b * N + n reads key/value head `row // (N / K)`.
"""

# What Triton compiles is a language of its own: its arguments are pointers, and have no types of Python.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, misc"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64
"""Queries and keys of a block, in long sequences."""
SMALLEST_BLOCK = 16
"""`tl.dot` takes no smaller one."""


@triton.jit
def _places(head, rows, T, H: tl.constexpr, WIDTH: tl.constexpr):
    """The places of rows of a head in its tensor, and which of them exist."""
    columns = tl.arange(0, WIDTH)
    return head * T * H + rows[:, None] * H + columns[None, :], (rows[:, None] < T) & (columns[None, :] < H)


@triton.jit
def _read(tensor, head, rows, T, H: tl.constexpr, WIDTH: tl.constexpr):
    """Rows of a head; zeros where there are none."""
    places, exist = _places(head, rows, T, H, WIDTH)
    return tl.load(tensor + places, mask=exist, other=0.0)


@triton.jit
def _read_numbers(numbers_BNT, head, rows, T):
    """A number for each row of a head; zero where there is none."""
    return tl.load(numbers_BNT + head * T + rows, mask=rows < T, other=0.0)


@triton.jit
def _scores(q, k, rows, keys, T, window, scale):
    """Of a block: scores where a query sees a key, else a number whose exponential is zero."""
    distance = rows[:, None] - keys[None, :]
    seen = (distance >= 0) & (distance < window) & (rows[:, None] < T)
    return tl.where(seen, tl.dot(q, tl.trans(k), input_precision="ieee") * scale, -1e30)


@triton.jit
def _forward(q_BNTH, k_BKTH, v_BKTH, y_BNTH, log_sums_BNT, T, window, scale, group,
             H: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """One block of queries of one head."""
    head, begin = tl.program_id(1), tl.program_id(0) * BLOCK
    rows = begin + tl.arange(0, BLOCK)
    q = _read(q_BNTH, head, rows, T, H, WIDTH)
    largest = tl.full((BLOCK,), -1e30, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    mixed = tl.zeros((BLOCK, WIDTH), tl.float32)
    for start in range(tl.maximum(begin - window + 1, 0) // BLOCK * BLOCK, begin + BLOCK, BLOCK):
        keys = start + tl.arange(0, BLOCK)
        k = _read(k_BKTH, head // group, keys, T, H, WIDTH)
        v = _read(v_BKTH, head // group, keys, T, H, WIDTH)
        scores = _scores(q, k, rows, keys, T, window, scale)
        new = tl.maximum(largest, tl.max(scores, 1))
        shares, fade = tl.exp(scores - new[:, None]), tl.exp(largest - new)  # a row that saw nothing yet fades to zero
        total = total * fade + tl.sum(shares, 1)
        mixed = mixed * fade[:, None] + tl.dot(shares.to(v.dtype), v, input_precision="ieee")
        largest = new
    places, exist = _places(head, rows, T, H, WIDTH)
    tl.store(y_BNTH + places, (mixed / total[:, None]).to(q.dtype), mask=exist)
    tl.store(log_sums_BNT + head * T + rows, largest + tl.log(total), mask=rows < T)


@triton.jit
def _backward_queries(q_BNTH, k_BKTH, v_BKTH, dy_BNTH, log_sums_BNT, deltas_BNT, dq_BNTH, T, window, scale, group,
                      H: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """The gradient of one block of queries of one head."""
    head, begin = tl.program_id(1), tl.program_id(0) * BLOCK
    rows = begin + tl.arange(0, BLOCK)
    q, dy = _read(q_BNTH, head, rows, T, H, WIDTH), _read(dy_BNTH, head, rows, T, H, WIDTH)
    log_sums, deltas = _read_numbers(log_sums_BNT, head, rows, T), _read_numbers(deltas_BNT, head, rows, T)
    dq = tl.zeros((BLOCK, WIDTH), tl.float32)
    for start in range(tl.maximum(begin - window + 1, 0) // BLOCK * BLOCK, begin + BLOCK, BLOCK):
        keys = start + tl.arange(0, BLOCK)
        k = _read(k_BKTH, head // group, keys, T, H, WIDTH)
        v = _read(v_BKTH, head // group, keys, T, H, WIDTH)
        shares = tl.exp(_scores(q, k, rows, keys, T, window, scale) - log_sums[:, None])
        dscores = shares * (tl.dot(dy, tl.trans(v), input_precision="ieee") - deltas[:, None])
        dq += tl.dot(dscores.to(k.dtype), k, input_precision="ieee")
    places, exist = _places(head, rows, T, H, WIDTH)
    tl.store(dq_BNTH + places, (dq * scale).to(q.dtype), mask=exist)


@triton.jit
def _backward_keys(q_BNTH, k_BKTH, v_BKTH, dy_BNTH, log_sums_BNT, deltas_BNT, dk_BKTH, dv_BKTH, T, window, scale, group,
                   H: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """The gradients of one block of keys and values of one head, from all query heads that share it."""
    row, begin = tl.program_id(1), tl.program_id(0) * BLOCK
    keys = begin + tl.arange(0, BLOCK)
    k, v = _read(k_BKTH, row, keys, T, H, WIDTH), _read(v_BKTH, row, keys, T, H, WIDTH)
    dk = tl.zeros((BLOCK, WIDTH), tl.float32)
    dv = tl.zeros((BLOCK, WIDTH), tl.float32)
    for head in range(row * group, (row + 1) * group):
        for start in range(begin, tl.minimum(begin + BLOCK - 1 + window, T), BLOCK):
            rows = start + tl.arange(0, BLOCK)
            q, dy = _read(q_BNTH, head, rows, T, H, WIDTH), _read(dy_BNTH, head, rows, T, H, WIDTH)
            log_sums, deltas = _read_numbers(log_sums_BNT, head, rows, T), _read_numbers(deltas_BNT, head, rows, T)
            shares = tl.exp(_scores(q, k, rows, keys, T, window, scale) - log_sums[:, None])
            dv += tl.dot(tl.trans(shares.to(dy.dtype)), dy, input_precision="ieee")
            dscores = shares * (tl.dot(dy, tl.trans(v), input_precision="ieee") - deltas[:, None])
            dk += tl.dot(tl.trans(dscores.to(q.dtype)), q, input_precision="ieee")
    places, exist = _places(row, keys, T, H, WIDTH)
    tl.store(dk_BKTH + places, (dk * scale).to(k.dtype), mask=exist)
    tl.store(dv_BKTH + places, dv.to(v.dtype), mask=exist)


def _grid_and_sizes(positions: int, rows: int, head: int) -> tuple[tuple[int, int], dict[str, int]]:
    block = min(BLOCK, max(SMALLEST_BLOCK, triton.next_power_of_2(positions)))
    width = max(SMALLEST_BLOCK, triton.next_power_of_2(head))
    return (triton.cdiv(positions, block), rows), {"H": head, "WIDTH": width, "BLOCK": block}


SCHEMA = "(Tensor q_BNTH, Tensor k_BKTH, Tensor v_BKTH, int window, float scale) -> (Tensor, Tensor)"
GRADIENT_SCHEMA = (
    "(Tensor dy_BNTH, Tensor q_BNTH, Tensor k_BKTH, Tensor v_BKTH, Tensor y_BNTH, Tensor log_sums_BNT, int window,"
    " float scale) -> (Tensor, Tensor, Tensor)"
)


@torch.library.custom_op("gristmill::sliding_window", mutates_args=(), schema=SCHEMA)
def _attention(q_BNTH: Tensor, k_BKTH: Tensor, v_BKTH: Tensor, window: int, scale: float) -> tuple[Tensor, Tensor]:
    """The mixed values, and the logarithm of each query's sum, [B, N, T] float32."""
    q_BNTH, k_BKTH, v_BKTH = (one.contiguous() for one in (q_BNTH, k_BKTH, v_BKTH))
    B, N, T, H = q_BNTH.shape
    y_BNTH, log_sums_BNT = torch.empty_like(q_BNTH), q_BNTH.new_empty((B, N, T), dtype=torch.float32)
    grid, sizes = _grid_and_sizes(T, B * N, H)
    group = N // k_BKTH.shape[1]
    _forward[grid](q_BNTH, k_BKTH, v_BKTH, y_BNTH, log_sums_BNT, T, window, scale, group, **sizes)
    return y_BNTH, log_sums_BNT


@torch.library.custom_op("gristmill::sliding_window_backward", mutates_args=(), schema=GRADIENT_SCHEMA)
def _gradients(
    dy_BNTH: Tensor, q_BNTH: Tensor, k_BKTH: Tensor, v_BKTH: Tensor, y_BNTH: Tensor, log_sums_BNT: Tensor,
    window: int, scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    dy_BNTH, q_BNTH, k_BKTH, v_BKTH = (one.contiguous() for one in (dy_BNTH, q_BNTH, k_BKTH, v_BKTH))
    (B, N, T, H), K = q_BNTH.shape, k_BKTH.shape[1]
    deltas_BNT = (dy_BNTH.float() * y_BNTH.float()).sum(-1)
    inputs = q_BNTH, k_BKTH, v_BKTH, dy_BNTH, log_sums_BNT, deltas_BNT
    dq_BNTH, dk_BKTH, dv_BKTH = (torch.empty_like(one) for one in (q_BNTH, k_BKTH, v_BKTH))
    grid, sizes = _grid_and_sizes(T, B * N, H)
    _backward_queries[grid](*inputs, dq_BNTH, T, window, scale, N // K, **sizes)
    grid, sizes = _grid_and_sizes(T, B * K, H)
    _backward_keys[grid](*inputs, dk_BKTH, dv_BKTH, T, window, scale, N // K, **sizes)
    return dq_BNTH, dk_BKTH, dv_BKTH


@_attention.register_fake
def _(q_BNTH: Tensor, k_BKTH: Tensor, v_BKTH: Tensor, window: int, scale: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q_BNTH.contiguous()), q_BNTH.new_empty(q_BNTH.shape[:3], dtype=torch.float32)


@_gradients.register_fake
def _(dy: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (torch.empty_like(one.contiguous()) for one in (q, k, v))
    return dq, dk, dv


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q_BNTH, k_BKTH, v_BKTH, ctx.window, ctx.scale = inputs
    ctx.save_for_backward(q_BNTH, k_BKTH, v_BKTH, *output)


def _backward(ctx: Any, dy_BNTH: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    gradients = _gradients(dy_BNTH, *ctx.saved_tensors, ctx.window, ctx.scale)
    return (*gradients, None, None)


_attention.register_autograd(_backward, setup_context=_keep)


def sliding_window_attention(
    q_BNTH: Tensor, k_BKTH: Tensor, v_BKTH: Tensor, window: int, scale: float | None = None
) -> Tensor:
    """Each query mixes the values of itself and the `window` - 1 positions before it; returns [B, N, T, H].

    Law: it is `llm.model.attention.reference_attention` with the mask of `llm.model.masks.window`. The queries and keys
    are computed in the type of the values, the sums in float32.
    """
    q_BNTH, k_BKTH = q_BNTH.to(v_BKTH.dtype), k_BKTH.to(v_BKTH.dtype)
    y_BNTH, _ = _attention(q_BNTH, k_BKTH, v_BKTH, window, q_BNTH.shape[-1] ** -0.5 if scale is None else scale)
    found: Tensor = y_BNTH
    return found
