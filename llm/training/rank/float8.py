"""Matrix products of a decoder's layers in float8, by torchao; the head, the embedding and the norms stay as they are.

A tensor is multiplied by one factor, so that its largest value is the largest of the type, each time that it is used
(torchao: dynamic scaling, tensorwise). Weights stay float32. Source: Micikevicius et al. 2022, arXiv:2209.05433;
`torchao.float8`. Never run on a GPU here: the tests run torchao's own emulation on a CPU.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from llm.errors import UserError
from llm.model import Decoder

MULTIPLE = 16
"""Of the two sizes of a matrix: the kernels want it."""


def to_float8(model: Decoder, *, emulate: bool = False) -> None:
    """Let the projections of all layers multiply in float8; names and shapes of parameters stay.

    `emulate`: in float32, with the values that float8 has. Raises UserError without torchao.
    """
    float8 = _import_torchao()
    config = float8.Float8LinearConfig(emulate=emulate)
    float8.convert_to_float8_training(model.model.layers, config=config, module_filter_fn=_fits)


def _fits(module: nn.Module, name: str) -> bool:
    assert isinstance(module, nn.Linear)
    return module.in_features % MULTIPLE == 0 and module.out_features % MULTIPLE == 0


def _import_torchao() -> Any:
    try:
        import torchao.float8
    except ImportError as error:
        raise UserError(
            f"training.compute.precision=fp8 needs the package torchao: {error}",
            "Install it (pip install 'gristmill[fp8]'), or set training.compute.precision=bf16.",
        ) from error
    return torchao.float8
