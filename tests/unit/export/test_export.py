from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime_genai
import pytest
import torch

from llm.errors import DamagedError, UserError
from llm.export import onnx_check, onnx_model
from llm.export.export import export
from llm.export.onnx_model import OnnxModel
from llm.generation import Generator
from llm.model.weights import load, save
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.tokenizer import load as load_tokenizer
from llm.tokenizer import tokenizer_of
from tests.cases.export import EXPORT, Case

HF_ONLY = EXPORT.model_copy(update={"onnx": ()})


def test_the_model_comes_in_every_format_with_its_measurements(exported: Manifest) -> None:
    checks = json.loads(exported.file("checks.json").read_text())
    formats = {"huggingface", "onnx-fp32", "onnx-int4"}
    assert {entry.path.split("/")[0] for entry in exported.files} == {*formats, "checks.json"}
    assert {check["format"] for check in checks["checks"]} == formats
    assert checks["tensorrt"] == "off"


def test_int4_is_smaller_than_fp32(exported: Manifest) -> None:
    sizes = {entry.path: entry.size_bytes for entry in exported.files}
    assert sizes["onnx-int4/model.onnx.data"] < sizes["onnx-fp32/model.onnx.data"] / 4


def test_transformers_loads_the_folder_and_continues_as_the_checkpoint_does(case: Case, exported: Manifest) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = exported.folder / "huggingface"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer("def copy(", add_special_tokens=False)["input_ids"]]])
    with torch.inference_mode():
        torch.testing.assert_close(model(ids).logits, load(case.checkpoint.folder)(ids), atol=1e-4, rtol=0)


def test_the_same_checkpoint_exports_to_the_same_id_elsewhere(
    case: Case, exported: Manifest, tmp_path: Path, log: EventLog
) -> None:
    again = export(EXPORT, case.checkpoint, case.tokenizer, case.corpus, Store(tmp_path / "elsewhere"), log)
    assert (again.id, again.files) == (exported.id, exported.files)


def test_a_finished_export_is_found_again(case: Case, log: EventLog) -> None:
    assert export(EXPORT, case.checkpoint, case.tokenizer, case.corpus, case.store, log) == case.exported
    assert case.exported.id in case.store.found


def test_the_builders_chatter_goes_to_a_file(
    exported: Manifest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    onnx_model.build(exported.folder / "huggingface", tmp_path / "onnx", "int4", tmp_path / "builder.log")
    assert capfd.readouterr() == ("", "")
    assert "Saving ONNX model" in (tmp_path / "builder.log").read_text()


def test_a_model_is_stamped_with_its_builder_and_not_with_the_repository_around_it(exported: Manifest) -> None:
    model = onnx.load(exported.folder / "onnx-fp32" / "model.onnx", load_external_data=False)
    assert model.producer_version == f"{onnxruntime_genai.__version__}+{onnxruntime_genai.__commit__[:7]}"


def test_an_onnx_model_of_other_weights_is_refused_with_measure_and_tolerance(
    case: Case, store: Store, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_from_changed_weights(source: Path, folder: Path, precision: str, builder_log: Path) -> None:
        model = load(source)
        torch.nn.init.normal_(model.model.layers[0].mlp.up_proj.weight)
        changed = shutil.copytree(source, folder.with_name("changed"))
        save(model, changed)
        build(changed, folder, precision, builder_log)

    build = onnx_model.build
    monkeypatch.setattr(onnx_model, "build", build_from_changed_weights)
    fp32 = EXPORT.model_copy(update={"onnx": ("fp32",)})
    with pytest.raises(
        UserError,
        match=r"does not answer as its checkpoint.*\n.*onnx-fp32: largest logit difference"
        r" is [\d.]+, allowed: at most 0.001\n(.*\n)*  Nothing was exported. Leave the format out",
    ):
        export(fp32, case.checkpoint, case.tokenizer, case.corpus, store, log)
    assert not list((store.root / "model").glob("*"))


def test_int4_beyond_its_budget_is_refused_with_the_setting_that_allows_more(
    case: Case, store: Store, log: EventLog
) -> None:
    strict = EXPORT.model_copy(update={"onnx": ("int4",), "onnx_int4_bits_per_token_tolerance": 1e-6})
    with pytest.raises(
        UserError,
        match=r"at most 1e-06 \(export.onnx_int4_bits_per_token_tolerance\)\n.* A larger tolerance accepts it",
    ):
        export(strict, case.checkpoint, case.tokenizer, case.corpus, store, log)


def test_int4_with_too_many_other_tokens_is_refused(
    case: Case, store: Store, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_check, "INT4_GREEDY_AGREEMENT", 1.0)
    with pytest.raises(UserError, match=r"share of positions with the same .* is 0.\d+, allowed: at least 1\n"):
        export(EXPORT.model_copy(update={"onnx": ("int4",)}), case.checkpoint, case.tokenizer, case.corpus, store, log)


def test_a_changed_checkpoint_is_refused(case: Case, store: Store, log: EventLog, tmp_path: Path) -> None:
    with store.stage("checkpoint", Recipe("train", {})) as stage:
        shutil.copytree(case.checkpoint.folder, stage.path, dirs_exist_ok=True)
        (stage.path / "manifest.json").unlink()
        checkpoint = stage.commit()
    (checkpoint.folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"model.safetensors of checkpoint \w+ is damaged"):
        export(HF_ONLY, checkpoint, case.tokenizer, case.corpus, store, log)


def test_without_tensorrt_a_wanted_engine_is_refused_before_any_work(case: Case, store: Store, log: EventLog) -> None:
    wanted = EXPORT.model_copy(update={"tensorrt": "fp16"})
    with pytest.raises(UserError, match=r"export.tensorrt=fp16, but TensorRT is not installed here"):
        export(wanted, case.checkpoint, case.tokenizer, case.corpus, store, log)
    assert not store.root.exists()
    assert not log.read()


def test_genai_continues_greedily_as_the_checkpoint_does(case: Case, exported: Manifest) -> None:
    tokenizer, model = load_tokenizer(case.tokenizer.folder), load(case.checkpoint.folder)
    ids = [tokenizer.end_of_text, *tokenizer.encode("import ")]
    expected = list(ids)
    with torch.inference_mode():
        for _ in range(20):
            expected.append(int(model(torch.tensor([expected]))[0, -1].argmax()))
    [found] = OnnxModel(exported.folder / "onnx-fp32").greedy([ids], [20])
    assert ids + found == expected[: len(ids) + len(found)]


def test_logits_read_at_once_are_those_of_the_checkpoint(case: Case, exported: Manifest) -> None:
    ids = list(range(1, 40))
    with torch.inference_mode():
        expected = load(case.checkpoint.folder)(torch.tensor([ids]))[0].numpy()
    np.testing.assert_allclose(OnnxModel(exported.folder / "onnx-fp32").logits(ids), expected, atol=1e-4)


def test_a_tokenizer_that_the_checkpoint_does_not_know_is_refused(case: Case, store: Store, log: EventLog) -> None:
    other = case.tokenizer.model_copy(update={"id": "0" * 16})
    with pytest.raises(UserError, match=f"was trained with tokenizer {case.tokenizer.id}, not with 0000"):
        export(HF_ONLY, case.checkpoint, other, case.corpus, store, log)
    with pytest.raises(UserError, match="was trained with tokenizer"):
        Generator.open(case.checkpoint, other)
    assert tokenizer_of(case.checkpoint) == case.tokenizer
