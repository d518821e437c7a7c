"""The loops that our trainer is measured against: a plain one, and Hugging Face's Trainer."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from ranks import VOCABULARY

Step = Callable[[], None]


def plain_loop(*, distributed: bool) -> Step:
    """What one would write without us: model, AdamW, cross-entropy, clipping; the batch is ready in memory."""
    import torch
    import torch.distributed as dist
    from torch.nn.functional import cross_entropy
    from torch.nn.parallel import DistributedDataParallel

    from llm.config import compose
    from llm.model import Decoder, initialise

    if not distributed and dist.get_rank():
        return lambda: None  # the first rank has all cores
    config = compose(sys.argv[1:])
    training = config.training
    length = training.batch.sequence_length
    batch = torch.randint(0, VOCABULARY, (training.batch.tokens // length, length + 1))
    own = batch[dist.get_rank() :: dist.get_world_size()] if distributed else batch
    model = Decoder(config.model, VOCABULARY)
    initialise(model, training.seed)
    wrapped = (
        DistributedDataParallel(model, gradient_as_bucket_view=True, forward_sync_buffers=False)
        if distributed
        else model
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    parts = own.split(training.batch.micro_batch_size)

    def step() -> None:
        for index, part in enumerate(parts):
            if distributed:
                wrapped.require_backward_grad_sync = index == len(parts) - 1
            logits = wrapped(part[:, :-1])
            (cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten()) / len(parts)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.optimizer.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    return step


def hugging_face_loop(folder: Path) -> Step:
    """Trainer of transformers with its own Llama of the same shape; it runs in a thread, a step for each call."""
    import torch.distributed as dist
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from llm.config import compose

    training = compose(sys.argv[1:]).training
    rows = training.batch.tokens // training.batch.sequence_length // dist.get_world_size()
    arguments = TrainingArguments(
        output_dir=str(folder / "hugging-face"), use_cpu=True, ddp_backend="gloo", max_steps=10_000,
        per_device_train_batch_size=training.batch.micro_batch_size,
        gradient_accumulation_steps=rows // training.batch.micro_batch_size, optim="adamw_torch_fused",
        max_grad_norm=training.optimizer.max_grad_norm, ddp_find_unused_parameters=False, report_to="none",
        logging_strategy="no", save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    may_go, is_done, ended = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

    class Turn(TrainerCallback):
        def on_step_begin(self, *args, **kwargs) -> None:
            is_done.release()
            may_go.acquire()

    def run() -> None:
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        try:
            Trainer(model=_llama(), args=arguments, train_dataset=_noise(rows), callbacks=[Turn()]).train()
        finally:
            ended.set()
            is_done.release()

    def wait() -> None:
        is_done.acquire()
        if ended.is_set():
            raise RuntimeError("Hugging Face's Trainer ended before its last step; its traceback is above")

    def step() -> None:
        may_go.release()
        wait()

    threading.Thread(target=run, daemon=True).start()
    wait()
    return step


def _llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    from llm.config import compose

    model = compose(sys.argv[1:]).model
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=model.hidden_size, intermediate_size=model.intermediate_size,
        num_hidden_layers=model.num_hidden_layers, num_attention_heads=model.num_attention_heads,
        num_key_value_heads=model.num_key_value_heads, max_position_embeddings=model.max_position_embeddings,
        tie_word_embeddings=model.tie_word_embeddings, use_cache=False, attn_implementation="sdpa",
    ))  # fmt: skip


def _noise(rows: int):
    """Some steps of rows as Trainer wants them; the labels are the inputs, which the model shifts itself."""
    import torch

    from llm.config import compose

    length = compose(sys.argv[1:]).training.batch.sequence_length
    ids = torch.randint(0, VOCABULARY, (4 * rows * int(os.environ["WORLD_SIZE"]), length))
    return [{"input_ids": row, "labels": row} for row in ids]
