"""From named settings and overrides to one validated configuration, and back to YAML.

`compose(["model=small", "training.lr=1e-3"])` reads Hydra groups from `configs/`; every mistake names the key,
the value and what is allowed. Law: `from_yaml(to_yaml(c)) == c`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeGuard, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from llm.config.check import check_across_sections
from llm.config.renamed import what_replaces
from llm.config.sections import RunConfig, Section
from llm.errors import UserError

SECRET = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
"""User and password in a URI."""
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def compose(overrides: Sequence[str] = (), configs: Path = CONFIGS) -> RunConfig:
    """The configuration that `configs/config.yaml` and the overrides make; raises UserError for any mistake.

    Hydra composes the groups (`model=small`); values (`data.path=texts/*.txt`) are set afterwards, so that a path
    may hold any character without Hydra's quoting.
    """
    parsed = [_parse(override, configs) for override in overrides]
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(configs), version_base="1.3"):
        composed = hydra_compose("config", [f"{key}={value}" for key, value, is_group in parsed if is_group])
    document = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(document, dict)
    for key, value, is_group in parsed:
        if not is_group:
            _set(document, key.split("."), value)
    return validated(document)


def from_yaml(text: str) -> RunConfig:
    """The configuration that a YAML document holds; raises UserError for any mistake."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError("the configuration is not YAML", str(error)) from error
    return validated(document)


def to_yaml(config: RunConfig) -> str:
    """The whole configuration as one YAML document, every default spelled out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def without_secrets(text: str) -> str:
    """The same text with user and password left out of every URI in it: fit to be shown, logged and sent on."""
    return SECRET.sub("…", text)


def validated(document: Any) -> RunConfig:
    """A checked configuration from plain data; raises UserError naming key, value and what is allowed."""
    try:
        config = RunConfig.model_validate(document)
    except ValidationError as error:
        raise UserError(*_explain(error)) from error
    check_across_sections(config)
    return config


def nearest(name: str, allowed: Iterable[str], prefix: str = "") -> str:
    """A hint with the closest allowed name, or all of them, each behind `prefix`."""
    allowed = sorted(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"Did you mean {prefix}{close[0]}?" if close else f"Allowed: {', '.join(prefix + a for a in allowed)}."


def _parse(override: str, configs: Path) -> tuple[str, Any, bool]:
    """Key, value, and whether it chooses a group's setting; refuses a key or setting that does not exist."""
    try:
        override.encode()
    except UnicodeEncodeError as error:  # a command line is bytes; the configuration is kept as UTF-8
        raise UserError(f"{override!a} is not UTF-8", "Rename what it names.") from error
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override} is not an override", "Write key=value, such as training.lr=1e-3 or model=small.")
    if "." not in key and (configs / key).is_dir():
        options = [path.stem for path in (configs / key).glob("*.yaml")]
        if text not in options:
            raise UserError(f"{override}: there is no {key} named {text}", nearest(text, options))
        return key, text, True
    field = _field(key)
    if field.annotation is str or (field.annotation == str | None and text != "null"):
        return key, text, False
    try:
        return key, yaml.safe_load(text), False
    except yaml.YAMLError:
        return key, text, False  # a string such as *.txt; where a number is wanted, pydantic refuses it


def _field(key: str) -> FieldInfo:
    """The field that a dotted key names; raises UserError with its new name or the nearest key, or for a section."""
    if (replaced := what_replaces(key)) is not None:
        raise UserError(*replaced)
    section: type[BaseModel] = RunConfig
    here = ""
    parts = key.split(".")
    for place, part in enumerate(parts, start=1):
        if part not in section.model_fields:
            raise UserError(f"unknown config key {key}", nearest(part, section.model_fields, here))
        field = section.model_fields[part]
        if not _is_section(field.annotation):
            if place < len(parts) and get_origin(field.annotation) is not dict:
                raise UserError(f"unknown config key {key}", f"{here}{part} is a value, and has no keys of its own.")
            return field
        section, here = field.annotation, f"{here}{part}."
    raise UserError(
        f"{key} is a section, not a value", f"Its keys: {', '.join(here + n for n in section.model_fields)}."
    )


def _is_section(annotation: Any) -> TypeGuard[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _set(document: dict[Any, Any], path: Sequence[str], value: Any) -> None:
    *parents, last = path
    for parent in parents:
        document = document.setdefault(parent, {})
    document[last] = value


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "the configuration"
        if problem["type"] == "extra_forbidden" and (replaced := what_replaces(key)) is not None:
            lines += replaced
        elif problem["type"] == "extra_forbidden":
            lines += [f"unknown config key {key}", nearest(key, _all_keys(RunConfig))]
        else:
            message = problem["msg"][0].lower() + problem["msg"][1:]
            lines.append(f"{key}={problem['input']!r} is not allowed: {message}")
    return lines


def _all_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        if _is_section(field.annotation):
            keys += _all_keys(field.annotation, f"{prefix}{name}.")
    return keys
