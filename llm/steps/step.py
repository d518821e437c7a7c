"""A step: its inputs and its product, its image, and its work. All else follows from it.

The command, the KFP component, its place in a pipeline, its image and its help are made from these fields, so a step
is one module (docs/extend/step.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the command line lists the steps, and loads none of this
    from llm.config import RunConfig
    from llm.runs.events import EventLog
    from llm.runs.folder import RunFolder
    from llm.storage import Manifest, Store

Image = Literal["data", "train", "export", "registry"]
"""The images that steps run in (images/images.toml)."""
ArtifactType = Literal["Artifact", "Dataset", "Model"]
"""The type of a product in Kubeflow Pipelines."""


@dataclass(frozen=True)
class Context:
    """The things that a step's body works with."""

    config: RunConfig
    folder: RunFolder
    store: Store
    log: EventLog


Given = Mapping[str, "Manifest"]
"""The manifests that a step reads, by the step that made them."""


@dataclass(frozen=True)
class Product:
    """The product of a step, as its readers see it."""

    name: str
    """The input's name in the components that read it."""
    is_: str
    """The subject of its manifest, to follow "Manifest": `of the corpus`, `that names the model version`."""
    artifact: ArtifactType = "Artifact"
    """Its type in Kubeflow Pipelines."""


@dataclass(frozen=True)
class Step:
    """A step of a pipeline."""

    name: str
    """Name of the command, the component and the task."""
    reads: tuple[str, ...]
    """The steps whose manifests it reads."""
    body: Callable[[Context, Given], Manifest]
    """Its work. Its docstring is what the command's help says beyond the purpose."""
    purpose: str = "A step."
    """Its purpose, in one line."""
    makes: Product = Product("product", "of the product")
    """The product that it makes."""
    sections: tuple[str, ...] = ()
    """The sections of the configuration that decide its result."""
    image: Image = "data"
    """The image that it runs in."""
    shows_figures: bool = False
    """Whether Kubeflow Pipelines shows the numbers of its manifest."""
    after: tuple[str, ...] = ()
    """Steps that must have ended well before it, although it reads nothing of theirs."""
    verdict: str | None = None
    """For a step that judges (its counts are `GateCounts`): what it means that the verdict is not PASS."""
    only_if: str | None = None
    """The step whose verdict must be PASS, or it is left out."""
    is_always_done: bool = False
    """Whether every run does it, since its outcome is in a service and not in the store."""
    is_quick: bool = False
    """Whether its work takes seconds, so that the search for products in a cluster (`llm.steps.reuse`) does it too."""
    pipelines: tuple[str, ...] = ("pretrain",)
    """The pipelines that it is a part of."""

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Every step that must have ended before it."""
        return tuple(dict.fromkeys((*self.reads, *self.after, *((self.only_if,) if self.only_if else ()))))
