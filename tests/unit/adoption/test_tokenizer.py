"""A tokenizer of others is taken if our encoder gives the ids that its makers meant, else refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm.adoption.tokenizer import SAMPLES, adopt_tokenizer, tokenizer_named
from llm.errors import UserError
from llm.storage import Store
from llm.storage.names import give_name
from llm.storage.products import TokenizerCounts
from llm.tokenizer import load
from tests.cases.foreign import tokenizer

Document = dict[str, Any]
GPT4 = {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "behavior": "Isolated", "invert": False, "pattern": {"Regex": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
     r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"}},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
]}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tiny"
    tokenizer(made, 280)
    return made


def change(folder: Path, how: Callable[[Document], object]) -> None:
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    how(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def end(document: Document) -> Document:
    found: Document = document["added_tokens"][0]
    return found


def test_it_becomes_a_product_with_its_own_bytes(folder: Path, store: Store):
    manifest = adopt_tokenizer(folder, store)
    assert manifest.file("tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert TokenizerCounts.of(manifest).vocab_size == load(folder).vocab_size
    assert adopt_tokenizer(folder, store).id == manifest.id


@pytest.mark.parametrize(
    "how",
    [
        lambda document: document["model"]["vocab"].update({end(document)["content"]: end(document)["id"]}),  # GPT-2's
        lambda document: document.update(pre_tokenizer=GPT4),  # Qwen's pattern
        lambda document: document["model"].update(merges=[" ".join(pair) for pair in document["model"]["merges"]]),
    ],
)
def test_forms_of_other_makers_are_read(folder: Path, store: Store, how: Callable[[Document], object]):
    before = load(folder).vocab_size
    change(folder, how)
    made = load(adopt_tokenizer(folder, store).verify())
    assert made.vocab_size == before
    assert all(made.decode(made.encode(sample)) == sample for sample in SAMPLES)


def test_further_special_tokens_count_and_leave_no_text(folder: Path, store: Store):
    def add(document: Document) -> None:
        document["added_tokens"].append({**end(document), "id": end(document)["id"] + 1, "content": "<|im_start|>"})

    before = load(folder).vocab_size
    change(folder, add)
    made = load(adopt_tokenizer(folder, store).verify())
    assert made.vocab_size == before + 1
    assert made.decode([*made.encode("mill"), before, made.end_of_text]) == "mill"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (lambda document: document["model"].update(type="WordPiece"), "its model is WordPiece"),
        (lambda document: document["model"].update(vocab=[["a", 0.0]]), "no BPE with a vocabulary"),
        (lambda document: document["added_tokens"].clear(), r"no token <\|endoftext\|>"),
        (lambda document: document.update(normalizer={"type": "NFC"}), r"its normalizer \(NFC\) changes the text"),
        (lambda document: document["pre_tokenizer"].update(add_prefix_space=True), "puts a space before each text"),
        (lambda document: document.update(pre_tokenizer={"type": "Metaspace", "replacement": "_"}), "Metaspace"),
        (lambda document: document["model"].update(dropout=0.1), "dropout=0.1"),
        (lambda document: document["model"].update(byte_fallback=True), "falls back to bytes"),
        (lambda document: end(document).update(id=999), "its ids have holes"),
        (lambda document: document.update(pre_tokenizer=None), "has other ids in the library tokenizers"),
    ],
)
def test_what_our_encoder_would_read_otherwise_is_refused(
    folder: Path, store: Store, how: Callable[[Document], object], why: str
):
    change(folder, how)
    with pytest.raises(UserError, match=why):
        adopt_tokenizer(folder, store)
    assert not store.root.exists()


@pytest.mark.parametrize(("content", "why"), [("{", "cannot be read"), ("[]", "no mapping"), ("{}", "no BPE")])
def test_nonsense_is_refused(folder: Path, store: Store, content: str, why: str):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=why):
        adopt_tokenizer(folder, store)


def test_a_folder_without_one_is_refused(tmp_path: Path, store: Store):
    with pytest.raises(UserError, match=r"there is no tokenizer.json in"):
        adopt_tokenizer(tmp_path, store)


def test_a_run_names_it_by_id_by_name_or_by_folder(folder: Path, store: Store):
    manifest = adopt_tokenizer(folder, store)
    size = load(folder).vocab_size
    name = give_name(store.objects, "tokenizer", manifest.id, "tiny")
    for text in (manifest.id, f"tokenizer/{manifest.id}", name, "tiny@1", str(folder)):
        assert tokenizer_named(text, size, store).id == manifest.id
    assert manifest.id in store.found, "no tokenizer is trained"
    with pytest.raises(UserError, match=f"Set tokenizer.vocab_size={size}"):
        tokenizer_named("tiny@1", 4096, store)
    for text in ("nothing", "a/b", "../x", "x" * 400):
        with pytest.raises(UserError, match="is no folder here, and no tokenizer in"):
            tokenizer_named(text, size, store)
    with pytest.raises(UserError, match="there is no tokenizer named tiny@2"):
        tokenizer_named("tiny@2", size, store)
