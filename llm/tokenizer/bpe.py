"""Byte-level BPE: the trainer and the encoder, each behind one small protocol.

The implementation is gigatoken, the fastest of both kinds that was measured (docs/decisions/0004-tokenizer.md). Its
result is kept as a Hugging Face `tokenizer.json`, and ids equal those of Hugging Face's `tokenizers` on that file.
Text is cut by GPT-2's pattern first (Radford et al. 2019), then merged (Sennrich et al. 2015, arXiv:1508.07909).
"""

from __future__ import annotations

import json
import os
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

END_OF_TEXT = "<|endoftext|>"
"""The token before every document: beginning and end of text in one."""

SEPARATOR = b"\x00"
"""Between documents while training; a document that holds it is cut there, which costs one merge at most."""

Ids = np.ndarray[tuple[int], np.dtype[np.uint32]]
Merges = list[tuple[bytes, bytes]]


class BpeTrainer(Protocol):
    """Learns a vocabulary from text."""

    def train(self, texts: Sequence[str], vocab_size: int) -> str:
        """A `tokenizer.json` with at most `vocab_size` entries; fewer if the text cannot fill them."""


class Encoder(Protocol):
    """Text to ids and back; text is never read as a special token."""

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text."""

    def decode(self, ids: Sequence[int] | Ids) -> bytes:
        """The bytes of ids, none of them special."""


class GigatokenTrainer:
    """gigatoken's trainer; ties are broken as Hugging Face's trainer does, so the result is deterministic."""

    def train(self, texts: Sequence[str], vocab_size: int) -> str:
        """See BpeTrainer."""
        import gigatoken

        data = SEPARATOR.join(text.encode() for text in texts)
        with _quiet():
            _, merges = gigatoken.train_bpe(data, vocab_size - 1, [], separator=SEPARATOR)
        return _tokenizer_json(merges[: _occurring(merges, texts)])


class GigatokenEncoder:
    """gigatoken's encoder over a `tokenizer.json`."""

    def __init__(self, document: str) -> None:
        import gigatoken

        plain = json.loads(document)
        plain["added_tokens"] = []  # so that the text "<|endoftext|>" in a document stays text
        self._tokenizer = gigatoken.Tokenizer.from_json(json.dumps(plain))

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """See Encoder."""
        import awkward

        if not texts:
            return []
        rows = self._tokenizer.encode_batch(list(texts))
        ends = np.cumsum(awkward.num(rows).to_numpy())
        ids: Ids = awkward.flatten(rows).to_numpy()
        return np.split(ids, ends[:-1])  # an awkward array hands out its rows a hundred times slower

    def decode(self, ids: Sequence[int] | Ids) -> bytes:
        """See Encoder."""
        data: bytes = self._tokenizer.decode(np.asarray(ids, dtype=np.uint32))
        return data


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte, in which byte-level vocabularies are written down."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def _occurring(merges: Merges, texts: Sequence[str]) -> int:
    """The number of merges, from the first on, that occur in the texts.

    gigatoken does not stop when every word of the texts is one token: it goes on with merges that occur nowhere, some
    of them for the second time, and an id that two entries share would leave a hole in the vocabulary.
    """
    pieces = {left + right for left, right in merges}
    words = set()
    for word in _words(texts):
        if len(word) > 1 and word not in pieces:
            return len(merges)  # nearly always known after the first words
        words.add(word.decode())

    def suffice(count: int) -> bool:
        ids = GigatokenEncoder(_tokenizer_json(merges[:count])).encode_batch(list(words))
        return all(len(row) == 1 for row in ids)

    return bisect_left(range(len(merges)), True, key=suffice)


def _words(texts: Sequence[str]) -> Iterator[bytes]:
    """The parts of the texts that the trainer counts; no merge crosses their border."""
    import gigatoken

    for text in texts:
        for part in text.encode().split(SEPARATOR):
            yield from gigatoken.pretokenizer(part)


def _tokenizer_json(merges: Merges) -> str:
    alphabet = byte_alphabet()
    merges = list(dict.fromkeys(merges))
    pieces = dict.fromkeys([*(bytes([byte]) for byte in range(256)), *(left + right for left, right in merges)])

    def written(piece: bytes) -> str:
        return "".join(alphabet[byte] for byte in piece)

    end_of_text: dict[str, Any] = {"id": len(pieces), "content": END_OF_TEXT, "single_word": False,
                                   "lstrip": False, "rstrip": False, "normalized": False, "special": True}  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [end_of_text],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {written(piece): number for number, piece in enumerate(pieces)},
            "merges": [[written(left), written(right)] for left, right in merges],
        },
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the output of native code off the terminal: it writes to the descriptors, past Python's streams."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved, null = [os.dup(1), os.dup(2)], os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            os.dup2(null, descriptor)
        yield
    finally:
        for descriptor, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(null)
