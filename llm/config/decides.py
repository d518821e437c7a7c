"""The effect of a setting, said once: at its field.

    keep_checkpoints: Annotated[int, COURSE] = 2
    head_dim: Annotated[int | None, ADDED] = None

A field without a mark decides the result, so a new field is never left out of a recipe by mistake. A mark at a field
that holds a section is the mark of all fields in it that have none of their own. Recipes, the run's name, the
reference page and MLflow's parameters read these marks; nothing else lists fields.

`ADDED` marks a field that came later, whose default is what was done before. At its default it is left out of recipes
and products, so a new setting keeps the ids and the hits of work that does not use it. Such a default must
never change.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, TypeGuard, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class Decides(Enum):
    """The things that change when the setting changes."""

    RESULT = "result"
    """The result of the step."""
    INPUT = "input"
    """Which input is read. The content of the input decides the result; the way its place is written does not."""
    COURSE = "course"
    """The course of the work (where, how fast, how often it is saved), not its result."""
    NOTHING = "nothing"
    """Neither: names and addresses."""


class Added:
    """The mark of a field that is left out while it has its default."""


ADDED = Added()
INPUT, COURSE, NOTHING = Decides.INPUT, Decides.COURSE, Decides.NOTHING


def mark(field: FieldInfo, outer: Decides = Decides.RESULT) -> Decides:
    """The field's own mark, else that of the section around it."""
    return next((one for one in field.metadata if isinstance(one, Decides)), outer)


def is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    """Whether a field's type is a section: it has fields of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def section_of_entries(annotation: Any) -> type[BaseModel] | None:
    """The section that each entry of a mapping is (`dict[str, MetricRule]`); None for any other type."""
    if get_origin(annotation) is dict and is_section(found := get_args(annotation)[1]):
        return found
    return None


def marked(section: type[BaseModel], outer: Decides = Decides.RESULT) -> Iterator[tuple[str, FieldInfo, Decides]]:
    """Dotted key, field and mark of every setting in a section and in the sections below it; a mapping is one."""
    for name, field in section.model_fields.items():
        own = mark(field, outer)
        if is_section(field.annotation):
            yield from ((f"{name}.{key}", inner, one) for key, inner, one in marked(field.annotation, own))
        else:
            yield name, field, own


def deciding(section: BaseModel, *wanted: Decides, outer: Decides = Decides.RESULT) -> dict[str, Any]:
    """The settings with one of the wanted marks, as plain data; none given: those that decide the result.

    A section without such a setting is left out. `outer` is the mark of fields that have none of their own.
    """
    wanted = wanted or (Decides.RESULT,)
    plain = section.model_dump(mode="json")
    found = {}
    for name, field in type(section).model_fields.items():
        own, value = mark(field, outer), getattr(section, name)
        if ADDED in field.metadata and value == field.get_default(call_default_factory=True):
            continue
        if isinstance(value, BaseModel):
            if inner := deciding(value, *wanted, outer=own):
                found[name] = inner
        elif section_of_entries(field.annotation) is not None and own in wanted:
            found[name] = {key: deciding(entry, *wanted, outer=own) for key, entry in value.items()}
        elif own in wanted:
            found[name] = plain[name]
    return found
