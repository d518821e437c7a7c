"""A tokenizer that others made: taken as it is, if our encoder gives the ids that its makers meant.

Our encoder (`llm.tokenizer.bpe`) knows byte-level BPE. It passes over some parts of a `tokenizer.json` that others
obey, so each of them is asked for here, and whatever could give other ids, or lose text, is refused.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm.adoption.find import folder_named, product_named, refuse_other_vocabulary
from llm.adoption.origin import keep_origin, licence_of
from llm.errors import UserError
from llm.storage import Manifest, Recipe, Store, sha256_of_file
from llm.storage.products import TokenizerCounts
from llm.tokenizer.bpe import END_OF_TEXT
from llm.tokenizer.tokenizer import TOKENIZER, Tokenizer
from llm.tokenizer.train import write_files
from llm.words import shortened

SAMPLES = (
    "The quick brown fox jumps over 13 lazy dogs; it's 3.14159 o'clock!",
    "def f(x):\n    return {'a': x ** 2}  # twice\n\n\n\tif __name__ == \"__main__\":\r\n",
    "Größe, naïve façade, cafe\u0301, Привет мир, 你好世界, こんにちは, مرحبا, 👩‍👩‍👧‍👦 🇩🇪",
    "  leading, trailing  \n \t\u00a0\u2003 and <|endoftext|> as text \x00\x7f\ufffd",
)
"""Texts of many kinds, which must come back byte for byte; to them come the tokens themselves, in order."""
AT_MOST = 1 << 16
"""Tokens that are tried."""
LONGEST = 60


def adopt_tokenizer(folder: Path, store: Store) -> Manifest:
    """Bring the `tokenizer.json` of a folder into the store; counts: vocab_size and the texts that came back unchanged.

    Raises UserError, and says why, for a tokenizer that our encoder does not read as its makers meant it.
    """
    path = folder / TOKENIZER
    document = readable(path)
    digest = sha256_of_file(path)
    recipe = Recipe("adopt-tokenizer", {}, code=(__name__,), inputs={"file": {TOKENIZER: digest}})
    manifest = store.find(recipe)
    if manifest is None:
        with store.stage("tokenizer", recipe) as stage:
            write_files(document, stage.path)
            vocab_size = Tokenizer(document).vocab_size
            manifest = stage.commit(
                TokenizerCounts(vocab_size=vocab_size, documents_round_tripped=len(SAMPLES), bytes_per_token={})
            )
    keep_origin(store.objects, manifest, folder, {TOKENIZER: digest}, licence_of(folder))
    return manifest


def tokenizer_named(text: str, vocab_size: int, store: Store) -> Manifest:
    """The tokenizer that `tokenizer.adopted` names, in the store or in a folder, which is adopted now.

    Raises UserError if there is none, or if its vocabulary is not the `vocab_size` that the configuration counts with.
    """
    folder = folder_named(text)
    if folder is None:
        manifest = product_named("tokenizer.adopted", text, "tokenizer", store)
        store.found.add(manifest.id)
    else:
        manifest = adopt_tokenizer(folder, store)
    refuse_other_vocabulary(text, TokenizerCounts.of(manifest).vocab_size, vocab_size)
    return manifest


def readable(path: Path) -> str:
    """The text of a `tokenizer.json` that our encoder reads as its makers meant it; else raises UserError."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            document = file.read()
        parsed = json.loads(document)
    except FileNotFoundError as error:
        raise UserError(
            f"there is no {TOKENIZER} in {path.parent}",
            "Load the tokenizer with transformers.AutoTokenizer and call save_pretrained, which writes it.",
        ) from error
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}", "Get the file again.") from error
    problem = _problem(parsed) if isinstance(parsed, dict) else "it is no mapping"
    if problem is not None:
        raise _refused(path, problem)
    try:
        tokenizer = Tokenizer(document)
        if (problem := _changed_sample(tokenizer, document)) is not None:
            raise _refused(path, problem)
    except UserError:
        raise
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise _refused(path, str(error).splitlines()[0]) from error
    return document


def _problem(parsed: Mapping[str, Any]) -> str | None:
    """The part of a tokenizer that our encoder does not read as it is meant; None if there is none."""
    model, added = parsed.get("model"), parsed.get("added_tokens") or []
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        return "it is no BPE with a vocabulary by name"
    if model.get("type") not in ("BPE", None):
        return f"its model is {model.get('type')}, and only byte-level BPE can be read"
    if END_OF_TEXT not in {token["content"] for token in added}:
        return f"it has no token {END_OF_TEXT} for the end of a text"
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            return f"its model has {name}={model[name]}"
    if model.get("byte_fallback"):
        return "it falls back to bytes, and only byte-level BPE can be read"
    if (normalizer := parsed.get("normalizer")) is not None:
        return f"its normalizer ({normalizer.get('type')}) changes the text, which would not come back byte for byte"
    if '"add_prefix_space": true' in json.dumps(parsed.get("pre_tokenizer")):
        return "it puts a space before each text, which would not come back byte for byte"
    ids = sorted({*model["vocab"].values(), *(int(token["id"]) for token in added)})
    if ids != list(range(len(ids))):
        return "its ids have holes"
    return None


def _changed_sample(tokenizer: Tokenizer, document: str) -> str | None:
    """The first sample that does not come back, or has other ids than in `tokenizers`; None if all are well."""
    reference = _reference(document)
    pieces = [
        tokenizer.decode_bytes([row]).decode("utf-8", "ignore") for row in range(min(AT_MOST, tokenizer.vocab_size))
    ]
    for sample in (*SAMPLES, "".join(pieces), " ".join(pieces)):
        ids = tokenizer.encode(sample)
        if tokenizer.decode_bytes(ids) != sample.encode():
            return f"the text {shortened(sample, LONGEST)!r} does not come back byte for byte"
        if reference is not None and ids != reference.encode(sample, add_special_tokens=False).ids:
            return f"the text {shortened(sample, LONGEST)!r} has other ids in the library tokenizers"
    return None


def _reference(document: str) -> Any:
    """The same in Hugging Face's library, which reads every part; None where it is not installed."""
    try:  # by its name: it decides what is taken, and no byte of it, so no recipe counts its version
        library = importlib.import_module("tokenizers")
    except ImportError:
        return None
    plain = json.loads(document)
    plain["added_tokens"] = []  # as in our encoder: text is never read as a special token
    plain["post_processor"] = None
    return library.Tokenizer.from_str(json.dumps(plain))


def _refused(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} cannot be used: {why}",
        f"Gristmill reads byte-level BPE with the token {END_OF_TEXT}, as in GPT-2, OLMo or SmolLM.",
    )
