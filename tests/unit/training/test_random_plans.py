"""A plan is refused, or its training runs: no third thing.

Of the plans that are drawn, one in four is rehearsed, which takes a second.
"""

from __future__ import annotations

from functools import cache

from hypothesis import HealthCheck, Phase, example, given, settings

from llm.config import RunConfig, compose
from llm.errors import UserError
from llm.training.estimate.fit import Settings, with_settings
from tests.cases.random_plans import FIXED, drawn, plans
from tests.cases.rehearsed import rehearsed_here


@cache
def base() -> RunConfig:
    return compose(FIXED)


@settings(derandomize=True, max_examples=20, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
          suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
@given(plan=plans)
@example(plan=drawn(56))  # a pipeline
def test_a_random_plan_is_refused_or_a_step_of_its_last_rank_runs(plan: Settings):
    try:
        config = with_settings(base(), plan)
    except UserError:
        return
    found = rehearsed_here(config, config.training.parallel.pipeline - 1)
    assert found.peak > found.weights + found.gradients
