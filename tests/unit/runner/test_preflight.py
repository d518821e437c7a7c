"""What is found before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.config import compose
from llm.runner import preflight as preflight_module
from llm.runner.preflight import preflight
from llm.storage import Store


def test_every_warning_reaches_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Store, "check_access", lambda store: ["of the store"])
    monkeypatch.setattr(preflight_module, "check_mlflow", lambda *_: ["of MLflow"])
    config = compose([f"storage.uri={tmp_path / 'store'}", f"run.folder={tmp_path / 'runs'}"])
    assert preflight(config) == ["of the store", "of MLflow"]
