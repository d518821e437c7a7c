"""The base of all kinds of counts.

The manifest keeps the JSON of its counts as it was written, since the product's id is a hash over it. A model is a
typed view of that JSON: a writer hands a model to `Stage.commit`, a reader asks `CorpusCounts.of(manifest)`.
Law: `Kind.of(stage.commit(counts)) == counts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from llm.errors import DamagedError, UserError
from llm.storage.manifest import Manifest


class Part(BaseModel):
    """A part of counts, and their base."""

    # strict: a value is written as it came in, so that the id does not depend on the model
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Counts(Part):
    """The facts that a manifest of one kind holds about its product."""

    kind: ClassVar[str]
    """The kind of the manifest."""

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The counts of a manifest; fields that a later version added are in `model_extra`.

        Raises UserError if the manifest is of another kind, DamagedError if its counts lack something.
        """
        if manifest.kind != cls.kind:
            raise UserError(
                f"{manifest.kind} {manifest.id} is given where a {cls.kind} is needed",
                f"Give the manifest of a {cls.kind}.",
            )
        try:
            return cls.model_validate(cls.from_document(manifest.counts), extra="allow")
        except ValidationError as error:
            first = error.errors()[0]
            raise DamagedError(
                f"the manifest of {manifest.kind} {manifest.id} cannot be read:"
                f" counts.{'.'.join(map(str, first['loc']))}: {first['msg']}",
                f"Remove {manifest.uri} and run again. The step that made it will make it again.",
            ) from error

    def document(self) -> dict[str, Any]:
        """The JSON of the counts, with the fields that were given."""
        return self.model_dump(exclude_unset=True)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the model in the JSON of the counts; a kind whose JSON has another shape says here how."""
        return dict(document)
