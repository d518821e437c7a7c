"""The page of the configuration: what a run gets, what each key decides, and the named settings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import reduce
from typing import Any

import yaml
from pydantic.fields import FieldInfo
from reference.meanings import describe

from llm.config import SETTINGS, Decides, RunConfig, compose, marked
from llm.config.decides import section_of_entries
from llm.config.named import NamedSection, choice, is_seam, names
from llm.config.sections import Section


def page() -> str:
    """Every key with what a run gets, what it decides and its meaning, by section; and the named settings."""
    lines = [
        "# Configuration",
        "",
        "Made from `llm/config/sections/` and `llm/config/settings/` by `make reference`.",
        "Set a key with `KEY=VALUE` on the command line (`gristmill run pretrain training.optimizer.lr=1e-3`).",
        "",
        "* *default* is what a run gets that sets nothing: `config.yaml` and its named settings.",
        "* *decides* says what changes with the key: the `result`; the `input` that is read (its content decides the",
        "  result, not its place); only the `course` of the work (where, how fast, how often saved); or `nothing`",
        "  of it (names, addresses). Recipes, the run's name and MLflow's parameters leave out the last two.",
        "",
        *_named_settings(),
    ]
    describe(Section)
    given = compose()
    settings: dict[str, list[str]] = {}
    for key, field, decides in marked(RunConfig):
        rows = settings.setdefault(key.partition(".")[0], [])
        if is_seam(seam := _section_of(key)):
            rows += _choice_rows(key, seam, given, decides) if key.endswith(".name") else []
            continue
        rows.append(_row(key, f"`{_plain(reduce(getattr, key.split('.'), given))!r}`", decides, field))
        if (entries := section_of_entries(field.annotation)) is not None:
            for name, inner, own in marked(entries, decides):
                default = (
                    "must be given" if inner.is_required() else f"`{inner.get_default(call_default_factory=True)!r}`"
                )
                rows.append(_row(f"{key}.NAME.{name}", default, own, inner))
    for name, field in RunConfig.model_fields.items():
        purpose = inspect.getdoc(field.annotation) or "" if isinstance(field.annotation, type) else ""
        head = ["| key | default | decides | meaning |", "| --- | --- | --- | --- |"]
        lines += ["", f"## {name}", "", purpose, "", *head, *settings[name]]
    return "\n".join(lines) + "\n"


def _section_of(key: str) -> Any:
    """The section that a dotted key lies in."""
    section: Any = RunConfig
    for parent in key.split(".")[:-1]:
        section = section.model_fields[parent].annotation
    return section


def _choice_rows(key: str, seam: type[NamedSection], given: RunConfig, decides: Decides) -> Iterator[str]:
    """The name that chooses, the keys that every choice has, and those of each choice of ours."""
    now = reduce(getattr, key.split(".")[:-1], given)
    choices = ", ".join(f"`{name}`" for name in names(seam))
    yield f"| `{key}` | `{now.name!r}` | {decides.value} | {choices}, or an import path `package.module:Class`. |"
    place = key.removesuffix("name")
    for name, field in seam.model_fields.items():
        if name != "name":
            yield _row(place + name, f"`{getattr(now, name)!r}`", decides, field)
    for name in names(seam):
        describe(chosen := choice(seam, name))
        for own in [one for one in chosen.model_fields if one not in seam.model_fields]:
            field = chosen.model_fields[own]
            default = getattr(now, own) if isinstance(now, chosen) else field.default
            yield _row(f"{place}{own}", f"`{default!r}`", decides, field, f"`{name}`: ")


def _row(key: str, default: str, decides: Decides, field: FieldInfo, before: str = "") -> str:
    meaning = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{key}` | {default} | {decides.value} | {before}{meaning} |"


def _plain(value: object) -> object:
    """Sections in a mapping as plain data."""
    if not isinstance(value, dict):
        return value
    return {key: one.model_dump(mode="json") if isinstance(one, Section) else one for key, one in value.items()}


def _named_settings() -> Iterator[str]:
    """A table of the groups below `llm/config/settings/`: what each named setting sets."""
    chosen = yaml.safe_load((SETTINGS / "config.yaml").read_text())["defaults"]
    standard = {group: name for entry in chosen if isinstance(entry, dict) for group, name in entry.items()}
    yield "## Named settings"
    yield ""
    yield "A named setting is a set of keys. `GROUP=NAME` chooses one; a key on the command line wins over it."
    yield ""
    yield "| choose with | sets |"
    yield "| --- | --- |"
    for group in sorted(standard):
        for path in sorted((SETTINGS / group).glob("*.yaml")):
            keys = ", ".join(f"`{group}.{key}={value}`" for key, value in _leaves(yaml.safe_load(path.read_text())))
            note = " (the default)" if standard[group] == path.stem else ""
            yield f"| `{group}={path.stem}`{note} | {keys} |"


def _leaves(settings: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "null" if value is None else value
