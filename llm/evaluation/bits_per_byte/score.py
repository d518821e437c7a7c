"""Nats that a model needs for each document: the primary metric, before any division.

A document is read as `<|endoftext|>` followed by its tokens, and the sum of -log p over its tokens is its score; the
end itself is not scored, as no byte stands for it. Arithmetic is float32 on the CPU, sums are float64. Windows are
cut by `windows.py`, sorted by length and read in batches of equal cost; padding stands behind a causal model's
tokens, where they cannot see it.

Shapes: B windows, T positions, N scored positions of a batch, R of them at a time, D stream, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from llm.evaluation.bits_per_byte.windows import Window, windows
from llm.model import Decoder

IGNORED = -100
"""Target of a position that does not count."""
CHUNK_LOGITS = 1 << 24
"""Logits held at a time: 64 MiB."""
Tokens = NDArray[np.integer]


@dataclass(frozen=True)
class Batch:
    """Windows that are read together: which document each belongs to, and the token ids in and out, both (B, T)."""

    documents: tuple[int, ...]
    inputs: Tensor
    targets: Tensor


def score_documents(
    model: Decoder,
    documents: Sequence[Tokens],
    *,
    end_of_text: int,
    window_tokens: int,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Nats of each tokenized document under `model`; 0 for a document without tokens.

    `batch_size` full windows are read at a time (more of short ones); `progress` gets (tokens done, all tokens)
    after each batch.
    """
    nats = np.zeros(len(documents))
    total = sum(map(len, documents))
    done = 0
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches(documents, end_of_text, window_tokens, batch_size * window_tokens):
                losses_B = _nats(model, batch)
                np.add.at(nats, list(batch.documents), losses_B.numpy())
                done += int((batch.targets != IGNORED).sum())
                if progress is not None:
                    progress(done, total)
    finally:
        model.train(was_training)
    return nats


def batches(documents: Sequence[Tokens], end_of_text: int, window_tokens: int, batch_tokens: int) -> Iterator[Batch]:
    """Yield all windows of all documents, longest first, at most `batch_tokens` padded positions at a time."""
    cut = [(index, window) for index, tokens in enumerate(documents) for window in windows(len(tokens), window_tokens)]
    cut.sort(key=lambda item: -len(item[1]))
    first = 0
    while first < len(cut):
        longest = len(cut[first][1])
        rows = max(1, batch_tokens // longest)
        yield _collate(cut[first : first + rows], documents, end_of_text, longest)
        first += rows


def _collate(rows: Sequence[tuple[int, Window]], documents: Sequence[Tokens], end_of_text: int, length: int) -> Batch:
    input_ids_BT = np.full((len(rows), length), end_of_text, dtype=np.int64)
    targets_BT = np.full((len(rows), length), IGNORED, dtype=np.int64)
    for row, (index, window) in enumerate(rows):
        tokens = documents[index]
        before = [end_of_text] if window.start == 0 else tokens[window.start - 1 : window.start]
        read = np.concatenate([before, tokens[window.start : window.end - 1]])
        input_ids_BT[row, : len(window)] = read
        targets_BT[row, window.scored_from - window.start : len(window)] = tokens[window.scored_from : window.end]
    return Batch(tuple(index for index, _ in rows), torch.from_numpy(input_ids_BT), torch.from_numpy(targets_BT))


def _nats(model: Decoder, batch: Batch) -> Tensor:
    """Sum of -log p of each window's scored tokens, float64; the head runs on scored positions only."""
    scored_BT = batch.targets != IGNORED
    x_ND, targets_N = model.hidden(batch.inputs)[scored_BT], batch.targets[scored_BT]
    head_VD = model.model.embed_tokens.weight if model.lm_head is None else model.lm_head.weight
    rows = max(1, CHUNK_LOGITS // len(head_VD))
    losses = [
        cross_entropy(linear(x_RD, head_VD).float(), targets_R, reduction="none")
        for x_RD, targets_R in zip(torch.split(x_ND, rows), torch.split(targets_N, rows), strict=True)
    ]
    nats_BT = torch.zeros(scored_BT.shape, dtype=torch.float64)
    nats_BT[scored_BT] = torch.cat(losses).double()
    return nats_BT.sum(dim=1)
