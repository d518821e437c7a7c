"""A rehearsal in this process: a process group of fake ranks, for as long as it lasts."""

from __future__ import annotations

import warnings

import torch.distributed as dist

from llm.config import RunConfig
from llm.training.rehearsal.rank import rehearse
from llm.training.rehearsal.rehearse import Rehearsed

SMALL = ("model.hidden_size=64", "model.intermediate_size=96", "model.num_hidden_layers=2", "tokenizer.vocab_size=300",
         "model.num_attention_heads=4", "model.num_key_value_heads=2", "model.max_position_embeddings=64",
         "model.tie_word_embeddings=false", "training.batch.sequence_length=64", "training.batch.tokens=512",
         "training.batch.micro_batch_size=4", "training.compute.precision=fp32",
         "training.parallel.backend.name=fsdp")  # fmt: skip


def rehearsed_here(config: RunConfig, stage: int = 0) -> Rehearsed:
    """The first rank of a stage."""
    parallel = config.training.parallel
    rank = stage * (parallel.world_size // parallel.pipeline)
    with warnings.catch_warnings(action="ignore"):  # as in a process of its own
        try:
            return rehearse(config.model, config.training, config.tokenizer.vocab_size, rank)
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()
