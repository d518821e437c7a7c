"""One validated, frozen configuration for a whole run."""

from llm.config.checks import check_across_sections
from llm.config.decides import Decides, deciding, marked
from llm.config.imported import import_named, mistake_in_named
from llm.config.load import SETTINGS, compose, from_earlier_yaml, from_yaml, to_yaml, validated
from llm.config.parameter import to_parameter
from llm.config.secrets import without_secrets
from llm.config.sections import (
    ClusterConfig,
    CostsConfig,
    DataConfig,
    EvaluationConfig,
    ExportConfig,
    GateConfig,
    ModelConfig,
    PlanConfig,
    PodConfig,
    PodsConfig,
    RunConfig,
    RunSection,
    ServingConfig,
    StorageConfig,
    TokenizerConfig,
    TrackingConfig,
    TrainingConfig,
    ValidationConfig,
)
from llm.config.spelling import nearest

__all__ = [
    "SETTINGS",
    "ClusterConfig",
    "CostsConfig",
    "DataConfig",
    "Decides",
    "EvaluationConfig",
    "ExportConfig",
    "GateConfig",
    "ModelConfig",
    "PlanConfig",
    "PodConfig",
    "PodsConfig",
    "RunConfig",
    "RunSection",
    "ServingConfig",
    "StorageConfig",
    "TokenizerConfig",
    "TrackingConfig",
    "TrainingConfig",
    "ValidationConfig",
    "check_across_sections",
    "compose",
    "deciding",
    "from_earlier_yaml",
    "from_yaml",
    "import_named",
    "marked",
    "mistake_in_named",
    "nearest",
    "to_parameter",
    "to_yaml",
    "validated",
    "without_secrets",
]
