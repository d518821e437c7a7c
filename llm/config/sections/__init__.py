"""The sections of a run's configuration: one frozen model each, unknown keys refused.

Under every field stands what it means and its unit; the reference page is made from these lines. Defaults live
here, named settings (a model's size, a machine's training) in `llm/config/settings/`.
"""

from llm.config.sections.base import Section
from llm.config.sections.cluster import ClusterConfig, PodConfig, PodsConfig, Toleration
from llm.config.sections.data import DataConfig, TokenizerConfig, ValidationConfig
from llm.config.sections.evaluation import EvaluationConfig, GateConfig, MetricRule
from llm.config.sections.export import ExportConfig
from llm.config.sections.model import ModelConfig
from llm.config.sections.plan import PlanConfig
from llm.config.sections.run import RunConfig, RunSection
from llm.config.sections.serving import ServingConfig
from llm.config.sections.storage import StorageConfig
from llm.config.sections.tracking import CostsConfig, TrackingConfig
from llm.config.sections.training import TrainingConfig

__all__ = [
    "ClusterConfig",
    "CostsConfig",
    "DataConfig",
    "EvaluationConfig",
    "ExportConfig",
    "GateConfig",
    "MetricRule",
    "ModelConfig",
    "PlanConfig",
    "PodConfig",
    "PodsConfig",
    "RunConfig",
    "RunSection",
    "Section",
    "ServingConfig",
    "StorageConfig",
    "TokenizerConfig",
    "Toleration",
    "TrackingConfig",
    "TrainingConfig",
    "ValidationConfig",
]
