"""The first weights of a training: those of a checkpoint, with rows for the training's vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from llm.adoption.checkpoint import adopt_checkpoint
from llm.adoption.find import check_adopted, refuse_folders
from llm.adoption.start import starting_checkpoint
from llm.adoption.tokenizer import adopt_tokenizer
from llm.config import ModelConfig, RunConfig
from llm.errors import UserError
from llm.model.weights import load
from llm.runs.event_kinds import StartsFrom, Warned
from llm.runs.events import EventLog
from llm.storage import Manifest, Store
from llm.tokenizer import load as load_tokenizer
from tests.cases.foreign import MODEL, TEXTS, llama, model_of, tokenizer

OTHER_TEXTS = ["grain grinding, zebra quartz; mill mill mill über über"] * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with a padded vocabulary and its tokenizer."""
    made = tmp_path / "tiny"
    llama(made, tokenizer(made, 280) + 8)
    return made


def adopted(folder: Path, store: Store, entries: int, texts: list[str] = TEXTS) -> Manifest:
    """Another tokenizer in the store."""
    home = folder.with_name(f"other-{entries}")
    tokenizer(home, entries, texts)
    return adopt_tokenizer(home, store)


def embedding(manifest: Manifest) -> torch.Tensor:
    return load(manifest.verify()).model.embed_tokens.weight.detach()


def fit(log: EventLog) -> tuple[int, int, int]:
    (event,) = log.of_kind(StartsFrom)
    return event.kept, event.of_parts, event.of_all


def test_with_its_own_tokenizer_rows_that_no_token_has_are_left_out(folder: Path, store: Store, log: EventLog):
    own = adopt_tokenizer(folder, store)
    start = starting_checkpoint(str(folder), MODEL, own, store, log)
    size = load_tokenizer(folder).vocab_size
    assert fit(log) == (size, 0, 0)
    assert torch.equal(embedding(start), load(folder).model.embed_tokens.weight[:size])
    assert {parent.kind for parent in start.parents} == {"checkpoint", "tokenizer"}
    ids = torch.arange(30)[None]
    assert torch.equal(load(start.verify())(ids), load(folder)(ids)[..., :size])


def test_equal_vocabularies_give_the_checkpoint_itself(tmp_path: Path, store: Store, log: EventLog):
    folder = tmp_path / "plain"
    llama(folder, tokenizer(folder, 280))
    checkpoint = adopt_checkpoint(folder, store, log)
    start = starting_checkpoint(checkpoint.id, MODEL, adopt_tokenizer(folder, store), store, log)
    assert start == checkpoint


def test_a_known_token_takes_its_row_along_and_a_new_one_the_mean_of_its_parts(
    folder: Path, store: Store, log: EventLog
):
    other = adopted(folder, store, 300, OTHER_TEXTS)
    start = starting_checkpoint(str(folder), MODEL, other, store, log)
    old, new = load_tokenizer(folder), load_tokenizer(other.verify())
    before, after = load(folder).model.embed_tokens.weight.detach(), embedding(start)
    assert len(after) == new.vocab_size
    assert torch.equal(after[new.end_of_text], before[old.end_of_text])
    parts_seen = 0
    for row in range(new.vocab_size):
        content = new.decode_bytes([row])
        if row == new.end_of_text or b"\xc3" in content or b"\xbc" in content or max(content) > 127:
            continue
        parts = old.encode(content.decode())
        parts_seen += len(parts) > 1
        torch.testing.assert_close(after[row], before[parts].mean(0), rtol=1e-6, atol=1e-6)
    assert parts_seen > 5
    kept, of_parts, of_all = fit(log)
    assert (kept + of_parts + of_all, of_all) == (new.vocab_size, 0)
    assert of_parts >= parts_seen


def test_a_token_that_is_a_part_of_a_character_is_the_mean_of_its_bytes(folder: Path, store: Store, log: EventLog):
    other = adopted(folder, store, 270, ["αβγα ββ"] * 5)
    new = load_tokenizer(other.verify())
    old = load_tokenizer(folder)
    row = next(row for row in range(256, new.vocab_size - 1) if not _is_text(new.decode_bytes([row])))
    start = starting_checkpoint(str(folder), MODEL, other, store, log)
    before = load(folder).model.embed_tokens.weight.detach()
    single = {old.decode_bytes([one]): one for one in range(256)}
    parts = [single[bytes([byte])] for byte in new.decode_bytes([row])]
    torch.testing.assert_close(embedding(start)[row], before[parts].mean(0), rtol=1e-6, atol=1e-6)


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_without_its_tokenizer_new_rows_are_the_mean_of_all(tmp_path: Path, store: Store, log: EventLog):
    folder, bare = tmp_path / "plain", tmp_path / "bare"
    size = tokenizer(folder, 280)
    llama(bare, size - 3)
    start = starting_checkpoint(str(bare), MODEL, adopt_tokenizer(folder, store), store, log)
    before, after = load(bare).model.embed_tokens.weight.detach(), embedding(start)
    assert fit(log) == (size - 3, 0, 3)
    assert torch.equal(after[: size - 3], before)
    torch.testing.assert_close(after[size - 3 :], before.mean(0).expand(3, -1), rtol=1e-5, atol=1e-6)
    assert any("does not name its tokenizer" in event.message for event in log.of_kind(Warned))


def test_without_its_tokenizer_a_smaller_vocabulary_is_refused(tmp_path: Path, store: Store, log: EventLog):
    folder, bare = tmp_path / "plain", tmp_path / "bare"
    size = tokenizer(folder, 280)
    llama(bare, size + 1)
    with pytest.raises(UserError, match=f"the vocabulary has {size} entries, and the checkpoint {size + 1}"):
        starting_checkpoint(str(bare), MODEL, adopt_tokenizer(folder, store), store, log)


def test_a_head_of_its_own_gets_new_rows_too(tmp_path: Path, store: Store, log: EventLog):
    folder = tmp_path / "untied"
    size = tokenizer(folder, 280)
    model_of("LlamaForCausalLM", "llama", size, tie_word_embeddings=False).save_pretrained(folder)
    other = adopted(folder, store, 300, OTHER_TEXTS)
    untied = MODEL.model_copy(update={"tie_word_embeddings": False})
    start = load(starting_checkpoint(str(folder), untied, other, store, log).verify())
    before, new, old = load(folder), load_tokenizer(other.verify()), load_tokenizer(folder)
    assert start.lm_head is not None
    assert before.lm_head is not None
    assert torch.equal(start.lm_head.weight[new.end_of_text], before.lm_head.weight[old.end_of_text])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"hidden_size": 96, "num_hidden_layers": 4}, "model.hidden_size is 64 there, and 96 in the configuration"),
        ({"rms_norm_eps": 1e-5}, "model.rms_norm_eps is 1e-06 there, and 1e-05"),
        ({"qk_norm": True}, "model.qk_norm is False there, and True"),
        ({"num_unique_layers": 1}, "gives each layer its own weights"),
    ],
)
def test_another_model_is_refused_with_the_first_key(
    folder: Path, store: Store, log: EventLog, change: dict[str, Any], what: str
):
    own = adopt_tokenizer(folder, store)
    with pytest.raises(UserError, match=what):
        starting_checkpoint(str(folder), MODEL.model_copy(update=change), own, store, log)


def test_dropout_of_the_training_and_the_written_width_of_a_head_may_differ(folder: Path, store: Store, log: EventLog):
    model = MODEL.model_copy(update={"attention_dropout": 0.1, "residual_dropout": 0.1, "head_dim": 16})
    starting_checkpoint(str(folder), model, adopt_tokenizer(folder, store), store, log)


def config(store: Store, model: ModelConfig, start: str, tokenizer: str | None = None) -> RunConfig:
    return RunConfig.model_validate({
        "storage": {"uri": str(store.root)}, "model": json.loads(model.model_dump_json()),
        "training": {"start_from": start}, "tokenizer": {"adopted": tokenizer},
    })  # fmt: skip


def test_a_run_is_refused_before_its_first_step(folder: Path, store: Store, log: EventLog):
    checkpoint = adopt_checkpoint(folder, store, log)
    check_adopted(config(store, MODEL, checkpoint.id))
    check_adopted(config(store, MODEL, str(folder)))
    with pytest.raises(UserError, match=r"model.hidden_size is 64 there"):
        check_adopted(config(store, ModelConfig(), checkpoint.id))
    with pytest.raises(UserError, match=r"training.start_from=nothing is no folder here, and no checkpoint in"):
        check_adopted(config(store, MODEL, "nothing"))
    with pytest.raises(UserError, match=r"tokenizer.adopted=nothing is no folder here"):
        check_adopted(config(store, MODEL, checkpoint.id, "nothing"))


def test_a_folder_of_this_machine_is_refused_for_containers(folder: Path, store: Store):
    refuse_folders(config(store, MODEL, "checkpoint/x@1", "x@1"))
    with pytest.raises(UserError, match=f"gristmill adopt checkpoint {folder}"):
        refuse_folders(config(store, MODEL, str(folder)))
    with pytest.raises(UserError, match=r"tokenizer.adopted=.* is a folder of this machine"):
        refuse_folders(config(store, MODEL, "x@1", str(folder)))
