"""One validated, frozen configuration for a whole run."""

from llm.config.check import check_across_sections
from llm.config.load import CONFIGS, compose, from_earlier_yaml, from_yaml, to_yaml, validated, without_secrets
from llm.config.sections import (
    ClusterConfig,
    DataConfig,
    EvaluationConfig,
    ExportConfig,
    GateConfig,
    ModelConfig,
    RunConfig,
    RunSection,
    ServingConfig,
    StorageConfig,
    TensorRTConfig,
    TokenizerConfig,
    TrackingConfig,
    TrainingConfig,
    ValidationConfig,
)
from llm.config.spelling import nearest

__all__ = [
    "CONFIGS",
    "ClusterConfig",
    "DataConfig",
    "EvaluationConfig",
    "ExportConfig",
    "GateConfig",
    "ModelConfig",
    "RunConfig",
    "RunSection",
    "ServingConfig",
    "StorageConfig",
    "TensorRTConfig",
    "TokenizerConfig",
    "TrackingConfig",
    "TrainingConfig",
    "ValidationConfig",
    "check_across_sections",
    "compose",
    "from_earlier_yaml",
    "from_yaml",
    "nearest",
    "to_yaml",
    "validated",
    "without_secrets",
]
