"""The bytes of text that each token stands for, out of a `tokenizer.json`, without the library that encodes."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt


def token_bytes(document: bytes | str) -> npt.NDArray[np.int64] | None:
    """Bytes by the id of the token; None for a document that is no byte-level BPE.

    A byte-level vocabulary writes a printable character for each byte. A special token, such as the end of a text,
    stands for no byte of it.
    """
    found = json.loads(document)
    model = found.get("model") if isinstance(found, dict) else None
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocabulary, dict) or not vocabulary:
        return None
    lengths = {int(number): len(token) for token, number in vocabulary.items()}
    for token in found.get("added_tokens", ()):
        lengths[int(token["id"])] = 0 if token.get("special") else len(token["content"].encode())
    by_id = np.zeros(max(lengths) + 1, dtype=np.int64)
    by_id[list(lengths)] = list(lengths.values())
    return by_id
