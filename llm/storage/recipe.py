"""Recipes: all that decides a step's result, and so the address under which the result is found again."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.storage.hashes import sha256_of_file, sha256_of_json
from llm.storage.manifest import Manifest


@dataclass(frozen=True)
class Recipe:
    """All that decides a step's result.

    `code` names the packages whose sources take part (`("llm.data",)`); `inputs` holds fingerprints of what is
    not in the store (the user's own files, library versions that change the output).
    """

    step: str
    config: Mapping[str, Any]
    parents: Sequence[Manifest] = ()
    code: Sequence[str] = ()
    inputs: Mapping[str, Any] | None = None

    @property
    def key(self) -> str:
        """16 hex digits that change when anything does that could change the result."""
        return sha256_of_json(
            {
                "step": self.step,
                "config": dict(self.config),
                "parents": [(parent.kind, parent.id) for parent in self.parents],
                "code": {name: code_fingerprint(name) for name in self.code},
                "inputs": dict(self.inputs or {}),
            }
        )[:16]


def recipe_name(recipe: Recipe) -> str:
    """Name in the store of the manifest that a recipe led to."""
    return f"recipes/{recipe.step}-{recipe.key}.json"


def code_fingerprint(package: str) -> str:
    """Hash of a package's (or module's) own Python sources: changes when its code does.

    Raises ValueError if there is no such package.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ValueError(f"no package {package}")
    origin = Path(spec.origin)
    sources = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    return sha256_of_json([(path.name, sha256_of_file(path)) for path in sources])[:16]
