"""Sections that a name chooses: a choice of ours, or a class of anybody's by its import path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llm.config import compose, from_yaml, to_yaml
from llm.config.named import NamedSection, choice, name_of, names
from llm.config.sections.training import BackendConfig, CallbackConfig, OptimizerConfig, ScheduleConfig
from llm.errors import UserError

SEAMS = [OptimizerConfig, ScheduleConfig, BackendConfig, CallbackConfig]
MINE = """
from llm.config.sections.training import ScheduleConfig

class Flat(ScheduleConfig):
    height: float = 1.0

    def rate_after_warmup(self, peak, step, steps):
        return peak * self.height
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Import path of a schedule that is not ours."""
    (tmp_path / "my_schedule.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_schedule", raising=False)
    return "my_schedule:Flat"


@pytest.mark.parametrize("seam", SEAMS)
def test_a_name_chooses_a_class_and_a_class_knows_its_name(seam: type[NamedSection]):
    for name in names(seam):
        assert name_of(choice(seam, name)) == name
        assert seam.model_validate({"name": name}) == choice(seam, name)() == seam.model_validate(name)


def test_an_import_path_chooses_a_class_with_settings_of_its_own(mine: str):
    config = compose([f"training.schedule.name={mine}", "training.schedule.height=0.5"])
    assert config.training.schedule.rate_after_warmup(2.0, 50, 100) == 1.0
    assert from_yaml(to_yaml(config)) == config


def test_another_choice_drops_what_only_the_choice_of_the_preset_knows():
    assert "min_lr_fraction" in compose().training.schedule.model_dump()
    schedule = compose(["training.schedule.name=constant"]).training.schedule
    assert schedule.model_dump() == {"name": "constant", "warmup_fraction": 0.1}


def test_another_choice_keeps_what_all_choices_know(mine: str):
    schedule = compose(["training.schedule.height=2", f"training.schedule.name={mine}"]).training.schedule
    assert schedule.model_dump() == {"name": mine, "warmup_fraction": 0.1, "height": 2.0}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["training.parallel.backend.name=torch", "training.parallel.backend.zero_stage=1"],
            r"unknown config key training.parallel.backend.zero_stage\n"
            r"  It is a setting of training.parallel.backend.name=deepspeed: give that too.",
        ),
        (["training.schedule.name=cosin"], r"name=cosin: there is no choice of that name\n  Did you mean cosine\?"),
        (["training.callbacks=[nothing]"], r"training.callbacks.name=nothing: there is no choice of that name"),
        (["training.callbacks=[{every: 1}]"], r"training.callbacks needs a name: \{'every': 1\}"),
        (["training.schedule.name=no.such:Thing"], r"cannot be imported: No module named 'no'\n  Write package.module"),
        (["training.schedule.name=json:Thing"], r"cannot be imported: module 'json' has no attribute 'Thing'"),
        (
            ["training.schedule.name=json:loads"],
            r"json:loads is not a subclass of .*ScheduleConfig\n  Allowed: constant",
        ),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(overrides: list[str], message: str):
    with pytest.raises(UserError, match=message):
        compose(overrides)


def test_a_configuration_is_read_without_the_libraries_that_a_choice_needs():
    code = "import sys; from llm.config import compose; compose(); assert not {'torch', 'deepspeed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
