"""A section that a name chooses: `training.schedule.name=cosine`, or an import path `my_package.my_module:MyClass`.

A *seam* is a base class of sections with a home, a package in which every module without a leading underscore is one
choice: `cosine` is the one subclass in `llm.training.schedule.cosine`. So a new choice is one new file. The chosen
class is the section: its fields are the keys that this choice knows, and the section builds what it describes.

The home lies above `llm.config`, so it is imported by its name, when a configuration is read, and it must not import a
heavy library before it builds something. Source of the idea: the registrable configurations of OLMo-core.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, ClassVar, Self, TypeVar, cast

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from llm.config.imported import import_named
from llm.config.sections.base import Section
from llm.config.spelling import nearest
from llm.errors import UserError

Seam = TypeVar("Seam", bound="NamedSection")


class NamedSection(Section):
    """Base of all seams; a seam is a direct subclass, and a choice is a subclass of a seam."""

    home: ClassVar[str]
    """Package of the choices that are ours."""
    key: ClassVar[str]
    """Path of the section in the configuration, for messages."""
    default: ClassVar[str | None] = None
    """The choice without a name; None: a name must be given."""

    name: str = Field(default="", min_length=1)
    """The choice."""

    @model_validator(mode="wrap")
    @classmethod
    def _choose(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, cls):
            return value
        document = {"name": value} if isinstance(value, str) else value
        if not isinstance(document, dict):
            return handler(document)
        if not is_seam(cls):
            return handler({"name": name_of(cls), **document})
        name = document.get("name", cls.default)
        if not isinstance(name, str):
            raise UserError(f"{cls.key} needs a name: {document}", _allowed(cls))
        return choice(cls, name).model_validate({**document, "name": name})


def chosen_by_default(seam: type[NamedSection]) -> Any:
    """The field's default: the seam's own choice, imported when a configuration is made."""
    return Field(default_factory=lambda: seam.model_validate({}))


def is_seam(section: Any) -> bool:
    """Whether this class is a seam, of which a name chooses a subclass."""
    return isinstance(section, type) and NamedSection in section.__bases__


def names(seam: type[NamedSection]) -> list[str]:
    """The choices that are ours."""
    home = importlib.import_module(seam.home)
    return sorted(module.name for module in pkgutil.iter_modules(home.__path__) if not module.name.startswith("_"))


def choice(seam: type[Seam], name: str) -> type[Seam]:
    """The class that a name, or an import path, chooses; raises UserError if there is none."""
    if ":" in name:
        return _imported(seam, name)
    if name not in names(seam):
        raise UserError(f"{seam.key}.name={name}: there is no choice of that name", _allowed(seam, name))
    module = importlib.import_module(f"{seam.home}.{name}")
    found = [
        value for value in vars(module).values() if _is_choice(seam, value) and value.__module__ == module.__name__
    ]
    assert len(found) == 1, f"{module.__name__} must hold one subclass of {seam.__name__}, it holds {len(found)}"
    return cast("type[Seam]", found[0])


def name_of(chosen: type[NamedSection]) -> str:
    """The name by which a configuration chooses this class. Law: `choice(seam, name_of(c)) is c`."""
    home, _, module = chosen.__module__.rpartition(".")
    return module if home == chosen.home else f"{chosen.__module__}:{chosen.__qualname__}"


def _imported(seam: type[Seam], path: str) -> type[Seam]:
    module_name, _, class_name = path.partition(":")
    found = import_named(
        f"{seam.key}.name={path}", module_name, class_name,
        "Write package.module:Class, and install the package here or name its folder in PYTHONPATH.",
    )  # fmt: skip
    if not _is_choice(seam, found):
        raise UserError(
            f"{seam.key}.name={path} is not a subclass of {seam.__module__}.{seam.__qualname__}", _allowed(seam)
        )
    return cast("type[Seam]", found)


def _is_choice(seam: type[NamedSection], value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, seam) and value is not seam


def _allowed(seam: type[NamedSection], name: str = "") -> str:
    ours = names(seam)
    known = nearest(name, ours) if ours else "None of ours is there yet."
    return f"{known} An import path such as my_package.my_module:MyClass is allowed too."
