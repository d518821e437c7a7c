"""The decoding that runs inside Triton, here without Triton."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import torch

from llm.generation import Generator, Sampling
from llm.generation.sampling import candidate_probabilities
from llm.serving.engine.decoding import Decoder, Request
from tests.cases.export import MODEL, Case


@dataclass
class Collected:
    """A sink that keeps what it is given; `hangs_up_after` tokens the client is gone."""

    hangs_up_after: int | None = None
    pieces: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    error: str | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def token(self, text: str, token: int, finish_reason: str | None) -> None:
        self.pieces.append(text)
        self.tokens.append(token)
        self.finish_reason = finish_reason
        if finish_reason is not None:
            self.ended.set()

    def fail(self, reason: str) -> None:
        self.error = reason
        self.ended.set()

    def cancelled(self) -> bool:
        return self.hangs_up_after is not None and len(self.tokens) >= self.hangs_up_after

    def close(self) -> None:
        self.ended.set()

    def wait(self) -> Collected:
        assert self.ended.wait(60)
        return self


@pytest.fixture
def decoder(case: Case) -> Iterator[Decoder]:
    decoder = Decoder(case.exported.folder / "onnx-fp32", max_slots=3, max_new_tokens=100)
    yield decoder
    decoder.stop()


def _ask(decoder: Decoder, prompt: str, max_tokens: int = 20, **settings: float) -> Collected:
    sink = Collected()
    decoder.submit(Request(prompt, max_tokens, **settings), sink)
    return sink


def test_more_requests_than_slots_each_get_the_checkpoints_greedy_answer(case: Case, decoder: Decoder) -> None:
    reference = Generator.open(case.checkpoint, case.tokenizer)
    prompts = ["def ", "import ", "class A:\n", "", "return x<|endoftext|>y", "# ünï\u2713 ", "    if "]
    answers = [_ask(decoder, prompt) for prompt in prompts]
    for prompt, answer in zip(prompts, answers, strict=True):
        answer.wait()
        expected = list(reference.tokens(prompt, 20))
        assert answer.tokens[: len(expected)] == expected
        assert len(answer.tokens) == len(expected) + (answer.finish_reason == "stop")
        assert "".join(answer.pieces) == reference.complete(prompt, 20)


def test_a_seed_repeats_a_drawn_answer_and_another_seed_does_not(decoder: Decoder) -> None:
    first, again, other = (_ask(decoder, "def ", temperature=1.5, seed=seed).wait().tokens for seed in (1, 1, 2))
    assert first == again != other


def test_the_likeliest_token_alone_is_greedy(decoder: Decoder) -> None:
    greedy = _ask(decoder, "def ").wait().tokens
    assert _ask(decoder, "def ", temperature=2.0, top_k=1).wait().tokens == greedy
    assert _ask(decoder, "def ", temperature=2.0, top_p=1e-6).wait().tokens == greedy


@pytest.mark.parametrize("settings", [{"top_p": 0.5}, {"top_k": 5}, {"top_k": 9, "top_p": 0.6}, {"top_k": 10**6}])
def test_only_what_the_settings_allow_is_drawn(case: Case, decoder: Decoder, settings: dict[str, float]) -> None:
    reference = Generator.open(case.checkpoint, case.tokenizer)
    ids = torch.tensor([[reference.tokenizer.end_of_text, *reference.tokenizer.encode("def ")]])
    with torch.inference_mode():
        logits = reference.model(ids)[0, -1]
    _, allowed = candidate_probabilities(logits, Sampling(temperature=2.0, **settings))
    drawn = {_ask(decoder, "def ", 1, temperature=2.0, seed=seed, **settings).wait().tokens[0] for seed in range(150)}
    assert len(drawn) > 1
    assert drawn <= set(allowed.tolist())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_tokens": 0}, "max_tokens=0 is not possible; allowed: 1 to 100"),
        ({"max_tokens": 101}, "max_tokens=101 is not possible; allowed: 1 to 100"),
        ({"temperature": -1.0}, "temperature=-1.0 is not possible; allowed: 0 (greedy) or more"),
        ({"temperature": float("nan")}, "temperature=nan is not possible; allowed: 0 (greedy) or more"),
        ({"top_k": 0}, "top_k=0 is not possible; allowed: 1 or more"),
        ({"top_p": 0.0}, "top_p=0.0 is not possible; allowed: above 0, at most 1"),
        ({"seed": -1}, "seed=-1 is not possible; allowed: 0 to 2^31 - 1"),
    ],
)
def test_a_bad_request_fails_alone(decoder: Decoder, settings: dict[str, float], reason: str) -> None:
    good = _ask(decoder, "def ")
    assert _ask(decoder, "def ", **settings).wait().error == reason
    assert good.wait().error is None


def test_a_prompt_that_fills_the_context_is_refused_and_one_below_gets_a_token(decoder: Decoder) -> None:
    room = MODEL.max_position_embeddings - 1  # one is taken by <|endoftext|>
    error = _ask(decoder, "§" * room).wait().error
    assert error is not None
    assert error.endswith("the model's context is 128, and at least one token more must fit")
    answer = _ask(decoder, "§" * ((room - 1) // 2)).wait()
    assert (answer.error, answer.finish_reason, len(answer.tokens)) == (None, "length", 1)


def test_slots_of_clients_that_have_gone_are_free_again(decoder: Decoder) -> None:
    gone = [Collected(hangs_up_after=2) for _ in range(7)]
    for sink in gone:
        decoder.submit(Request("def ", 100), sink)
    assert all(len(sink.wait().tokens) == 2 for sink in gone)
    assert _ask(decoder, "def ", 5).wait().finish_reason == "length"


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in Linux's /proc")
def test_the_model_runs_on_as_many_threads_as_it_is_given(
    case: Case, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = {}  # `decoder` has started what ONNX Runtime needs once
    for threads in (1, 4):
        monkeypatch.setenv("GRISTMILL_CPUS", str(threads))
        before = set(os.listdir("/proc/self/task"))
        decoder = Decoder(case.exported.folder / "onnx-fp32", max_slots=1, max_new_tokens=100)
        started[threads] = len(set(os.listdir("/proc/self/task")) - before)
        assert _ask(decoder, "def ", 5).wait().error is None
        decoder.stop()
    assert started[4] == started[1] + 3


def test_stopping_tells_those_who_wait(case: Case) -> None:
    decoder = Decoder(case.exported.folder / "onnx-fp32", max_slots=2, max_new_tokens=100)
    answers = [_ask(decoder, "def ", 100) for _ in range(2)]
    decoder.stop()
    assert all(answer.wait().error == "the server is stopping" or answer.finish_reason for answer in answers)
