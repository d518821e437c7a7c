from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llm.errors import UserError
from llm.generation.sampling import Sampling, candidate_probabilities, next_token

LOGITS = torch.tensor([1.0, 3.0, 2.0, 0.0, 2.5])


def test_greedy_takes_the_most_likely_token_whatever_the_seed():
    assert {next_token(LOGITS, Sampling(seed=s), torch.Generator().manual_seed(s)) for s in range(5)} == {1}


def test_of_equally_likely_tokens_greedy_takes_the_lowest_id():
    assert next_token(torch.tensor([0.0, 5.0, 5.0]), Sampling(), torch.Generator()) == 1


def test_draws_follow_the_tempered_probabilities():
    sampling, draws = Sampling(temperature=0.7), torch.Generator().manual_seed(0)
    counts = np.bincount([next_token(LOGITS, sampling, draws) for _ in range(4_000)], minlength=5)
    expected = (LOGITS.double() / 0.7).softmax(0).numpy()
    assert stats.chisquare(counts, 4_000 * expected / expected.sum()).pvalue > 0.001


def test_top_k_keeps_the_k_most_likely():
    probabilities, ids = candidate_probabilities(LOGITS, Sampling(temperature=1.0, top_k=2))
    assert ids.tolist() == [1, 4]
    torch.testing.assert_close(probabilities, LOGITS[[1, 4]].double().softmax(0))


def test_top_p_keeps_the_smallest_set_that_reaches_the_mass():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    kept = [len(candidate_probabilities(logits, Sampling(1.0, top_p=p))[1]) for p in (0.1, 0.49, 0.51, 0.79, 0.9, 1.0)]
    assert kept == [1, 1, 2, 2, 3, 4]


@given(st.floats(0.05, 5), st.integers(1, 8), st.floats(0.01, 1))
def test_candidates_are_a_distribution_over_distinct_tokens_that_holds_the_most_likely(temperature, top_k, top_p):
    probabilities, ids = candidate_probabilities(LOGITS, Sampling(temperature, top_k, top_p))
    assert float(probabilities.sum()) == pytest.approx(1)
    assert len(set(ids.tolist())) == len(ids) <= top_k
    assert ids[0] == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"temperature": -0.1}, r"temperature=-0.1 is not possible\n  allowed: 0 \(greedy\) or more"),
        ({"top_k": 0}, "top_k=0 is not possible\n  allowed: 1 or more"),
        ({"top_p": 0.0}, "top_p=0.0 is not possible\n  allowed: above 0, at most 1"),
        ({"top_p": 1.5}, "top_p=1.5 is not possible"),
        ({"seed": -1}, "seed=-1 is not possible"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_by_name(setting, message):
    with pytest.raises(UserError, match=message):
        Sampling(**setting)
