"""The smallest real model: a corpus of the interpreter's sources, its tokenizer, a checkpoint that learnt a little.

Made once for all tests of a session, of export and of serving.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from llm.config import ExportConfig, ModelConfig, TokenizerConfig
from llm.data.documents import CorpusWriter, Document
from llm.export.export import export
from llm.model import Decoder, initialise
from llm.model.weights import save
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.tokenizer import load as load_tokenizer
from llm.tokenizer.train import train_tokenizer

MODULES = ("abc", "bisect", "cmd", "code", "copy", "fnmatch", "glob", "heapq", "keyword", "queue", "shelve", "stat")
MODEL = ModelConfig(
    hidden_size=64,
    intermediate_size=160,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
)
EXPORT = ExportConfig()
STEPS = 60


@dataclass(frozen=True)
class Case:
    """What the export step reads, and what it made of it."""

    store: Store
    corpus: Manifest
    tokenizer: Manifest
    checkpoint: Manifest
    exported: Manifest


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread: at this size, several spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def make_case(folder: Path, seed: int = 0) -> Case:
    store = Store(folder / "export-case")
    log = EventLog(store.root / "events.jsonl")
    corpus = _corpus(store)
    tokenizer = train_tokenizer(TokenizerConfig(vocab_size=512), corpus, store, log)
    checkpoint = _checkpoint(store, corpus, tokenizer, seed)
    return Case(store, corpus, tokenizer, checkpoint, export(EXPORT, checkpoint, tokenizer, corpus, store, log))


def _corpus(store: Store) -> Manifest:
    library = Path(sysconfig.get_paths()["stdlib"])
    with store.stage("corpus", Recipe("ingest", {"modules": MODULES})) as stage:
        with CorpusWriter(stage.path) as writer:
            for index, name in enumerate(MODULES):
                text = (library / f"{name}.py").read_text()
                writer.add(Document(text, f"{name}.py", "code"), "validation" if index < 4 else "train")
        return stage.commit()


def _checkpoint(store: Store, corpus: Manifest, tokenizer: Manifest, seed: int) -> Manifest:
    """A few steps of training, so that its likeliest tokens stand clear of the others."""
    encoder = load_tokenizer(tokenizer.folder)
    model = Decoder(MODEL, encoder.vocab_size)
    initialise(model, seed=seed)
    library = Path(sysconfig.get_paths()["stdlib"])
    ids = torch.tensor([i for name in MODULES for i in encoder.encode((library / f"{name}.py").read_text())])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        starts = torch.randint(len(ids) - 33, (8,), generator=generator).tolist()
        batch = torch.stack([ids[start : start + 33] for start in starts])
        logits = model(batch[:, :-1])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    recipe = Recipe("train", {"steps": STEPS, "seed": seed}, [corpus, tokenizer])
    with store.stage("checkpoint", recipe) as stage:
        save(model, stage.path, encoder.end_of_text)
        return stage.commit()
