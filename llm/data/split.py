"""Train, validation and test by a hash of the content.

A document's place depends on its own text and on nothing else: not on the order of the files, not on the other
documents, not on a seed. The same text in next year's corpus is in the same split, so a text that was held out stays
held out. A document that was made from another (the docstrings of a module) goes where its source goes: a model that
trained on the module has read its docstrings.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm.data.documents import SPLITS, Document
from llm.errors import UserError


def split_of(document: Document, validation_fraction: float, test_fraction: float) -> str:
    """The split of a document: `test` for the lowest ids, `validation` for the next, `train` for the rest.

    Laws: equal content, equal split; a larger test share moves documents only into it.
    """
    key = document.meta.get("derived_from", document.id)
    place = int(key[:16], 16) / 2**64  # an id is a hash: uniform in [0, 1)
    if place < test_fraction:
        return "test"
    return "validation" if place < test_fraction + validation_fraction else "train"


def check_no_split_is_empty(documents: Mapping[str, int]) -> None:
    """Raise UserError, saying how many documents there are, if a split has none."""
    empty = [split for split in SPLITS if not documents[split]]
    if empty:
        total = sum(documents.values())
        raise UserError(
            f"too few documents to split: of {total} {'document' if total == 1 else 'documents'},"
            f" none fell into {' and '.join(empty)}",
            "All three splits need documents; there are "
            + ", ".join(f"{documents[split]} for {split}" for split in SPLITS)
            + ".",
            "Give more documents (one long file is one document: cut it into parts, or write JSON Lines), or raise"
            " data.validation_fraction and data.test_fraction.",
        )
