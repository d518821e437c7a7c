"""The tokenize step: a corpus as one long row of ids a split, ready to be read by memmap."""

from __future__ import annotations

import numpy as np

from llm.data.documents import read_split
from llm.data.shards import ShardWriter, write_meta
from llm.runs.event_kinds import Progress
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import ShardsCounts, TokenAmount
from llm.tokenizer.tokenizer import load

SPLITS = ("train", "validation")
"""The test split is scored as text, by the evaluation alone."""

BATCH_DOCUMENTS = 512


def write_shards(corpus: Manifest, tokenizer: Manifest, store: Store, log: EventLog) -> Manifest:
    """Encode the train and validation splits; counts: documents, tokens and bytes of each."""
    recipe = Recipe("tokenize", {}, [corpus, tokenizer], code=(__name__,))
    if (done := store.find(recipe)) is not None:
        return done
    corpus.verify()
    encoder = load(tokenizer.verify())
    with store.stage("shards", recipe) as stage:
        counts = {}
        for split in SPLITS:
            documents = read_split(corpus, split, ["text", "domain"])
            texts, domains = documents["text"].to_list(), documents["domain"].to_list()
            with ShardWriter(stage.path, split, encoder.vocab_size) as writer:
                for start in range(0, len(texts), BATCH_DOCUMENTS):
                    batch = slice(start, start + BATCH_DOCUMENTS)
                    for ids, domain in zip(encoder.encode_batch(texts[batch]), domains[batch], strict=True):
                        writer.add(np.concatenate(([encoder.end_of_text], ids)), domain)
                    log.emit(Progress(step="tokenize", message=split, done=min(batch.stop, len(texts)),
                                      total=len(texts)))  # fmt: skip
            counts[split] = TokenAmount(
                documents=len(texts),
                tokens=writer.tokens,
                bytes=sum(len(text.encode()) for text in texts),
            )
        write_meta(stage.path, encoder.vocab_size, encoder.end_of_text)
        return stage.commit(ShardsCounts(**counts))
