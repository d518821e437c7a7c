"""Make `build/tiny-model`: the model that the Triton image serves when it is given none (`make images` calls this).

A model of two layers that has learnt this project's licence by heart: a text that is ours to ship, and answers that a
reader can check. It goes through the real export and its checks, so what is served is held to its checkpoint like any
other. The folder is a `repository` product with its manifest; what is up to date is left alone.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch

from llm.config import ExportConfig, ModelConfig, ServingConfig, TokenizerConfig
from llm.data.documents import CorpusWriter, Document
from llm.export.export import export
from llm.model import Decoder, initialise
from llm.model.weights import save
from llm.runs.events import EventLog
from llm.serving.triton import repository
from llm.storage import Manifest, Recipe, Store, sha256_of_file
from llm.storage.manifest import MANIFEST_NAME
from llm.tokenizer import load as load_tokenizer
from llm.tokenizer.train import train_tokenizer

PROJECT = Path(__file__).resolve().parents[1]
TARGET = PROJECT / "build" / "tiny-model"
STORE = PROJECT / "build" / "tiny-store"
HOME = "file:///opt/gristmill/tiny-model"
"""Where the image keeps it."""
TEXT = PROJECT / "LICENSE"
MODEL = ModelConfig(
    hidden_size=64,
    intermediate_size=160,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
)
VOCABULARY = 512
STEPS, BATCH, LENGTH, LR = 300, 8, 64, 1e-2
CHECKED = 4
"""Paragraphs that the export is checked on."""


def main() -> int:
    """Make it and say where it is."""
    torch.set_num_threads(1)  # at this size more wait for each other; and the bits do not depend on the machine's cores
    manifest = make(Store(STORE))
    if not (TARGET / MANIFEST_NAME).is_file() or Manifest.read(TARGET / MANIFEST_NAME).id != manifest.id:
        shutil.rmtree(TARGET, ignore_errors=True)
        shutil.copytree(manifest.verify(), TARGET)
        _at_home(manifest).write(TARGET / MANIFEST_NAME)
    size = sum(path.stat().st_size for path in TARGET.rglob("*") if path.is_file())
    print(f"{TARGET.relative_to(PROJECT)}: {manifest.id}, {size / 1e6:.1f} MB")
    return 0


def make(store: Store) -> Manifest:
    """The repository of the tiny model, version 1, in a store."""
    log = EventLog(store.root / "events.jsonl")
    corpus = _corpus(store)
    tokenizer = train_tokenizer(TokenizerConfig(vocab_size=VOCABULARY), corpus, store, log)
    checkpoint = _checkpoint(store, corpus, tokenizer)
    exported = export(ExportConfig(), checkpoint, tokenizer, corpus, store, log)
    return repository.build(ServingConfig(), exported, 1, store, log)


def _corpus(store: Store) -> Manifest:
    recipe = Recipe("ingest", {"checked": CHECKED}, inputs={"text": sha256_of_file(TEXT)}, code=("llm.data.documents",))
    if (done := store.find(recipe)) is not None:
        return done
    with store.stage("corpus", recipe) as stage:
        with CorpusWriter(stage.path) as writer:
            writer.add(Document(_text(), TEXT.name, "prose"), "train")
            for index, paragraph in enumerate(sorted(_text().split("\n\n"), key=len)[-CHECKED:]):
                writer.add(Document(paragraph, f"{TEXT.name}-{index}", "prose"), "validation")
        return stage.commit()


def _checkpoint(store: Store, corpus: Manifest, tokenizer: Manifest) -> Manifest:
    settings = {"steps": STEPS, "batch": BATCH, "length": LENGTH, "lr": LR, "model": MODEL.model_dump(mode="json")}
    recipe = Recipe("train", settings, [corpus, tokenizer], code=("llm.model",), inputs={"torch": torch.__version__})
    if (done := store.find(recipe)) is not None:
        return done
    encoder = load_tokenizer(tokenizer.verify())
    model = Decoder(MODEL, encoder.vocab_size)
    initialise(model, seed=0)
    _learn(model, torch.tensor(encoder.encode(_text())))
    with store.stage("checkpoint", recipe) as stage:
        save(model, stage.path, encoder.end_of_text)
        return stage.commit()


def _learn(model: Decoder, ids: torch.Tensor) -> None:
    """Show the text to the model, a few windows a step, at a falling rate."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, STEPS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        starts = torch.randint(len(ids) - LENGTH, (BATCH,), generator=generator).tolist()
        batch = torch.stack([ids[start : start + LENGTH + 1] for start in starts])
        logits = model(batch[:, :-1])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


def _text() -> str:
    return TEXT.read_text(encoding="utf-8")


def _at_home(manifest: Manifest) -> Manifest:
    """The manifest as the image holds it: at its place there, and with parents that are named and nowhere kept."""
    parents = [
        parent.model_copy(update={"uri": f"urn:gristmill:{parent.kind}:{parent.id}"}) for parent in manifest.parents
    ]
    return manifest.model_copy(update={"uri": HOME, "parents": tuple(parents)})


if __name__ == "__main__":
    sys.exit(main())
