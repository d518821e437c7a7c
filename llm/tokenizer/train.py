"""The tokenizer step: train on the train split, prove the round trip on the validation split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm.config import TokenizerConfig, deciding
from llm.data.documents import read_split
from llm.errors import GristmillError, UserError
from llm.runs.event_kinds import Progress
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import TokenizerCounts
from llm.tokenizer.bpe import END_OF_TEXT, BpeTrainer, GigatokenTrainer
from llm.tokenizer.tokenizer import TOKENIZER, Tokenizer


def train_tokenizer(config: TokenizerConfig, corpus: Manifest, store: Store, log: EventLog) -> Manifest:
    """Train a byte-level BPE on the corpus; counts: vocab_size, documents round-tripped, fertility by domain.

    Raises UserError if the corpus cannot fill the vocabulary, GristmillError naming the document if one does not
    survive the round trip: a fault of ours or of the library's, and no model may be trained on such ids.
    """
    recipe = Recipe(
        "tokenizer",
        deciding(config),
        [corpus],
        code=(__name__,),
    )
    if (done := store.find(recipe)) is not None:
        return done
    corpus.verify()
    log.emit(Progress(step="tokenizer", message=f"training a vocabulary of {config.vocab_size:,}"))
    trainer: BpeTrainer = GigatokenTrainer()
    document = trainer.train(read_split(corpus, "train", ["text"])["text"].to_list(), config.vocab_size)
    tokenizer = Tokenizer(document)
    if tokenizer.vocab_size < config.vocab_size:
        raise UserError(
            f"tokenizer.vocab_size={config.vocab_size} is more than this corpus can fill: it gives"
            f" {tokenizer.vocab_size} entries",
            f"Set tokenizer.vocab_size to at most {tokenizer.vocab_size}, or give more text.",
        )
    with store.stage("tokenizer", recipe) as stage:
        write_files(document, stage.path)
        return stage.commit(TokenizerCounts(vocab_size=tokenizer.vocab_size, **_examine(tokenizer, corpus)))


def write_files(document: str, folder: Path) -> None:
    """Write `tokenizer.json`, and the other files that `transformers.AutoTokenizer` needs."""
    (folder / TOKENIZER).write_text(document, encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "unk_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def _examine(tokenizer: Tokenizer, corpus: Manifest) -> dict[str, Any]:
    """Round trip of every validation document, and bytes a token by domain."""
    documents = read_split(corpus, "validation", ["id", "text", "domain"])
    bytes_by_domain: dict[str, int] = {}
    tokens_by_domain: dict[str, int] = {}
    encoded = tokenizer.encode_batch(documents["text"].to_list())
    for (name, text, domain), ids in zip(documents.iter_rows(), encoded, strict=True):
        data = text.encode()
        if tokenizer.decode_bytes(ids) != data:
            raise GristmillError(
                f"document {name} of the validation split does not survive encoding and decoding",
                "This is a fault of the tokenizer, not of the text: please report it with the document.",
            )
        bytes_by_domain[domain] = bytes_by_domain.get(domain, 0) + len(data)
        tokens_by_domain[domain] = tokens_by_domain.get(domain, 0) + len(ids)
    return {
        "documents_round_tripped": len(encoded),
        "bytes_per_token": {
            domain: round(bytes_by_domain[domain] / tokens_by_domain[domain], 4) for domain in sorted(bytes_by_domain)
        },
    }
