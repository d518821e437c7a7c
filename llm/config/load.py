"""From named settings and overrides to one validated configuration, and back to YAML.

`compose(["model=small", "training.optimizer.lr=1e-3"])` reads Hydra groups from `settings/`. Every mistake names the
key, the value and what is allowed. Law: `from_yaml(to_yaml(c)) == c`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from llm.config.checks import check_across_sections
from llm.config.decides import is_section, section_of_entries
from llm.config.derived.auto import with_found, without_auto
from llm.config.named import NamedSection, choice, is_seam, names
from llm.config.renamed import up_to_date, what_replaces
from llm.config.sections import RunConfig, Section
from llm.config.spelling import nearest
from llm.errors import UserError

SETTINGS = Path(__file__).resolve().parent / "settings"
"""The folder of the named settings: Hydra's groups, and the expectation suites. It is installed with the package."""


def compose(overrides: Sequence[str] = (), settings: Path = SETTINGS, *, here: bool = True) -> RunConfig:
    """The configuration that `settings/config.yaml` and the overrides make; raises UserError for any mistake.

    Hydra composes the groups (`model=small`); values (`data.path=texts/*.txt`) are set afterwards, so that a path
    may hold any character without Hydra's quoting. `here`: its steps run on this machine, whose memory is theirs.
    """
    parsed = [_parse(override, settings) for override in overrides]
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(settings), version_base="1.3"):
        composed = hydra_compose("config", [f"{key}={value}" for key, value, is_group in parsed if is_group])
    document = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(document, dict)
    values = [(_path(key), value) for key, value, is_group in parsed if not is_group]
    for path, value in sorted(values, key=lambda one: _seam_that_is_chosen(one[0]) is None):  # the choices first
        _set(document, path, value)
    return validated(document, here=here)


def from_yaml(text: str) -> RunConfig:
    """The configuration that a YAML document holds; raises UserError for any mistake."""
    return validated(_parsed(text))


def from_earlier_yaml(text: str) -> RunConfig:
    """The configuration of an earlier run, which an earlier version may have written.

    Renamed keys are read under their new names, and keys that this version does not know are left out. Sections are
    not checked against each other: that run is over. Raises UserError for a document that still cannot be read.
    """
    document = up_to_date(_parsed(text))
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        for problem in error.errors():
            if problem["type"] == "extra_forbidden":
                _forget(document, problem["loc"])
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        raise UserError(*_explain(error, document)) from error


def to_yaml(config: RunConfig) -> str:
    """The whole configuration as one YAML document, every default spelled out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def validated(document: Any, *, here: bool = True) -> RunConfig:
    """A checked configuration from plain data; raises UserError naming key, value and what is allowed."""
    document, asked = without_auto(document)
    try:
        config = RunConfig.model_validate(document)
    except ValidationError as error:
        raise UserError(*_explain(error, document)) from error
    if asked:
        config = with_found(config, asked, here)
    check_across_sections(config)
    return config


def _parse(override: str, settings: Path) -> tuple[str, Any, bool]:
    """Key, value, and whether it chooses a group's setting; refuses a key or setting that does not exist."""
    try:
        override.encode()
    except UnicodeEncodeError as error:  # a command line is bytes; the configuration is kept as UTF-8
        raise UserError(f"{override!a} is not UTF-8", "Rename the file that it names.") from error
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(
            f"{override} is not an override", "Write key=value, such as training.optimizer.lr=1e-3 or model=small."
        )
    if not all(key.split(".")):
        raise UserError(f"{override}: a part of the key {key} is empty", "Write it as section.name=value.")
    if "." not in key and (settings / key).is_dir():
        options = [path.stem for path in (settings / key).glob("*.yaml")]
        if text not in options:
            raise UserError(f"{override}: there is no {key} named {text}", nearest(text, options))
        return key, text, True
    field = _field(key)
    if field.annotation is str or (field.annotation == str | None and text != "null"):
        return key, text, False
    try:
        return key, _plain(text), False
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
        if is_seam(section) and part not in section.model_fields:
            return FieldInfo(annotation=object)  # the choice may know it, and the choice is not known yet
        if part not in section.model_fields:
            raise UserError(f"unknown config key {key}", nearest(part, section.model_fields, here))
        field = section.model_fields[part]
        if not is_section(field.annotation):
            if place < len(parts) and get_origin(field.annotation) is not dict:
                raise UserError(f"unknown config key {key}", f"{here}{part} is a value, and has no keys of its own.")
            return field
        section, here = field.annotation, f"{here}{part}."
    raise UserError(
        f"{key} is a section, not a value", f"Its keys: {', '.join(here + n for n in section.model_fields)}."
    )


def _path(key: str) -> list[str]:
    """The parts of a dotted key. Names in a mapping of texts have dots of their own (`nvidia.com/gpu.present`)."""
    parts = key.split(".")
    section: type[BaseModel] | None = RunConfig
    place = 0
    while section is not None and place < len(parts) and (field := section.model_fields.get(parts[place])):
        entries = section_of_entries(field.annotation)
        if entries is None and get_args(field.annotation) == (str, str) and place + 1 < len(parts):
            return [*parts[: place + 1], ".".join(parts[place + 1 :])]
        section = field.annotation if is_section(field.annotation) else entries
        place += 1 if entries is None else 2
    return parts


def _seam_that_is_chosen(path: Sequence[str]) -> type[NamedSection] | None:
    """The seam whose choice this key names, as `training.schedule.name` does; None for other keys."""
    section: Any = RunConfig
    *parents, last = path
    for parent in parents:
        field = section.model_fields.get(parent)
        if field is None or not is_section(field.annotation):
            return None
        section = field.annotation
    return section if last == "name" and is_seam(section) else None


def _set(document: dict[Any, Any], path: Sequence[str], value: Any) -> None:
    """Put a value at its place; a mapping that gets one key keeps the others that it has by default.

    Another choice of a seam drops the settings that only the choice before it knows. Raises UserError for a key below
    a value.
    """
    *parents, last = path
    section: type[BaseModel] | None = RunConfig
    for depth, parent in enumerate(parents, start=1):
        field = section.model_fields.get(parent) if section is not None else None
        section = field.annotation if field is not None and is_section(field.annotation) else None
        document = document.setdefault(parent, _mapping_by_default(field))
        if not isinstance(document, dict):
            raise UserError(
                f"{'.'.join(path)}={value} cannot be set",
                f"{'.'.join(path[:depth])} is {'null' if document is None else document}, and has no keys of its own.",
            )
    seam = _seam_that_is_chosen(path)
    if seam is not None and document.get("name", seam.default) != value:
        for key in [key for key in document if key not in seam.model_fields]:
            del document[key]
    document[last] = value


def _mapping_by_default(field: FieldInfo | None) -> dict[str, Any]:
    """The entries of a field that is a mapping, as plain data; {} for any other field."""
    if field is None or is_section(field.annotation):
        return {}
    default = field.get_default(call_default_factory=True)
    if not isinstance(default, dict):
        return {}
    return {name: one.model_dump(mode="json") if isinstance(one, Section) else one for name, one in default.items()}


def _forget(document: Any, path: Sequence[Any]) -> None:
    """Remove a key."""
    *parents, last = path
    for parent in parents:
        document = document[parent]
    del document[last]


def _parsed(text: str) -> Any:
    try:
        return _plain(text)
    except yaml.YAMLError as error:
        raise UserError("the configuration is not YAML", str(error)) from error


def _plain(text: str) -> Any:
    """The data in a YAML document; raises yaml.YAMLError, and UserError for a key that a mapping has twice."""
    return yaml.load(text, _KeysOnce)  # noqa: S506 - a SafeLoader


class _KeysOnce(yaml.SafeLoader):
    """Plain data, in which a mapping has each key once: PyYAML would silently take the last of several."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping; raises UserError naming a key that it has twice."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise UserError(f"{', '.join(twice)} is given more than once in one mapping", "Leave one of them.")
        return super().construct_mapping(node, deep=deep)


def _explain(error: ValidationError, document: Any) -> list[str]:
    lines: list[str] = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "the configuration"
        if problem["type"] == "extra_forbidden" and (replaced := what_replaces(key)) is not None:
            lines += replaced
        elif problem["type"] == "extra_forbidden":
            known = _of_another_choice(key) or nearest(key, _all_keys(RunConfig, document))
            lines += [f"unknown config key {key}", known]
        elif problem["type"] == "missing":
            lines.append(f"{key} must be given")
        elif old := _old_keys_below(key, problem["input"]):
            lines += old
        else:
            lines.append(_refusal(key, problem["input"], problem["msg"]))
    return lines


def _of_another_choice(key: str) -> str | None:
    """The words about a key that only other choices of its section have; None if it is no such key."""
    section: type[BaseModel] = RunConfig
    *path, last = key.split(".")
    for part in path:
        field = section.model_fields.get(part)
        if field is None or not is_section(field.annotation):
            return None
        section = field.annotation
    if not issubclass(section, NamedSection) or not is_seam(section):
        return None
    found = [name for name in names(section) if last in choice(section, name).model_fields]
    return f"It is a setting of {section.key}.name={' or '.join(found)}: give that too." if found else None


def _refusal(key: str, value: Any, message: str) -> str:
    """The line about a value, or about the keys of a section that do not fit each other."""
    words = message.removeprefix("Value error, ")
    words = words[0].lower() + words[1:]
    is_about_keys = isinstance(value, dict) and message.startswith("Value error, ")
    return f"{key}: {words}" if is_about_keys else f"{key}={value!r} is not allowed: {words}"


def _old_keys_below(key: str, value: Any) -> list[str]:
    """The lines about old keys in a section that stands where a value is wanted; [] if there are none."""
    keys = [f"{key}.{name}" for name in value] if isinstance(value, dict) else []
    return [line for old in keys for line in what_replaces(old) or ()]


def _all_keys(section: type[BaseModel], document: Any, prefix: str = "") -> list[str]:
    """Every key that may be said; of a seam, those of its choice."""
    document = document if isinstance(document, dict) else {}
    if is_seam(section):
        seam = cast("type[NamedSection]", section)
        section = choice(seam, str(document.get("name", seam.default)))
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        if is_section(field.annotation):
            keys += _all_keys(field.annotation, document.get(name), f"{prefix}{name}.")
        elif (inner := section_of_entries(field.annotation)) is not None:
            keys += _all_keys(inner, None, f"{prefix}{name}.NAME.")
    return keys
