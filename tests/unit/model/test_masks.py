"""Masks as functions: each position by hand, and the same in FlexAttention."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from llm.model.attention import grouped_attention, reference_attention
from llm.model.masks import Mask, block_sparse, causal, dense, documents, prefix, slopes, window, with_penalty

IDS = torch.tensor([[5, 5, 0, 5, 5, 0, 5, 5], [0, 5, 5, 5, 5, 5, 0, 0]])
MASKS: dict[str, tuple[Mask, list[str]]] = {
    "causal": (causal, ["1", "11", "111", "1111", "11111", "111111", "1111111", "11111111"]),
    "window": (window(3), ["1", "11", "111", "0111", "00111", "000111", "0000111", "00000111"]),
    "documents": (documents(IDS, 0), ["1", "11", "001", "0011", "00111", "000001", "0000011", "00000111"]),
    "prefix": (prefix(3), ["111", "111", "111", "1111", "11111", "111111", "1111111", "11111111"]),
    "block-sparse": (block_sparse(2, 2), ["1", "11", "001", "0011", "00111", "001111", "0011001", "00110011"]),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_lets_through_what_it_says(name: str):
    mask, rows = MASKS[name]
    seen = dense(mask, 2, 8, 8, torch.device("cpu"))[0, 0]
    assert ["".join("01"[int(one)] for one in row).rstrip("0") for row in seen] == rows


def test_each_sequence_has_its_own_documents():
    seen = dense(documents(IDS, 0), 2, 8, 8, torch.device("cpu"))
    assert seen[1, 0].sum(1).tolist() == [1, 2, 3, 4, 5, 6, 1, 1]


def test_the_last_query_sits_on_the_last_key():
    assert dense(window(3), 1, 2, 8, torch.device("cpu"))[0, 0].int().tolist() == [
        [0, 0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1, 1, 1],
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")  # that is for GPUs
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_the_fused_kernel_flex_attention_and_the_reference_agree(name: str, softcap: float | None):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 8, 16, generator=generator) for heads in (4, 2, 2))
    mask, _ = MASKS[name]
    seen = dense(mask, 2, 8, 8, q.device)
    expected = reference_attention(q, k, v, seen, scale=0.3, softcap=softcap)
    found = grouped_attention(q, k, v, seen, scale=0.3, softcap=softcap)
    assert torch.allclose(found, expected, atol=1e-6)
    if softcap is None:
        blocks = create_block_mask(mask, 2, None, 8, 8, device="cpu")
        assert torch.allclose(grouped_attention(q, k, v, blocks, scale=0.3), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("heads", "expected"),
    [(1, [2**-8]), (4, [2**-2, 2**-4, 2**-6, 2**-8]), (6, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3])],
)
def test_the_slopes_are_those_of_the_paper(heads: int, expected: list[float]):
    assert slopes(heads).tolist() == expected


def test_a_penalty_grows_with_the_distance():
    added = with_penalty(dense(causal, 1, 3, 3, torch.device("cpu")), torch.tensor([0.5, 0.25]), 3)
    inf = float("inf")
    assert added[0].tolist() == [
        [[0, -inf, -inf], [-0.5, 0, -inf], [-1, -0.5, 0]],
        [[0, -inf, -inf], [-0.25, 0, -inf], [-0.5, -0.25, 0]],
    ]
