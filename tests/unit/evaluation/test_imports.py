"""A step that finds its product in the store, and the gate, do not wait for torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

FIND_METRICS = "from llm.config import EvaluationConfig; evaluate.find_metrics(EvaluationConfig().metrics)"


@pytest.mark.parametrize(
    "script",
    [
        f"from llm.evaluation import evaluate; {FIND_METRICS}",
        "import llm.evaluation.gate.gate",
        "import llm.export.export",
    ],
    ids=["evaluate", "gate", "export"],
)
def test_torch_is_not_loaded_before_there_is_something_to_do(script: str):
    command = [sys.executable, "-c", f"{script}; import sys; print('loaded:', 'torch' in sys.modules)"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.stdout, ended.returncode) == ("loaded: False\n", 0), ended.stderr
