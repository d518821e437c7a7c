from __future__ import annotations

import pytest

from llm.config import ServingConfig
from llm.errors import DamagedError, UserError
from llm.runs.events import EventLog
from llm.serving.triton.repository import build, config_pbtxt
from llm.storage import Manifest, Recipe, Store


@pytest.fixture
def model(store: Store) -> Manifest:
    with store.stage("model", Recipe("export", {})) as stage:
        (stage.path / "onnx-fp32").mkdir()
        for name in ("model.onnx", "tokenizer.json"):
            (stage.path / "onnx-fp32" / name).write_text(name)
        return stage.commit()


def test_a_repository_holds_config_backend_and_model(model: Manifest, store: Store, log: EventLog) -> None:
    repository = build(ServingConfig(model_name="mill"), model, 3, store, log)
    assert [entry.path for entry in repository.files] == [
        "mill/3/decoding.py", "mill/3/model.py", "mill/3/onnx/model.onnx", "mill/3/onnx/tokenizer.json",
        "mill/config.pbtxt",
    ]  # fmt: skip
    assert repository.counts == {"model_name": "mill", "version": 3, "precision": "fp32"}


def test_only_another_version_makes_another_repository(model: Manifest, store: Store, log: EventLog) -> None:
    first = build(ServingConfig(), model, 1, store, log)
    assert build(ServingConfig(), model, 1, store, log).id == first.id
    assert build(ServingConfig(), model, 2, store, log).id != first.id


def test_a_precision_that_was_not_exported_is_refused(model: Manifest, store: Store, log: EventLog) -> None:
    with pytest.raises(UserError, match=r"has no onnx-int4 to serve\n.*needs export.onnx to contain int4"):
        build(ServingConfig(precision="int4"), model, 1, store, log)


def test_a_changed_model_is_refused(model: Manifest, store: Store, log: EventLog) -> None:
    (model.folder / "onnx-fp32" / "model.onnx").write_text("other")
    with pytest.raises(DamagedError, match=r"onnx-fp32/model\.onnx of model"):
        build(ServingConfig(), model, 1, store, log)


def test_tritons_configuration_stays_as_it_is(golden) -> None:
    golden("config.pbtxt", config_pbtxt(ServingConfig()))
