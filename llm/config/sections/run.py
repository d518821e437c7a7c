"""A whole run: all sections, and the run itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llm.config.decides import COURSE, NOTHING
from llm.config.sections.base import Section, Text
from llm.config.sections.cluster import ClusterConfig, PodsConfig
from llm.config.sections.data import DataConfig, TokenizerConfig, ValidationConfig
from llm.config.sections.evaluation import EvaluationConfig, GateConfig
from llm.config.sections.export import ExportConfig
from llm.config.sections.model import ModelConfig
from llm.config.sections.plan import PlanConfig
from llm.config.sections.serving import ServingConfig
from llm.config.sections.storage import StorageConfig
from llm.config.sections.tracking import CostsConfig, TrackingConfig
from llm.config.sections.training import TrainingConfig


class RunSection(Section):
    """The run itself."""

    folder: Text = "runs"
    """Folder of all runs; an `s3://` URI where the steps share no disk (`gristmill submit` sets it)."""
    name: Annotated[str | None, NOTHING] = Field(default=None, pattern=r"^[^/.][^/]*$")
    """Name of this run's folder; None: made from the pipeline and the config, so the same command goes on in it."""
    retrain: bool = False
    """Train again although a finished training of exactly this recipe is there."""


class RunConfig(Section):
    """A whole run, carried as one YAML document."""

    data: DataConfig = DataConfig()
    """Data."""
    validation: ValidationConfig = ValidationConfig()
    """Validation."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """Tokenizer."""
    model: ModelConfig = ModelConfig()
    """Model."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """Training."""
    plan: Annotated[PlanConfig, NOTHING] = PlanConfig()
    """Plan."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation."""
    gate: GateConfig = GateConfig()
    """Gate."""
    export: ExportConfig = ExportConfig()
    """Export."""
    serving: ServingConfig = ServingConfig()
    """Serving."""
    tracking: Annotated[TrackingConfig, NOTHING] = TrackingConfig()
    """Tracking."""
    costs: Annotated[CostsConfig, NOTHING] = CostsConfig()
    """Costs."""
    storage: Annotated[StorageConfig, COURSE] = StorageConfig()
    """Storage."""
    cluster: Annotated[ClusterConfig, COURSE] = ClusterConfig()
    """Cluster."""
    pods: Annotated[PodsConfig, NOTHING] = PodsConfig()
    """Pods of the steps."""
    run: Annotated[RunSection, COURSE] = RunSection()
    """Run."""
