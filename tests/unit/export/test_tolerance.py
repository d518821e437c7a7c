from __future__ import annotations

import numpy as np
import pytest

from llm.errors import UserError
from llm.export.onnx_check import parts_at
from llm.export.reference import Reference, mean_loss_bits
from llm.export.tolerance import Check, largest, require


def _reference(continuation: list[int], ids: tuple[int, ...] = (0, 1)) -> Reference:
    logits = np.zeros((len(ids), 4), dtype=np.float32)
    return Reference("", list(ids), logits, [0], continuation, [1.0] * len(continuation))


def test_a_measurement_at_its_limit_passes_and_beyond_it_is_named() -> None:
    require([Check("onnx-fp32", "largest logit difference", 0.001, at_most=0.001)])
    with pytest.raises(UserError, match=r"onnx-fp32: largest logit difference is 0.002, allowed: at most 0.001"):
        require([Check("onnx-fp32", "largest logit difference", 0.002, at_most=0.001)])


@pytest.mark.parametrize(
    ("name", "setting", "remedy"),
    [
        ("onnx-int4", "export.x", "A larger tolerance accepts it; so does leaving the format out"),
        ("onnx-fp32", None, "Leave the format out"),
        ("huggingface", None, "please report the model's configuration"),
    ],
)
def test_the_refusal_says_what_can_be_done(name: str, setting: str | None, remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        require([Check(name, "loss", 2.0, at_most=1.0, setting=setting)])


def test_not_a_number_never_passes() -> None:
    with pytest.raises(UserError, match="is nan"):
        require([Check("onnx-fp32", "largest logit difference", float("nan"), at_most=1.0)])


def test_one_difference_that_is_not_a_number_is_the_largest() -> None:
    values = np.array([0.0, np.nan, 1.0], dtype=np.float32)
    assert np.isnan(largest(list(values)))
    assert largest(list(values[[0, 2]])) == 1.0


def test_records_do_not_hold_the_last_bits() -> None:
    first, second = (Check("f", "w", value, at_most=1.0).record() for value in (1.2341e-6, 1.2349e-6))
    assert first == second


@pytest.mark.parametrize(
    ("continuation", "position"), [([5, 6, 7], None), ([5, 9, 7], 1), ([5, 6], 2), ([5, 6, 7, 8], 2)]
)
def test_a_continuation_parts_at_its_first_other_token_or_where_one_ends(
    continuation: list[int], position: int | None
) -> None:
    assert parts_at(continuation, _reference([5, 6, 7])) == position


def test_even_logits_cost_the_vocabularys_bits() -> None:
    reference = _reference([1], ids=(0, 1, 2, 3))
    assert mean_loss_bits([reference.logits], [reference]) == pytest.approx(2.0)
