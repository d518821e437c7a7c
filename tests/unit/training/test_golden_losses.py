"""Two trainings of 100 steps give the losses that they gave before: a change of numerics is seen, and is a wanted one.

The losses are float32 on one thread. Another processor sums in another order. Measured here (2026-11-30), largest
relative difference of a loss over the 100 steps, plain and rich:

    the sums in another order (micro-batches of 1)   7e-8   2e-7
    the same with FSDP2, or without oneDNN           0      0
    a rate that is 0.1 % higher                      5e-4   5e-4
    rms_norm_eps 2e-5 in place of 1e-5               5e-4   3e-3

So a tolerance of 1e-4 is 500 times the rounding, and a fifth of such a change.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm.training.trainer import Trainer

Make = Callable[..., Trainer]
GOLDEN = Path(__file__).parents[2] / "golden"
TOLERANCE = 1e-4
STEPS = {"length.steps": 100, "validation.every_steps": 50, "checkpoints.every_steps": 1000}
PLAIN = ({"optimizer.lr": 3e-3}, {"num_key_value_heads": 2})
RICH = (
    {"optimizer.lr": 6e-3, "optimizer.max_grad_norm": 0.3, "batch.micro_batch_size": 4,
     "schedule": {"name": "wsd", "warmup_fraction": 0.1, "decay_fraction": 0.3},
     "optimizer.groups": [{"match": "norm", "weight_decay": 0.0, "lr_factor": 0.5}],
     "loss": {"name": "cross_entropy", "z_loss": 1e-4}, "mask": {"name": "documents"}},
    {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 6, "qk_norm": True,
     "layer_types": ("sliding_attention", "full_attention"), "tie_word_embeddings": False},
)  # fmt: skip
"""Grouped heads, a window, QK-norm, a head of its own; another schedule, clipping, groups of rates, z-loss, a mask."""


def losses(trainer: Trainer) -> list[float]:
    """Those of the steps, then those on the validation split."""
    trainer.train(100)
    return [line[name] for name in ("loss", "validation_loss") for line in trainer.history if name in line]


def checked(name: str, found: list[float], request: pytest.FixtureRequest) -> None:
    """Compare with the golden file, which `make golden` writes again if they differ by more than the tolerance."""
    path = GOLDEN / name
    known = [float(line) for line in path.read_text().split()] if path.is_file() else []
    if request.config.getoption("--update-goldens") and known != pytest.approx(found, rel=TOLERANCE):
        path.write_text("".join(f"{loss:.6f}\n" for loss in found))
        return
    assert len(found) == 102
    assert found == pytest.approx(known, rel=TOLERANCE), f"{name}: if the change is wanted, make golden"


@pytest.mark.parametrize(("name", "settings"), [("losses-plain.txt", PLAIN), ("losses-rich.txt", RICH)])
def test_the_losses_are_those_of_before(
    make_trainer: Make, request: pytest.FixtureRequest, name: str, settings: tuple[dict[str, Any], dict[str, Any]]
):
    training, model = settings
    found = losses(make_trainer({**STEPS, **training}, model=model))
    assert found[-1] < 0.7 * found[0], "it learns"
    checked(name, found, request)
