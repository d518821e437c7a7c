"""Names of products that people can read: `corpus/wiki-en@3` for `corpus/3f9a61c2b7d0e415`.

    <store>/names/<kind>/<label>@<number>   the id of the product

A name is a pointer that is written once. Another product under the same label gets the next number. The label is the
name of the run that made it, so `corpus/wiki-en@3` is the third corpus that came out of the run wiki-en.
"""

from __future__ import annotations

import re

from llm.errors import UserError
from llm.storage.objects import Objects
from llm.storage.open import open_objects

NAMED = re.compile(r"(?P<store>.+)/names/(?P<kind>[^/]+)/(?P<name>[^/]+@\d+)")


def give_name(store: Objects, kind: str, product_id: str, label: str) -> str:
    """The product's name under this label, made now if it has none. Law: the same product keeps its name."""
    names = store.below(f"names/{kind}")
    known = names.names(f"{label}@")
    for name in known:
        if names.read(name) == product_id.encode():
            return f"{kind}/{name}"
    number = 1 + max((int(name.rpartition("@")[2]) for name in known), default=0)
    while not names.write(f"{label}@{number}", product_id.encode(), if_absent=True):  # another process was faster
        number += 1
    return f"{kind}/{label}@{number}"


def resolved(uri: str) -> str:
    """The address of the product that `<store>/names/<kind>/<label>@<number>` names; any other URI as it is.

    Raises UserError if there is no such name.
    """
    if (found := NAMED.fullmatch(uri)) is None:
        return uri
    home = open_objects(f"{found['store']}/names/{found['kind']}")
    product_id = home.read(found["name"])
    if product_id is None:
        label = found["name"].rpartition("@")[0]
        there = home.names(f"{label}@")
        raise UserError(
            f"there is no {found['kind']} named {found['name']} in {found['store']}",
            f"There are: {', '.join(there)}." if there else f"No {found['kind']} is named {label} there.",
        )
    return f"{found['store']}/{found['kind']}/{product_id.decode()}"
