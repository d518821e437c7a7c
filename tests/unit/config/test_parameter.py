"""A configuration as a pipeline's parameter: nobody on the way changes it, and every parser gives it back."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from llm.config import DataConfig, EvaluationConfig, RunConfig, from_yaml, to_parameter

REPLACED = ("{{", "$", "/kfp-workspace")
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["{", "}", "{{", "$(A)", "$$", "/kfp-workspace", "\\", '"', "\x85", "\u2028", "\ufeff"]),
        st.text(),
    )
).map("".join)


@settings(deadline=None, max_examples=60)
@given(path=TEXTS.filter(str.strip), prompt=TEXTS)
def test_it_comes_back_as_it_was_and_holds_nothing_that_is_replaced(path: str, prompt: str):
    config = RunConfig(
        data=DataConfig(path=path),
        evaluation=EvaluationConfig(prompts=(prompt,)),
    )
    sent = to_parameter(config)
    assert len(sent.splitlines()) == 1
    assert [text for text in REPLACED if text in sent] == []
    assert json.loads(sent) == config.model_dump(mode="json")
    assert from_yaml(sent).evaluation.prompts == (prompt,)
    assert from_yaml(sent).data.path == path
