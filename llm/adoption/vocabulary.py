"""Rows of an embedding for another vocabulary: each new row is the mean of some rows of the old one.

A token that both tokenizers have takes its row along. Any other takes the mean of the rows of its parts, as the old
tokenizer cuts its text: so a new token begins where the model would have been with the old ones (Hewitt 2021,
"Initializing new word embeddings for pretrained language models", argues for a mean over random numbers).
Where the old tokenizer is not known, ids are taken to mean the same, and each id beyond them gets the mean of all rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.errors import UserError
from llm.tokenizer.bpe import byte_alphabet
from llm.tokenizer.tokenizer import TOKENIZER, Tokenizer, load


@dataclass(frozen=True)
class RowPlan:
    """The old rows that each new row is the mean of; none: the mean of all."""

    sources: tuple[tuple[int, ...], ...]
    """Ids of the old vocabulary, by id of the new one."""
    kept: int
    """Rows that are taken as they are."""

    @property
    def of_parts(self) -> int:
        """Rows that are the mean of the rows of a token's parts."""
        return sum(map(bool, self.sources)) - self.kept

    @property
    def of_all(self) -> int:
        """Rows that are the mean of all rows."""
        return len(self.sources) - sum(map(bool, self.sources))

    @property
    def changes_nothing(self) -> bool:
        """Whether all rows are kept in their places."""
        return all(parts == (new,) for new, parts in enumerate(self.sources))


def by_id(old_size: int, new_size: int) -> RowPlan:
    """Ids mean the same: rows beyond the old vocabulary are the mean of all."""
    kept = min(old_size, new_size)
    return RowPlan((*((row,) for row in range(kept)), *((),) * (new_size - kept)), kept)


def refuse_smaller(old_size: int, new_size: int) -> None:
    """Raise UserError for a vocabulary that is smaller than the checkpoint's, whose tokenizer is not known."""
    if new_size < old_size:
        raise UserError(
            f"the vocabulary has {new_size} entries, and the checkpoint {old_size}: rows would be lost",
            "Its tokenizer is not known, so nobody can say which. Adopt the checkpoint from a folder that holds its"
            " tokenizer.json too.",
        )


def by_token(old: Path, new: Path, old_size: int, new_size: int) -> RowPlan:
    """Tokens of the tokenizer in `new` by their text in that in `old`; raises DamagedError if one cannot be read."""
    cut, mine, theirs = load(old), _tokens(new), {content: row for row, content in _tokens(old).items()}
    load(new)
    sources: list[tuple[int, ...]] = []
    kept = 0
    for row in range(new_size):
        content = mine.get(row)
        same = None if content is None else theirs.get(content)
        if same is not None and same < old_size:
            sources.append((same,))
            kept += 1
        else:
            parts = () if content is None else _parts(content, cut, theirs)
            sources.append(tuple(part for part in parts if part < old_size))
    return RowPlan(tuple(sources), kept)


def _tokens(folder: Path) -> dict[int, str]:
    """Each token as the vocabulary writes it, by id; a special token in plain text."""
    parsed: Mapping[str, Any] = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
    found = {int(row): content for content, row in parsed["model"]["vocab"].items()}
    return found | {int(token["id"]): token["content"] for token in parsed["added_tokens"]}


def _parts(content: str, cut: Tokenizer, known: Mapping[str, int]) -> tuple[int, ...]:
    """The old ids of a token's text; of each of its bytes where they are a part of a character."""
    bytes_of = {character: byte for byte, character in byte_alphabet().items()}
    if not all(character in bytes_of for character in content):  # a special token, in plain text
        return tuple(cut.encode(content))
    try:
        return tuple(cut.encode(bytes(bytes_of[character] for character in content).decode()))
    except UnicodeDecodeError:
        return tuple(known[character] for character in content if character in known)
