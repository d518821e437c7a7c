"""DeepSpeed's engine: how it is imported, and its configuration for a training of ours.

The optimizer is torch's own, so that DeepSpeed compiles no operator at its start. Weights stay float32.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from llm.config import TrainingConfig
from llm.training.backend.deepspeed import BUCKET_ELEMENTS

if TYPE_CHECKING:
    from llm.training.backend.deepspeed import DeepSpeed


def import_deepspeed() -> Any:
    """DeepSpeed without its messages and without two things that it does at its start."""
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    hidden = sys.modules.get("mlflow")
    sys.modules["mlflow"] = None  # type: ignore[assignment]  # only its autotuner needs it, and it takes four fifths of the import's time
    try:
        import deepspeed
    finally:
        del sys.modules["mlflow"]
        if hidden is not None:
            sys.modules["mlflow"] = hidden
    # It would compile its own all-reduce at the first start (a minute, and a compiler); that of gloo is enough.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def engine_config(config: TrainingConfig, section: DeepSpeed, vector: int) -> dict[str, Any]:
    """DeepSpeed's own configuration for a training; `vector`: values of the longest vector among the parameters."""
    stage = section.zero_stage
    sequences = config.batch.tokens // config.batch.sequence_length
    return {
        "train_batch_size": sequences,
        "train_micro_batch_size_per_gpu": config.batch.micro_batch_size,
        "gradient_accumulation_steps": sequences // config.parallel.world_size // config.batch.micro_batch_size,
        "gradient_clipping": config.optimizer.max_grad_norm,
        "zero_optimization": {
            "stage": stage,
            "overlap_comm": False,
            "contiguous_gradients": False,
            "reduce_scatter": stage == 3,
            "reduce_bucket_size": BUCKET_ELEMENTS,
            "allgather_bucket_size": BUCKET_ELEMENTS,
            "stage3_param_persistence_threshold": vector,  # they stay whole: gathering one costs as much as a matrix
            "stage3_prefetch_bucket_size": BUCKET_ELEMENTS,
            "stage3_max_reuse_distance": 0,  # else a model of less than 1e9 parameters stays whole
            **_offloaded(section),
        },
        "zero_force_ds_cpu_optimizer": False,  # torch's AdamW has a fused form for a CPU too
        "zero_allow_untested_optimizer": True,  # the fused AdamW is torch's own
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }


def _offloaded(section: DeepSpeed) -> dict[str, Any]:
    """Optimizer states, and in stage 3 the weights, in the memory of the host."""
    if section.offload is None:
        return {}
    names = ["offload_optimizer", *(["offload_param"] if section.zero_stage == 3 else [])]
    return {name: {"device": section.offload, "pin_memory": True} for name in names}
