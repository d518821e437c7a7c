"""ONNX with a key/value cache: folders that ONNX Runtime GenAI runs as they are.

Built by GenAI's own model builder from the Hugging Face folder: grouped-query attention with rotary embeddings as
one operator; int4 is round-to-nearest in blocks of 32. Equal weights give equal bytes. The builder prints a lot:
its output goes to a log file next to the run's events.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from llm.errors import UserError
from llm.export.reference import Logits

MODEL = "model.onnx"
CONFIG = "genai_config.json"


def build(source: Path, folder: Path, precision: str, builder_log: Path) -> None:
    """Build a GenAI folder from a Hugging Face folder; raises UserError with the builder's reason."""
    builder_log.parent.mkdir(parents=True, exist_ok=True)
    with _talking_to(builder_log), _outside_of_git(), tempfile.TemporaryDirectory() as cache:
        from onnxruntime_genai.models.builder import create_model, parse_extra_options

        where = ("", str(source), str(folder), precision, "cpu", cache)
        try:
            create_model(*where, **parse_extra_options(*where, []))
        except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
            raise UserError(
                f"the model could not be built as ONNX {precision}: {error}", f"The builder's log: {builder_log}"
            ) from error


class OnnxModel:
    """A built folder, open for comparison."""

    def __init__(self, folder: Path) -> None:
        """Open the graph and its settings."""
        import onnxruntime

        self._folder = folder
        self._settings = json.loads((folder / CONFIG).read_text())["model"]
        self._session = onnxruntime.InferenceSession(folder / MODEL, providers=["CPUExecutionProvider"])

    def logits(self, ids: Sequence[int]) -> Logits:
        """Logits of the next token after each of the ids, [T, V], read with an empty cache."""
        decoder = self._settings["decoder"]
        ids_BT = np.array([ids], dtype=np.int64)
        empty_BKSH = np.zeros((1, decoder["num_key_value_heads"], 0, decoder["head_size"]), dtype=np.float32)
        past = {tensor.name: empty_BKSH for tensor in self._session.get_inputs() if tensor.name.startswith("past")}
        feed = {"input_ids": ids_BT, "attention_mask": np.ones_like(ids_BT), **past}
        logits_BTV = self._session.run(["logits"], feed)[0]
        result: Logits = logits_BTV[0]
        return result

    def greedy(self, prompts: Sequence[Sequence[int]], tokens: Sequence[int]) -> list[list[int]]:
        """Greedy continuations by ONNX Runtime GenAI, with its cache, as they are served."""
        import onnxruntime_genai as og

        model = og.Model(str(self._folder))
        continuations = []
        for prompt, room in zip(prompts, tokens, strict=True):
            parameters = og.GeneratorParams(model)
            parameters.set_search_options(max_length=len(prompt) + room, do_sample=False)
            generator = og.Generator(model, parameters)
            generator.append_tokens(np.array(prompt, dtype=np.int32))
            while not generator.is_done():
                generator.generate_next_token()
            continuations.append([int(token) for token in generator.get_sequence(0)[len(prompt) :]])
        return continuations


@contextlib.contextmanager
def _talking_to(path: Path) -> Iterator[None]:
    """Send what libraries print, log or warn to a file, in this block only."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    with path.open("w", encoding="utf-8") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.handlers[:] = [logging.StreamHandler(file)]
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
        finally:
            logger.handlers[:] = handlers
            logger.setLevel(level)


@contextlib.contextmanager
def _outside_of_git() -> Iterator[None]:
    """Let the builder find no repository: it stamps the model with the commit of the one around its own files, which
    is the project's if the environment lies in it, and then equal weights would not give equal bytes."""
    before = os.environ.get("GIT_DIR")
    os.environ["GIT_DIR"] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ["GIT_DIR"]
        else:
            os.environ["GIT_DIR"] = before
