"""Prices: what is refused, and that they change no id."""

from __future__ import annotations

import pytest

from llm.config import CostsConfig, compose, deciding, from_yaml, to_yaml
from llm.errors import UserError
from llm.runs.folder import run_name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("costs.cpu_hour=-0.01", "costs.cpu_hour=-0.01 is not allowed: input should be greater than or equal to 0"),
        ("costs.memory_gib_hour=.inf", "costs.memory_gib_hour=inf is not allowed: input should be a finite number"),
        ("costs.accelerator_hour={nvidia.com/gpu: -1}", "costs.accelerator_hour.nvidia.com/gpu=-1 is not allowed"),
        ("costs.accelerator_hour={nvidia gpu/x: 1}", "'nvidia gpu/x' is no resource of accelerators: write"),
        ("costs.accelerator_hour={gpu: 1}", "'gpu' is no resource of accelerators: write a name such as nvidia"),
        ("costs.team_label=the team", "it is no key of a label: write a name such as team or example.com/team"),
        ("costs.currency=", "costs.currency='' is not allowed"),
        ("costs.gpu_hour=1", "unknown config key costs.gpu_hour"),
    ],
)  # fmt: skip
def test_a_price_that_cannot_be_is_refused_with_its_key(override: str, message: str):
    with pytest.raises(UserError) as raised:
        compose([override])
    assert message in str(raised.value)


def test_prices_are_kept_with_the_run_and_change_no_id():
    priced = compose(["costs.cpu_hour=0.04", "costs.accelerator_hour={nvidia.com/gpu: 2.5}", "costs.currency=EUR"])
    assert priced.costs == CostsConfig(cpu_hour=0.04, accelerator_hour={"nvidia.com/gpu": 2.5}, currency="EUR")
    assert from_yaml(to_yaml(priced)) == priced
    assert run_name("pretrain", priced) == run_name("pretrain", compose())
    assert deciding(priced) == deciding(compose())


@pytest.mark.parametrize(
    ("given", "are_set"),
    [({}, False), ({"cpu_hour": 0.1}, True), ({"memory_gib_hour": 0.1}, True), ({"currency": "EUR"}, False),
     ({"accelerator_hour": {"nvidia.com/gpu": 0.0}}, False), ({"accelerator_hour": {"nvidia.com/gpu": 1.0}}, True)],
)  # fmt: skip
def test_prices_are_set_if_one_is_above_0(given: dict, are_set: bool):
    assert CostsConfig(**given).are_set is are_set
