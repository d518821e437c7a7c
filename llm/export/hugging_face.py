"""The Hugging Face folder: the checkpoint's weights and config with its tokenizer, as `transformers` loads it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llm.export.reference import Reference
from llm.export.tolerance import Check, largest
from llm.model.foreign import INDEX
from llm.storage import Manifest

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
LOGIT_TOLERANCE = 1e-4
"""Largest difference of a logit between `transformers` and the checkpoint.

Both compute the same in fp32 with torch, so that only the order of sums differs: 2e-5 at most in the small models of
our tests and of our image. A wrong weight or a wrong rotation makes far more.
"""


def write_folder(checkpoint: Manifest, tokenizer: Manifest, folder: Path) -> None:
    """Put weights, config and tokenizer together; raises DamagedError if one is not what its manifest says."""
    folder.mkdir()
    model = [entry.path for entry in checkpoint.files if entry.path.endswith((".safetensors", INDEX, "config.json"))]
    for source, names in ((checkpoint, model), (tokenizer, TOKENIZER)):
        for name in names:
            shutil.copyfile(source.file(name), folder / name)


def check_folder(folder: Path, references: Sequence[Reference]) -> list[Check]:
    """Compare `transformers`' token ids and logits with ours."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    quiet: Any = logging
    quiet.disable_progress_bar()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    model.eval()
    wrong_ids, differences = 0, []
    for reference in references:
        ids = tokenizer(reference.text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        wrong_ids += ids[: len(reference.ids) - 1] != reference.ids[1:]
        with torch.inference_mode():
            logits = model(torch.tensor([reference.ids])).logits[0].numpy()
        differences.append(np.abs(logits - reference.logits).max())
    return [
        Check("huggingface", "documents with other token ids", wrong_ids, at_most=0),
        Check("huggingface", "largest logit difference", largest(differences), at_most=LOGIT_TOLERANCE),
    ]
