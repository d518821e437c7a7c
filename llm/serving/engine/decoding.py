"""Requests that decode side by side: one ONNX Runtime GenAI generator a slot, stepped in turn by one thread.

A slot's answer depends on its own request only, so other requests do not change a stream. Limit: slots
do not share a forward pass, so a model that is too large for the processor's caches reads its weights once a slot
and token. GenAI's batching engine needs a GPU (PagedAttention); its CPU engine lets nobody join a running batch.
This file is copied next to `model.py` into the model repository and imports nothing of `llm`.
"""

from __future__ import annotations

import json
import os
import threading
import traceback
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import; `llm.telemetry` is not here to say it

import onnxruntime_genai as og

END_OF_TEXT = "<|endoftext|>"
CPUS = "GRISTMILL_CPUS"
"""Environment variable with the threads that one step of the model may use."""
REPLACEMENT = "\ufffd"
"""The result of decoding bytes that are not whole characters (yet)."""


class BadRequest(Exception):
    """The request cannot be served; the message goes to its sender, others are not touched."""


@dataclass(frozen=True)
class Request:
    """A text to continue, and how: the same meaning and limits as `llm.generation.Sampling`."""

    prompt: str
    max_tokens: int
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def check(self, max_new_tokens: int) -> None:
        """Raise BadRequest for a value outside its range."""
        _require(1 <= self.max_tokens <= max_new_tokens, "max_tokens", self.max_tokens, f"1 to {max_new_tokens}")
        _require(0 <= self.temperature < float("inf"), "temperature", self.temperature, "0 (greedy) or more")
        _require(self.top_k is None or self.top_k >= 1, "top_k", self.top_k, "1 or more")
        _require(self.top_p is None or 0 < self.top_p <= 1, "top_p", self.top_p, "above 0, at most 1")
        _require(0 <= self.seed < 2**31, "seed", self.seed, "0 to 2^31 - 1")


class Sink(Protocol):
    """The receiver of a request's answer; called from the decoding thread only."""

    def token(self, text: str, token: int, finish_reason: str | None) -> None:
        """Take a token; `finish_reason` (`stop` or `length`) comes with the last."""

    def fail(self, reason: str) -> None:
        """Take the reason why no more will come."""

    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""

    def close(self) -> None:
        """End a cancelled answer."""


@dataclass
class Slot:
    """One request being answered."""

    generator: og.Generator
    sink: Sink
    room: int
    made: int = 0
    pending: list[int] = field(default_factory=list)
    """Tokens whose bytes are not whole characters yet."""


class Decoder:
    """The model, its tokenizer and the requests in flight; `submit` waits while all slots are taken."""

    def __init__(self, folder: Path, *, max_slots: int, max_new_tokens: int) -> None:
        """Load a folder of the export step and start the decoding thread."""
        self.max_new_tokens = max_new_tokens
        self._model = _model(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.encode_special_tokens = True  # `<|endoftext|>` in a prompt is text, as it was in training
        self._end_of_text = self._tokenizer.token_to_id(END_OF_TEXT)
        self._vocab_size = int(json.loads((folder / "genai_config.json").read_text())["model"]["vocab_size"])
        self._context_tokens = int(og.GeneratorParams(self._model).get_search_options()["max_length"])
        self._free = threading.Semaphore(max_slots)
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Request, Sink]] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._decode, name="decoding", daemon=True)
        self._thread.start()

    def submit(self, request: Request, sink: Sink) -> None:
        """Put a request into a slot as soon as one is free; its answer goes to the sink."""
        self._free.acquire()
        with self._changed:
            self._waiting.append((request, sink))
            self._changed.notify()

    def stop(self) -> None:
        """End the thread; requests in flight get an answer that says so."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _decode(self) -> None:
        try:
            self._step_in_turn()
        except Exception:  # noqa: BLE001  (the thread's edge: without it, all streams would hang)
            traceback.print_exc()
            os._exit(1)  # Triton fails the requests in flight and says that the stub died

    def _step_in_turn(self) -> None:
        slots: list[Slot] = []
        while True:
            with self._changed:
                while not (self._waiting or slots or self._stopping):
                    self._changed.wait()
                if self._stopping:
                    break
                arrived = [self._waiting.popleft() for _ in range(len(self._waiting))]
            slots += [slot for request, sink in arrived if (slot := self._open(request, sink)) is not None]
            slots = [slot for slot in slots if self._advance(slot)]
        for sink in [slot.sink for slot in slots] + [sink for _, sink in self._waiting]:
            sink.fail("the server is stopping")

    def _open(self, request: Request, sink: Sink) -> Slot | None:
        """A slot that has read the prompt, or None after telling the sink why not."""
        try:
            request.check(self.max_new_tokens)
            ids = [self._end_of_text, *self._tokenizer.encode(request.prompt, add_special_tokens=False).ids]
            if len(ids) >= self._context_tokens:
                raise BadRequest(
                    f"the prompt is too long: {len(ids)} tokens with {END_OF_TEXT}; the model's context is"
                    f" {self._context_tokens}, and at least one token more must fit"
                )
            room = min(request.max_tokens, self._context_tokens - len(ids))
            generator = og.Generator(self._model, self._parameters(request, len(ids) + room))
            generator.append_tokens(np.array(ids, dtype=np.int32))
        except (BadRequest, RuntimeError) as error:  # RuntimeError: all that GenAI raises
            sink.fail(str(error))
            self._free.release()
            return None
        return Slot(generator, sink, room)

    def _advance(self, slot: Slot) -> bool:
        """One token more; False if that was the last."""
        if slot.sink.cancelled():
            slot.sink.close()
            self._free.release()
            return False
        try:
            slot.generator.generate_next_token()
            token = int(slot.generator.get_next_tokens()[0])
        except RuntimeError as error:
            slot.sink.fail(str(error))
            self._free.release()
            return False
        slot.made += 1
        reason = "stop" if token == self._end_of_text else "length" if slot.made == slot.room else None
        slot.sink.token(self._text(slot, token, last=reason is not None), token, reason)
        if reason is not None:
            self._free.release()
        return reason is None

    def _text(self, slot: Slot, token: int, *, last: bool) -> str:
        """The text that has become whole with this token."""
        if token != self._end_of_text:
            slot.pending.append(token)
        text: str = self._tokenizer.decode(slot.pending, skip_special_tokens=False)
        if text.endswith(REPLACEMENT) and not last:
            return ""
        slot.pending.clear()
        return text

    def _parameters(self, request: Request, max_length: int) -> og.GeneratorParams:
        parameters = og.GeneratorParams(self._model)
        sampling = request.temperature > 0
        narrowed = request.top_k is not None or (request.top_p is not None and request.top_p < 1)
        parameters.set_search_options(
            max_length=max_length,
            do_sample=sampling,
            temperature=request.temperature if sampling else 1.0,
            # GenAI 0.18 with top_p and no top_k draws outside the set that top_p allows; with all k it does not.
            top_k=min(request.top_k or self._vocab_size, self._vocab_size) if narrowed else 0,
            top_p=1.0 if request.top_p is None else request.top_p,
            random_seed=request.seed,
        )
        return parameters


def _model(folder: Path) -> og.Model:
    """The model, on as many threads as this process was given; ONNX Runtime alone would take every core of the node."""
    config = og.Config(str(folder))
    if (cpus := os.environ.get(CPUS)) is not None:
        options = {"intra_op_num_threads": max(1, int(cpus))}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    return og.Model(config)


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise BadRequest(f"{name}={value} is not possible; allowed: {allowed}")
