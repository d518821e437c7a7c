"""From named settings and overrides to one validated configuration, and back to YAML.

`compose(["model=small", "training.lr=1e-3"])` reads Hydra groups from `configs/`; every mistake names the key,
the value and what is allowed. Law: `from_yaml(to_yaml(c)) == c`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from llm.config.check import check_across_sections
from llm.config.sections import RunConfig, Section
from llm.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def compose(overrides: Sequence[str] = (), configs: Path = CONFIGS) -> RunConfig:
    """The configuration that `configs/config.yaml` and the overrides make; raises UserError for any mistake."""
    for override in overrides:
        _check_key(override, configs)
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(configs), version_base="1.3"):
            # Dotted overrides may name fields that only the pydantic defaults have: `++` sets or adds.
            composed = hydra_compose("config", [f"++{o}" if "." in o.split("=", 1)[0] else o for o in overrides])
        document = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"cannot read the overrides {' '.join(overrides)}", str(error).splitlines()[0]) from error
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


def validated(document: Any) -> RunConfig:
    """A checked configuration from plain data; raises UserError naming key, value and what is allowed."""
    try:
        config = RunConfig.model_validate(document)
    except ValidationError as error:
        raise UserError(*_explain(error)) from error
    check_across_sections(config)
    return config


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A hint with the closest allowed name, or all of them."""
    allowed = sorted(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else f"Allowed: {', '.join(allowed)}."


def _check_key(override: str, configs: Path) -> None:
    """Refuse an override whose key no section has, or whose group has no such setting."""
    key, equals, value = override.partition("=")
    if not equals:
        raise UserError(f"{override} is not an override", "Write key=value, such as training.lr=1e-3 or model=small.")
    if "." not in key and (configs / key).is_dir():
        options = [path.stem for path in (configs / key).glob("*.yaml")]
        if value not in options:
            raise UserError(f"{override}: there is no {key} named {value}", nearest(value, options))
        return
    section: type[BaseModel] = RunConfig
    for depth, part in enumerate(key.split(".")):
        here = ".".join(key.split(".")[:depth])
        if part not in section.model_fields:
            options = [f"{here}.{name}" if here else name for name in section.model_fields]
            raise UserError(f"unknown config key {key}", nearest(key, options))
        annotation = section.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, Section)):
            return
        section = annotation
    raise UserError(f"{key} is a section, not a value", f"Its keys: {', '.join(section.model_fields)}.")


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "the configuration"
        if problem["type"] == "extra_forbidden":
            lines += [f"unknown config key {key}", nearest(key, _all_keys(RunConfig))]
        else:
            message = problem["msg"][0].lower() + problem["msg"][1:]
            lines.append(f"{key}={problem['input']!r} is not allowed: {message}")
    return lines


def _all_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            keys += _all_keys(field.annotation, f"{prefix}{name}.")
    return keys
