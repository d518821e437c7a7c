"""The states of a torch optimizer by the names of its parameters, whole or sharded by rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from llm.errors import UserError
from llm.training.checkpoint.pieces import Group, Piece, Saved, Shape, States, whole
from llm.training.checkpoint.rectangles import own_rows, rectangle


def states_of(optimizer: Optimizer, named: Mapping[str, nn.Parameter]) -> States:
    """The states that are this rank's; a state that is a number is saved as a tensor of one value.

    All ranks that share sharded states come.
    """
    found = {
        f"{kind}/{name}": _piece(value, kind, name)
        for name, parameter in named.items()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }
    return {name: piece for name, piece in found.items() if piece is not None}


def load_states(optimizer: Optimizer, named: Mapping[str, nn.Parameter], saved: Saved, groups: list[Group]) -> None:
    """Give every parameter its states, and the groups their settings."""
    for name, parameter in named.items():
        if kinds := saved.kinds(name):
            optimizer.state[parameter] = {
                kind: _restored(saved, kind, name, parameter, shape) for kind, shape in kinds.items()
            }
    load_groups(optimizer, groups)


def groups_of(optimizer: Optimizer) -> list[Group]:
    """The groups without their parameters; a tensor of one value as its number.

    Raises UserError for a setting that JSON cannot hold.
    """
    groups = [
        {key: _plain(value) for key, value in group.items() if key not in ("params", "param_names")}
        for group in optimizer.param_groups
    ]
    try:
        json.dumps(groups)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the settings of the optimizer's groups cannot be saved: {error}",
            "Let `param_groups` hold numbers, texts and lists of them.",
        ) from error
    return groups


def load_groups(optimizer: Optimizer, groups: list[Group]) -> None:
    """Restore the settings of the groups, each in the type that it has here."""
    for group, saved in zip(optimizer.param_groups, groups, strict=True):
        for key, value in saved.items():
            now = group.get(key)
            if isinstance(now, Tensor):
                now.fill_(value)
            else:
                group[key] = tuple(value) if isinstance(now, tuple) else value


def as_part_of(parameter: DTensor, local: Tensor) -> DTensor:
    """This rank's part of a state of the parameter's shape, or of one that has as many rows and is cut along them."""
    shape = tuple(parameter.shape)
    if local.shape != parameter.to_local().shape:
        shape = (parameter.shape[0], *local.shape[1:])
    whole = torch.empty(shape, device="meta")
    return DTensor.from_local(
        local, parameter.device_mesh, parameter.placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )


def _piece(value: Any, kind: str, name: str) -> Piece | None:
    if isinstance(value, DTensor):
        if (own := own_rows(value)) is None or not own[0].numel():
            return None
        return Piece(own[0].flatten(), own[1] * math.prod(value.shape[1:]), tuple(value.shape))
    if isinstance(value, Tensor):
        return whole(value)
    if isinstance(value, int | float):
        return whole(torch.tensor(value))
    raise UserError(
        f"the optimizer's state {kind} of {name} is a {type(value).__name__}, which a checkpoint cannot hold",
        "Let the optimizer keep tensors and numbers in its state.",
    )


def _restored(saved: Saved, kind: str, name: str, parameter: nn.Parameter, shape: Shape) -> Tensor:
    if not isinstance(parameter, DTensor) or shape[:1] != tuple(parameter.shape[:1]):
        return saved.state(kind, name).to(parameter.device)
    here = rectangle(parameter)
    (first, end), row = here.rows, math.prod(shape[1:])
    local = saved.run(kind, name, first * row, (end - first) * row).view(end - first, *shape[1:]).to(parameter.device)
    if shape == tuple(parameter.shape) and len(shape) > 1:
        local = local[:, slice(*here.columns)].contiguous()
    return as_part_of(parameter, local)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
