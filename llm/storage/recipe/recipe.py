"""A recipe: all that decides a step's result, and so the address under which the result is found again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from llm.storage.hashes import sha256_of_json
from llm.storage.manifest import Manifest
from llm.storage.recipe.libraries import version_of
from llm.storage.recipe.sources import code_of, libraries_of

MOST_INPUTS = 10_000
"""More files are remembered by one hash: what a recipe is made of stays a small document."""
Parts = dict[str, dict[str, Any]]
"""The parts of a recipe: by kind (config, code, library, input, parent) and name, each as plain data."""


@dataclass(frozen=True)
class Recipe:
    """All that decides a step's result.

    `code` names the modules that do the work, as a rule `(__name__,)`: the modules that they import take part too, and
    so do the versions of the libraries that all of them import. `libraries` are distributions that are used without an
    import. `inputs` holds fingerprints of inputs outside the store, such as the user's own files.
    """

    step: str
    config: Mapping[str, Any]
    parents: Sequence[Manifest] = ()
    code: Sequence[str] = ()
    inputs: Mapping[str, Any] | None = None
    libraries: Sequence[str] = ()

    @cached_property
    def key(self) -> str:
        """16 hex digits that change when anything does that could change the result."""
        return sha256_of_json(
            {
                "step": self.step,
                "config": dict(self.config),
                "parents": [(parent.kind, parent.id) for parent in self.parents],
                "code": code_of(*self.code),
                "libraries": self._versions,
                "inputs": dict(self.inputs or {}),
            }
        )[:16]

    @cached_property
    def parts(self) -> Parts:
        """All of it by kind and name, to be compared with another recipe's."""
        parents: dict[str, str] = {}
        for parent in self.parents:
            again = sum(one.kind == parent.kind for one in self.parents[: len(parents)])
            parents[f"{parent.kind} {again + 1}" if again else parent.kind] = parent.id
        return {
            "config": dict(_leaves("", self.config)),
            "code": code_of(*self.code),
            "library": self._versions,
            "input": _named_inputs(self.inputs or {}),
            "parent": parents,
        }

    @property
    def _versions(self) -> dict[str, str]:
        return {**libraries_of(*self.code), **{name: version_of(name) for name in self.libraries}}


def _named_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs by name, a group such as `{"file": {"x.jsonl": …}}` by the names in it; very many are one."""
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        if not isinstance(value, Mapping):
            found[name] = value
        elif len(value) > MOST_INPUTS:
            found[f"{name} ({len(value):,} of them)"] = sha256_of_json(dict(value))
        else:
            found |= {f"{name} {inner}": one for inner, one in value.items()}
    return found


def recipe_name(recipe: Recipe) -> str:
    """Name in the store of the manifest that a recipe led to."""
    return f"recipes/{recipe.step}-{recipe.key}.json"


def newest_name(step: str) -> str:
    """Name in the store of the parts of the recipe that last led to a product of this step."""
    return f"recipes/newest/{step}.json"


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every value of nested settings by its dotted name; a list stays one value."""
    if isinstance(value, Mapping) and (value or not prefix):
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield prefix, value
