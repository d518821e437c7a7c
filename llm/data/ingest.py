"""Ingest: the user's text becomes a corpus.

    files ──read──▶ documents ──drop exact duplicates──▶ unique documents ──split by content──▶ three Parquet files

One pass. In memory are one document, the row groups that are not full yet, and one id for each document. The recipe
holds the fingerprint of every input file, so a changed file never gives an old corpus.
"""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from llm.config import DataConfig, deciding
from llm.data.documents import OVERALL, SPLITS, CorpusWriter, Document
from llm.data.duplicates import Deduplicator
from llm.data.sources import Found, InputFile, Reason, Rejection, Source, code_of, source_of
from llm.data.split import check_no_split_is_empty, split_of
from llm.errors import UserError
from llm.runs.event_kinds import Progress, Warned
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import Amount, CorpusCounts, LeftOut, SplitAmount

NAMED = 5
PROGRESS_SHARE = 0.1
EXPLAINED = {Reason.BINARY: "binary", Reason.NOT_UTF8: "not UTF-8", Reason.EMPTY: "empty"}


def ingest(config: DataConfig, store: Store, log: EventLog) -> Manifest:
    """Read the text that `config.path` names into a corpus: `train`, `validation` and `test.parquet`.

    The counts say what was read, kept, dropped as a duplicate and rejected. Raises UserError for a path without
    text, damaged input, too much that is binary or not UTF-8, or too few documents to split.
    """
    source = source_of(config.path)
    files = source.files(config.path)
    recipe = Recipe(
        "ingest",
        deciding(config),
        code=(__name__, *code_of(source, files)),
        inputs={
            "source": type(source).__name__,
            "file": {file.name: [file.size_bytes, file.fingerprint()] for file in files},
            "python": platform.python_version(),
        },
    )
    if (done := store.find(recipe)) is not None:
        return done
    tally = Tally()
    with store.stage("corpus", recipe) as stage:
        with CorpusWriter(stage.path) as writer:
            for document in tally.counted(_read_all(source, files, config, log)):
                split = split_of(document, config.validation_fraction, config.test_fraction)
                writer.add(document, split)
                tally.keep(document, split)
        _check_rejections(tally, config)
        check_no_split_is_empty(tally.documents_by_split())
        for file in files:
            file.check_unchanged()
        for reason in (Reason.BINARY, Reason.NOT_UTF8):
            if tally.rejected[reason]:
                log.emit(Warned(message=_describe(tally, reason) + ": left out"))
        return stage.commit(tally.as_counts())


@dataclass
class Tally:
    """Counts of the documents that came in, and of those that were kept."""

    read_documents: int = 0
    duplicates: Deduplicator = field(default_factory=Deduplicator)
    rejected: Counter[Reason] = field(default_factory=Counter)
    names: dict[Reason, list[str]] = field(default_factory=lambda: defaultdict(list))
    documents: Counter[tuple[str, str]] = field(default_factory=Counter)
    size_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def counted(self, found: Iterator[Found]) -> Iterator[Document]:
        """The documents to keep; rejections and duplicates are counted and left out."""
        for one in found:
            self.read_documents += 1
            if isinstance(one, Rejection):
                self.reject(one)
            elif self.duplicates.is_new(one):
                yield one

    def reject(self, rejection: Rejection) -> None:
        """Count a document that is left out, and remember the first names."""
        self.rejected[rejection.reason] += 1
        if len(self.names[rejection.reason]) < NAMED:
            self.names[rejection.reason].append(rejection.name)

    def keep(self, document: Document, split: str) -> None:
        """Count a document of the corpus."""
        self.documents[split, document.domain] += 1
        self.size_bytes[split, document.domain] += document.size_bytes

    def documents_by_split(self) -> dict[str, int]:
        """Documents kept, by split."""
        return {split: self._sum(split, None)["documents"] for split in SPLITS}

    def as_counts(self) -> CorpusCounts:
        """The counts of the manifest: totals, by split, by domain, and what was dropped."""
        domains = sorted({domain for _, domain in self.documents})
        return CorpusCounts(
            **self._sum(None, None),
            by_split={
                split: SplitAmount(
                    **self._sum(split, None),
                    by_domain={d: Amount(**self._sum(split, d)) for d in domains if self.documents[split, d]},
                )
                for split in SPLITS
            },
            by_domain={domain: Amount(**self._sum(None, domain)) for domain in domains},
            read_documents=self.read_documents,
            duplicates=Amount(documents=self.duplicates.dropped_documents, bytes=self.duplicates.dropped_bytes),
            rejected={
                reason.value: LeftOut(documents=self.rejected[reason], first=self.names[reason]) for reason in Reason
            },
        )

    def _sum(self, split: str | None, domain: str | None) -> dict[str, int]:
        keys = [key for key in self.documents if split in (None, key[0]) and domain in (None, key[1])]
        return {
            "documents": sum(self.documents[key] for key in keys),
            "bytes": sum(self.size_bytes[key] for key in keys),
        }


def _read_all(source: Source, files: Sequence[InputFile], config: DataConfig, log: EventLog) -> Iterator[Found]:
    """Every document of every file, with progress by bytes of input."""
    total = sum(file.size_bytes for file in files)
    done, next_report = 0, 0.0
    for number, file in enumerate(files):
        if done >= next_report:
            log.emit(Progress(step="ingest", message=f"{number} of {len(files)} files", done=done, total=total))
            next_report = done + PROGRESS_SHARE * total
        for found in source.read(file, config):
            if isinstance(found, Document) and found.domain == OVERALL:
                raise UserError(f"{found.source}: no domain may be called {OVERALL}", "It is the name of the totals.")
            yield found
        done += file.size_bytes
    log.emit(Progress(step="ingest", message=f"{len(files)} of {len(files)} files", done=total, total=total))


def _check_rejections(tally: Tally, config: DataConfig) -> None:
    """Raise UserError if there is no text at all, or more that is not text than the configuration allows."""
    unreadable = [reason for reason in (Reason.BINARY, Reason.NOT_UTF8) if tally.rejected[reason]]
    rejected = sum(tally.rejected[reason] for reason in unreadable)
    if not unreadable and not tally.documents:
        raise UserError(
            f"there is no text in {config.path}",
            f"{tally.read_documents} read, {tally.rejected[Reason.EMPTY]} of them empty."
            if tally.read_documents
            else "It holds no document at all.",
        )
    share = rejected / tally.read_documents if tally.read_documents else 0.0
    if share > config.max_rejected_fraction or not tally.documents:
        raise UserError(
            f"{rejected} of {tally.read_documents} documents in {config.path} are not text ({share:.1%};"
            f" data.max_rejected_fraction={config.max_rejected_fraction} allows {config.max_rejected_fraction:.1%})",
            *(_describe(tally, reason) for reason in unreadable),
            "Name only the text (a glob such as 'folder/**/*.txt'), convert the files to UTF-8, or raise"
            " data.max_rejected_fraction.",
        )


def _describe(tally: Tally, reason: Reason) -> str:
    number, names = tally.rejected[reason], tally.names[reason]
    more = f" and {number - len(names)} more" if number > len(names) else ""
    return f"{number} {'is' if number == 1 else 'are'} {EXPLAINED[reason]}: {', '.join(names)}{more}"
