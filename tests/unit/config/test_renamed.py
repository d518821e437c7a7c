"""A key of an earlier version is refused with what replaces it, from the command line and from a file alike."""

from __future__ import annotations

from typing import Any, get_origin

import pytest

from llm.config import RunConfig, compose, from_earlier_yaml, from_yaml, renamed, to_yaml
from llm.config.named import choice, is_seam, names
from llm.errors import UserError


@pytest.fixture
def old_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed, "RENAMED", {"model.width": "model.hidden_size", "gate.floors": "gate.limits"})
    removed = {"model.magic": "The number is fixed: 7.", "export.tensorrt.enabled": "Write export.tensorrt=fp16."}
    monkeypatch.setattr(renamed, "REMOVED", removed)


def field_of(key: str) -> Any:
    """The annotation of a dotted key, of any choice; keys of a mapping are those of its values."""
    annotation: Any = RunConfig
    for part in key.split("."):
        if is_seam(annotation):
            choices = [choice(annotation, name) for name in names(annotation)]
            annotation = next(one for one in choices if part in one.model_fields or one is choices[-1])
        annotation = (
            annotation.__args__[1] if get_origin(annotation) is dict else annotation.model_fields[part].annotation
        )
    return annotation


@pytest.mark.usefixtures("old_keys")
@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("model.width", r"model.width has a new name\n  Write model.hidden_size."),
        ("gate.floors.code", r"gate.floors.code has a new name\n  Write gate.limits.code."),
        ("model.magic", r"model.magic is no longer a setting\n  The number is fixed: 7."),
    ],
)
def test_an_old_key_is_refused_with_what_replaces_it(key: str, message: str):
    with pytest.raises(UserError, match=message):
        compose([f"{key}=1"])


@pytest.mark.usefixtures("old_keys")
def test_an_old_key_in_a_file_is_refused_with_what_replaces_it():
    with pytest.raises(UserError, match=r"model.width has a new name\n  Write model.hidden_size."):
        from_yaml("model: {width: 1}")


@pytest.mark.usefixtures("old_keys")
def test_an_old_section_that_is_a_value_today_is_refused_with_what_replaces_its_keys():
    with pytest.raises(UserError, match=r"tensorrt.enabled is no longer a setting\n  Write export.tensorrt=fp16.$"):
        from_yaml("export: {tensorrt: {enabled: true}}")


@pytest.mark.parametrize("old", [*renamed.RENAMED, *renamed.REMOVED])
def test_an_old_key_is_none_of_todays(old: str):
    with pytest.raises((KeyError, AttributeError)):
        field_of(old)


@pytest.mark.parametrize("new", renamed.RENAMED.values())
def test_a_new_name_is_one_of_todays_keys(new: str):
    assert field_of(new) is not None


@pytest.mark.parametrize("sentence", renamed.REMOVED.values())
def test_a_removed_key_is_explained_in_a_sentence(sentence: str):
    assert sentence[0].isupper()
    assert sentence.endswith(".")


EARLIER = """
training:
  backend: torch
  zero_stage: 1
  max_steps: 7
  lr: 0.5
  checkpoint_every_steps: 9
  of_another_version: 1
model: {hidden_size: 36, num_attention_heads: 4}
"""


def test_the_configuration_of_an_earlier_run_is_still_read():
    training = from_earlier_yaml(EARLIER).training
    assert (training.length.steps, training.optimizer.lr, training.checkpoints.every_steps) == (7, 0.5, 9)
    assert training.parallel.backend.model_dump() == {"name": "torch"}


@pytest.mark.parametrize(
    ("old", "precision"),
    [("enabled: true, precision: bf16", "bf16"), ("enabled: true", "fp16"), ("enabled: false, precision: fp16", None)],
)
def test_the_engine_of_an_earlier_run_is_the_one_that_was_wanted(old: str, precision: str | None):
    assert from_earlier_yaml(f"export: {{tensorrt: {{{old}}}}}").export.tensorrt == precision


def test_a_configuration_of_today_is_read_as_it_is():
    config = compose(["training.seed=7"])
    assert from_earlier_yaml(to_yaml(config)) == config


def test_an_earlier_run_with_a_value_that_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"training.optimizer.lr='fast' is not allowed: input should be a valid number"):
        from_earlier_yaml("training: {lr: fast}")
