"""The facts about a product under `counts` of its manifest: one frozen model for each kind of product.

They are here, in the lowest package that knows manifests, and not in the areas that make the products: the report, the
registry and the list of runs read them, and must not import torch or polars for that. A new kind is a subclass of
`Counts`. A field that is added to a kind later needs a default, so that manifests from before still read.
"""

from llm.storage.products.counts import Counts
from llm.storage.products.data import (
    Amount,
    CorpusCounts,
    LeftOut,
    ShardsCounts,
    SplitAmount,
    TokenAmount,
    TokenizerCounts,
    ValidationCounts,
)
from llm.storage.products.evaluation import EvaluationCounts, GateCounts, MetricKind
from llm.storage.products.serving import PromotionCounts, RegistrationCounts, RepositoryCounts
from llm.storage.products.training import CheckpointCounts, ModelCounts

__all__ = [
    "Amount",
    "CheckpointCounts",
    "CorpusCounts",
    "Counts",
    "EvaluationCounts",
    "GateCounts",
    "LeftOut",
    "MetricKind",
    "ModelCounts",
    "PromotionCounts",
    "RegistrationCounts",
    "RepositoryCounts",
    "ShardsCounts",
    "SplitAmount",
    "TokenAmount",
    "TokenizerCounts",
    "ValidationCounts",
]
