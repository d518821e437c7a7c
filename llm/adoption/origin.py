"""The origin of an adopted product: places, files and licence.

    <store>/origins/<kind>/<id>.json   {"places": […], "files": {name: sha256}, "licence": …, "time": seconds}

It lies next to the product and is no part of it: the id follows from the content alone, so a thing that is adopted
from two places, or on two days, is one product, with two places in its origin.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from llm.errors import DamagedError
from llm.storage import Manifest, Objects

LICENCE_FILES = re.compile(r"(LICEN[CS]E|COPYING|NOTICE)([.-].*)?", re.IGNORECASE)
CARD = "README.md"
"""A model card: YAML between two lines of dashes, then text."""
CARD_FIELDS = ("license", "license_name", "license_link")
CARD_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class Origin:
    """Where an adopted product came from."""

    places: tuple[str, ...]
    """Folders or files of the machines that it was adopted on, in order."""
    files: Mapping[str, str]
    """sha256 of each file, by name."""
    licence: str | None
    """Text of its licence, or the fields of the model card that name it; None: neither was there."""
    time: float
    """When it was first adopted, in seconds since the epoch."""


def keep_origin(
    store: Objects, product: Manifest, place: Path, files: Mapping[str, str], licence: str | None
) -> Origin:
    """Write down where a product came from; one that is there already gets one place more."""
    where = os.path.realpath(place)
    before = origin_of(store, product)
    if before is None:
        found = Origin((where,), dict(files), licence, round(time.time(), 3))
    else:
        found = Origin(tuple(dict.fromkeys((*before.places, where))), before.files, before.licence, before.time)
    if found != before:
        store.write(_name(product), (json.dumps(asdict(found), indent=1) + "\n").encode())
    return found


def origin_of(store: Objects, product: Manifest) -> Origin | None:
    """Where a product came from; None if it was not adopted. Law: it is what `keep_origin` returned last."""
    content = store.read(_name(product))
    if content is None:
        return None
    try:
        document = json.loads(content)
        return Origin(**{**document, "places": tuple(document["places"])})
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"{store.uri}/{_name(product)} cannot be read: {error}", "Remove it and adopt again."
        ) from error


def licence_files(folder: Path) -> list[Path]:
    """Files that say the licence of what a folder holds, the model card among them."""
    return [path for path in _files(folder) if LICENCE_FILES.fullmatch(path.name) or path.name == CARD]


def licence_of(folder: Path) -> str | None:
    """The text of the licence in a folder, else the fields of its model card that name it; None if neither is there."""
    texts = [path.read_text("utf-8", "replace") for path in _files(folder) if LICENCE_FILES.fullmatch(path.name)]
    if texts:
        return "\n".join(texts)
    fields = _card(folder / CARD)
    named = [f"{field}: {fields[field]}" for field in CARD_FIELDS if fields.get(field)]
    return "\n".join(named) or None


def _card(path: Path) -> Mapping[str, object]:
    """The fields of a model card; none if it has none that can be read."""
    if not path.is_file() or path.stat().st_size > CARD_LIMIT_BYTES:
        return {}
    found = re.match(r"---\s*\n(.*?)\n---", path.read_text("utf-8", "replace"), re.DOTALL)
    try:
        fields = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _name(product: Manifest) -> str:
    return f"origins/{product.kind}/{product.id}.json"
