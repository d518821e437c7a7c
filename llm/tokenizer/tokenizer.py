"""A trained tokenizer: text to ids and back.

Law: `decode(encode(text)) == text` for every text, whatever it holds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llm.errors import DamagedError, UserError
from llm.storage import Manifest, Parent
from llm.tokenizer.bpe import END_OF_TEXT, Encoder, GigatokenEncoder, Ids

TOKENIZER = "tokenizer.json"


class Tokenizer:
    """The tokenizer that a `tokenizer.json` describes."""

    def __init__(self, document: str) -> None:
        parsed = json.loads(document)
        added = {token["content"]: int(token["id"]) for token in parsed["added_tokens"]}
        self.end_of_text = added[END_OF_TEXT]
        """Id of the token before every document."""
        self.vocab_size = 1 + max(*parsed["model"]["vocab"].values(), *added.values())
        """Entries, the special ones included; GPT-2's file has its special one in the vocabulary too."""
        self._special = np.asarray(sorted(added.values()), dtype=np.uint32)
        self._encoder: Encoder = GigatokenEncoder(document)

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the end-of-text token; raises UserError if it is no Unicode text."""
        try:
            text.encode()
        except UnicodeEncodeError as error:  # a terminal or a client gave bytes that are not UTF-8
            raise UserError(
                f"the text is not valid Unicode: character {error.start} is {text[error.start]!a}",
                "Give it in UTF-8.",
            ) from error
        return [int(token) for token in self.encode_batch([text])[0]]

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of many texts, uint32 arrays."""
        return self._encoder.encode_batch(texts)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """The text of ids; special tokens are left out, bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Sequence[int] | Ids) -> bytes:
        """The bytes of ids, special tokens left out: exact, where a cut may fall inside a character."""
        kept = np.asarray(ids, dtype=np.uint32)
        return self._encoder.decode(kept[~np.isin(kept, self._special)])


def load(folder: Path) -> Tokenizer:
    """The tokenizer in a folder; raises DamagedError if its file is not one of ours."""
    path = folder / TOKENIZER
    try:
        return Tokenizer(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError) as error:
        raise DamagedError(f"{path} is not a tokenizer of ours: {error}", "Run the step tokenizer again.") from error


def tokenizer_of(checkpoint: Manifest) -> Manifest:
    """The tokenizer that a checkpoint was trained with, from its lineage; raises UserError."""
    own = _parent(checkpoint)
    if own is None:
        raise UserError(
            f"checkpoint {checkpoint.id} does not name its tokenizer",
            "Its manifest should have a parent of kind tokenizer. Train it again with this version.",
        )
    return Manifest.read_uri(own.uri)


def refuse_other_tokenizer(checkpoint: Manifest, tokenizer: Manifest) -> None:
    """Raise UserError unless the checkpoint was trained with this tokenizer: its ids would mean other text."""
    own = _parent(checkpoint)
    if own is not None and own.id != tokenizer.id:
        raise UserError(
            f"checkpoint {checkpoint.id} was trained with tokenizer {own.id}, not with {tokenizer.id}",
            "The text or the tokenizer's settings were changed after the training. Train again.",
        )


def _parent(checkpoint: Manifest) -> Parent | None:
    return next((parent for parent in checkpoint.parents if parent.kind == "tokenizer"), None)
