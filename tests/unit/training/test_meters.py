"""The figures of each step: MFU against a count by hand, waits, rates, the loss scale, and bits per byte."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest

from llm.runs.event_kinds import TrainPlan, TrainStep, TrainValidation
from llm.tokenizer.token_bytes import token_bytes
from llm.tracking.points import points
from llm.training.rank.meters import Wait
from llm.training.trainer import Trainer
from tests.cases.training import VOCABULARY

Make = Callable[..., Trainer]


def test_the_mfu_is_the_count_by_hand_with_the_window_as_it_is_computed(make_trainer: Make):
    """Width 32, two heads of 16, one key/value head, inner width 48, 64 tokens, sequences of 16, a window of 4."""
    window = {"sliding_window": 4, "layer_types": ("sliding_attention", "full_attention")}
    trainer = make_trainer(model=window)
    trainer.train(3)
    attention_matrices = 32 * 32 + 2 * 32 * 16 + 32 * 32  # queries, keys and values of one head, output
    layers = 2 * (attention_matrices + 3 * 32 * 48)
    weights = 6 * (layers + 64 * 32)  # forward 2, backward 4; the head, and not the look-up
    scores = 12 * 2 * 16 * (4 + 16)  # scores and mix: of the window in one layer, of all in the other
    by_hand = weights + scores
    (plan,) = trainer.log.of_kind(TrainPlan)
    assert plan.flops_per_token == by_hand == 112_128
    for event in trainer.log.of_kind(TrainStep):
        assert event.tokens_per_second is not None
        assert event.mfu == pytest.approx(event.tokens_per_second * by_hand / plan.peak_flops, rel=0.01, abs=1e-4)


def test_a_wait_is_the_time_since_it_was_asked_last(monkeypatch: pytest.MonkeyPatch):
    now = iter([1.0, 3.0, 10.0, 10.5, 20.0, 24.0])
    monkeypatch.setattr("llm.training.rank.meters.time.perf_counter", lambda: next(now))
    wait = Wait()
    for _ in range(2):
        with wait:
            pass
    assert (wait.take(), wait.take()) == (2.5, 0.0)
    with pytest.raises(KeyError), wait:
        raise KeyError
    assert wait.take() == 4.0


def test_each_step_tells_its_waits_and_only_groups_and_fp16_have_more(make_trainer: Make):
    trainer = make_trainer({"checkpoints.every_steps": 2})
    trainer.train(4)
    told = trainer.log.of_kind(TrainStep)
    assert all(event.data_seconds is not None and 0 <= event.data_seconds < 60 for event in told)
    assert [event.checkpoint_seconds is not None for event in told] == [False, False, True, False]
    assert {(event.rates, event.loss_scale) for event in told} == {(None, None)}


def test_the_rate_of_each_group_is_told(make_trainer: Make):
    trainer = make_trainer({"optimizer.groups": [{"match": "norm", "lr_factor": 0.25}]})
    trainer.train(1)
    (event,) = trainer.log.of_kind(TrainStep)
    assert event.rates is not None
    assert sorted(set(event.rates)) == pytest.approx([0.25 * event.lr, event.lr])
    assert {point.name for point in points(event)} >= {"train/lr", "train/lr/0", "train/lr/1"}


def test_the_loss_scale_of_fp16_is_told(make_trainer: Make):
    trainer = make_trainer({"compute.precision": "fp16"})
    trainer.train(1)
    (event,) = trainer.log.of_kind(TrainStep)
    assert event.loss_scale in (2.0**16, 2.0**15)


DOCUMENT = {
    "model": {"vocab": {"a": 0, "bc": 1, "Ġd": 2, "<|endoftext|>": 3}},
    "added_tokens": [
        {"id": 3, "content": "<|endoftext|>", "special": True},
        {"id": 5, "content": "é", "special": False},
    ],
}


def test_the_bytes_of_tokens_are_those_of_their_texts():
    found = token_bytes(json.dumps(DOCUMENT))
    assert found is not None
    assert found.tolist() == [1, 2, 2, 0, 0, 2]
    for other in (
        "{}",
        "[]",
        "null",
        '{"model": {"vocab": {}}}',
        '{"model": {"vocab": [["a", -1.5]]}}',
        '{"model": 3}',
    ):
        assert token_bytes(other) is None


def test_the_validation_loss_is_told_in_bits_for_each_byte_too(make_trainer: Make, monkeypatch: pytest.MonkeyPatch):
    """Each token of an even number stands for three bytes, and each odd one for one."""
    vocabulary = {chr(0x100 + number) * (1 if number % 2 else 3): number for number in range(VOCABULARY)}
    monkeypatch.setattr(
        "llm.training.callbacks._validate.token_bytes",
        lambda _: token_bytes(json.dumps({"model": {"vocab": vocabulary}})),
    )
    trainer = make_trainer()
    trainer.train(12)
    targets = trainer.shards.tokens("validation")[: 64 * 16 + 1][1:]
    targets = targets[: len(targets) // 16 * 16]
    mean = sum(1 if number % 2 else 3 for number in targets.tolist()) / len(targets)
    for event in trainer.log.of_kind(TrainValidation):
        assert event.bits_per_byte == pytest.approx(event.loss / math.log(2) / mean)
        named = {point.name: point.value for point in points(event)}
        assert named["validation/perplexity"] == pytest.approx(math.exp(event.loss))


def test_a_tokenizer_that_does_not_say_its_bytes_leaves_them_out(make_trainer: Make):
    trainer = make_trainer()
    trainer.train(6)
    assert [event.bits_per_byte for event in trainer.log.of_kind(TrainValidation)] == [None]


def test_a_loss_whose_perplexity_is_no_number_has_none():
    for loss in (800.0, math.inf, math.nan):
        assert "validation/perplexity" not in {point.name for point in points(TrainValidation(step=1, loss=loss))}
