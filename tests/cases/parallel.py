"""One training in many parallel forms: `torchrun … -m tests.cases.parallel FOLDER RANKS` is one rank of all with RANKS.

Each form trains STEPS steps, saves into FOLDER/NAME, and goes on for MORE from what one rank alone saved. Rank 0 leaves
FOLDER/NAME.json with the losses and norms of all steps.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

STEPS, MORE = 20, 2
ALONE = "one rank"
FORMS: dict[str, tuple[int, dict[str, Any]]] = {
    ALONE: (1, {"backend": {"name": "torch"}}),
    "DDP 2": (2, {"backend": {"name": "torch"}}),
    "FSDP 2": (2, {"backend": {"name": "fsdp"}}),
    "ZeRO-1 2": (2, {"backend": {"name": "deepspeed", "zero_stage": 1}}),
    "HSDP 2x2": (4, {"backend": {"name": "fsdp"}, "replicas": 2}),
    "TP 2": (2, {"backend": {"name": "fsdp"}, "tensor": 2}),
    "CP 2": (2, {"backend": {"name": "fsdp"}, "context": 2}),
    "FSDP 2 x TP 2": (4, {"backend": {"name": "fsdp"}, "tensor": 2}),
    "TP 2 x CP 2": (4, {"backend": {"name": "fsdp"}, "tensor": 2, "context": 2}),
    "HSDP 2x2 x TP 2": (8, {"backend": {"name": "fsdp"}, "replicas": 2, "tensor": 2}),
    "PP 2": (2, {"backend": {"name": "fsdp"}, "pipeline": 2}),
    "PP 2 interleaved": (2, {"backend": {"name": "fsdp"}, "pipeline": 2, "stages_per_rank": 2}),
    "CP 2 x PP 2": (4, {"backend": {"name": "fsdp"}, "pipeline": 2, "context": 2}),
    "TP 2 x PP 2": (4, {"backend": {"name": "fsdp"}, "tensor": 2, "pipeline": 2}),
    "FSDP 2 x PP 2": (4, {"backend": {"name": "fsdp"}, "pipeline": 2}),
    "ZeRO-2 4, offload": (4, {"backend": {"name": "deepspeed", "zero_stage": 2, "offload": "cpu"}}),
    # last of as many ranks: stage 3 leaves its own `linear` in torch
    "ZeRO-3 2": (2, {"backend": {"name": "deepspeed", "zero_stage": 3}}),
    "ZeRO-3 4, offload": (4, {"backend": {"name": "deepspeed", "zero_stage": 3, "offload": "cpu"}}),
}
"""By name: ranks, and the settings of `training.parallel`."""
MODEL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 32, "tie_word_embeddings": False}  # fmt: skip

SHARD_BYTES = 8_000
"""So that the weights are in more files than there are ranks."""


def main(folder: Path, ranks: int) -> None:
    """One rank's part in all forms of so many ranks."""
    from llm.training.rank.device import Device

    Device.meet(timedelta(seconds=300))
    for name, (wanted, parallel) in FORMS.items():
        if wanted == ranks:
            _train(folder, name, ranks, parallel)
    os._exit(0)  # as the worker does


def _train(folder: Path, name: str, ranks: int, parallel: dict[str, Any]) -> None:
    from llm.config import ModelConfig
    from llm.storage import LocalObjects, Store
    from llm.training.callbacks import _save
    from llm.training.checkpoint.weights import shards_of
    from llm.training.plan import TrainingPlan
    from llm.training.resume import resume
    from llm.training.trainer import Trainer
    from tests.cases.training import token_shards, training

    rank = int(os.environ["RANK"])
    store = Store(folder / f"store-{rank}")
    shards, tokenizer = token_shards(store)
    document = training({"batch.tokens": 8 * 16, "batch.micro_batch_size": 2, "optimizer.lr": 3e-3}).model_dump()
    document["parallel"] = {"processes": ranks, **parallel}
    config = type(training({})).model_validate(document)
    workspace = folder / name
    workspace.mkdir(exist_ok=True)
    plan = TrainingPlan(
        model=ModelConfig.model_validate(MODEL), training=config, shards=shards, tokenizer=tokenizer, end_of_text=0,
        store=store.objects.uri, workspace=workspace.as_uri(), recipe="", events=str(folder / f"events-{rank}.jsonl"),
    )  # fmt: skip
    _save.shards_of = partial(shards_of, at_most=SHARD_BYTES)
    trainer = Trainer(plan, workspace)
    tokens = _tokens_of_steps(trainer)
    done = _running_ahead(trainer)
    whole = _whole(trainer)
    validation = trainer.validate.loss(trainer)
    whole += _whole(trainer)
    _save.Save().save(trainer, STEPS)
    trainer.workspace = LocalObjects(folder / ALONE)
    assert resume(trainer) == STEPS  # that of one rank
    done += [trainer.step(step, STEPS + MORE) for step in range(STEPS, STEPS + MORE)]
    if trainer.mesh.is_first:
        losses, norms = [one.loss for one in done], [one.grad_norm for one in done]
        found = {"losses": losses, "norms": norms, "validation": validation, "whole": whole, "tokens": tokens}
        (folder / f"{name}.json").write_text(json.dumps(found))
    trainer.mesh.sums(0.0)


def _running_ahead(trainer: Any) -> list[Any]:
    """The first steps, as on a GPU: the numbers of each are read when the next one has begun."""
    done, before = [], trainer.begin(0, STEPS + MORE)
    for step in range(1, STEPS):
        begun = trainer.begin(step, STEPS + MORE)
        done.append(before.done())
        before = begun
    return [*done, before.done()]


def _tokens_of_steps(trainer: Any) -> list[str]:
    """A list that gets, for each step to come, the hash of the tokens that all shares of the batch give the backend."""
    import torch
    import torch.distributed as dist

    found, step, mesh = list[str](), trainer.backend.step, trainer.mesh

    def seen(batches: Any, *others: Any, **named: Any) -> Any:
        shares: list[Any] = [None] * mesh.ranks
        own = [torch.cat(parts).numpy().tobytes() for parts in zip(*batches, strict=True)]
        dist.all_gather_object(shares, (mesh.share, *own))
        inputs, targets = (b"".join(parts) for parts in list(zip(*sorted(set(shares)), strict=True))[1:])
        found.append(hashlib.sha256(inputs + targets).hexdigest())
        return step(batches, *others, **named)

    trainer.backend.step = seen
    return found


def _whole(trainer: Any) -> list[str]:
    """Parameters that have values of their own here; DeepSpeed's stage 3 leaves those that are cut without."""
    return [name for name, parameter in trainer.task.named().items() if parameter.numel()]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
