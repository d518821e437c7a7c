"""Parquet: a row is one document, with a column for the text.

A row may carry the columns `source`, `domain`, `licence` (or `license`) and `meta`; they go before the configuration's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm.config import DataConfig
from llm.data.sources.formats.decode import at_most
from llm.data.sources.formats.record import CARRIED, document_of
from llm.data.sources.protocol import Format, Found, InputFile
from llm.errors import UserError

BATCH_ROWS = 1024
TEXT_TYPES = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")


class Parquet(Format):
    """`.parquet`."""

    def recognises(self, file: InputFile) -> bool:
        """By the name."""
        return file.format == ".parquet"

    def read(self, file: InputFile, config: DataConfig) -> Iterator[Found]:
        """A document a row; a null is an empty document."""
        import pyarrow as pa

        try:
            yield from _rows(file, config)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UserError(
                f"{file.path or file.name} is damaged, or not Parquet: {str(error).splitlines()[0]}",
                "Copy it again, or take it out of data.path.",
            ) from error


FORMAT = Parquet()


def _rows(file: InputFile, config: DataConfig) -> Iterator[Found]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with file.open() as stream:
        # Parquet is read from its end: a compressed stream has to be unpacked first.
        table = pq.ParquetFile(stream if stream.seekable() else pa.BufferReader(stream.read()))
        columns = _columns(table.schema_arrow, file.name, config)
        row = 0
        for batch in table.iter_batches(BATCH_ROWS, columns=columns):
            texts = batch.column(config.text_field).cast(pa.large_binary()).to_pylist()
            others = batch.select([name for name in columns if name != config.text_field]).to_pylist()
            for text, record in zip(texts, others or [{}] * len(texts), strict=True):
                row += 1
                name = f"{file.name}:{row}"
                yield document_of(at_most(text or b"", name), name, record, config)


def _columns(schema: Any, name: str, config: DataConfig) -> list[str]:
    if config.text_field not in schema.names:
        raise UserError(
            f'{name} has no column "{config.text_field}"',
            f"It has: {', '.join(schema.names)}. Name the column that holds the text with data.text_field=….",
        )
    carried = [column for column in CARRIED if column in schema.names and column != config.text_field]
    wanted = [config.text_field, *carried]
    if twice := [column for column in wanted if schema.names.count(column) > 1]:
        raise UserError(f'{name} has more than one column "{twice[0]}"', "Rename one of them.")
    kind = schema.field(config.text_field).type
    if str(kind) not in TEXT_TYPES:
        raise UserError(f'{name}: column "{config.text_field}" is {kind}, not a string')
    return wanted
