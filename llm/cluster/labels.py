"""The names that Kubernetes takes: values of labels, and readable names that do not collide."""

from __future__ import annotations

import hashlib
import re

from llm.config.sections.cluster import LABEL_VALUE

LABEL_CHARACTERS = 63
HASH_CHARACTERS = 8


def is_label_value(text: str) -> bool:
    """Whether Kubernetes takes the text as a label's value, and it says something."""
    return bool(text) and LABEL_VALUE.fullmatch(text) is not None


def label_value(text: str) -> str:
    """The text as a label's value: the text itself if Kubernetes takes it, else a readable part and a hash."""
    if is_label_value(text):
        return text
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[: LABEL_CHARACTERS - HASH_CHARACTERS - 1].strip("-_.")
    return f"{readable}-{short_hash(text)}".lstrip("-")


def short_hash(*parts: str) -> str:
    """Eight hexadecimal digits of a hash of the parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:HASH_CHARACTERS]
