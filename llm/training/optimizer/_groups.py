"""Parameters with a learning rate or a decay of their own, for any optimizer: its groups are split by names.

A name is that in the model's file, such as `model.layers.0.mlp.up_proj.weight`. The factor of a parameter is that of
the first of `groups` that matches its name, times `layer_decay` for each layer between it and the head. The number of
a layer grows from the embedding (0) over the layers (1, 2, …) to the final norm and the head, whose factor is 1. A
matrix that is both embedding and head counts as the embedding. A group keeps its factor as the setting `lr_factor`,
which a checkpoint holds, and `set_lr` multiplies.

Sources: Clark et al. 2020, arXiv:2003.10555, appendix A (layer-wise decay); Bao et al. 2021, arXiv:2106.08254, whose
numbers of layers these are.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from llm.config.sections.training import GroupConfig, OptimizerConfig
from llm.errors import UserError
from llm.training.optimizer._lr import LR_FACTOR

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
EMBEDDING = re.compile(r"(?:^|\.)embed_tokens\.")

Treatment = tuple[float, float | None]
"""Factor of the rate, and the weight decay if it is not the optimizer's."""


def matrices_and_vectors(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: matrices, which are decayed, then vectors, which are not, each in the order given.

    A group may be empty: a stage in the middle of a pipeline has no embedding and no head, and the groups of all
    stages are those of a checkpoint.
    """
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for parameter in parameters:
        groups[parameter.dim() < 2].append(parameter)
    return [{"params": groups[0], "weight_decay": weight_decay}, {"params": groups[1], "weight_decay": 0.0}]


def split_groups(optimizer: Optimizer, named: Mapping[str, nn.Parameter], config: OptimizerConfig) -> None:
    """Split the optimizer's groups, which have no states yet, by the treatments of their parameters.

    Without `groups` and `layer_decay` nothing changes. The order of the parameters in a group stays, and the new groups
    come in the order of their first parameters: so they are the same on every rank.
    Raises UserError for a group that gets no parameter, or a weight decay for an optimizer that has none.
    """
    if not config.groups and config.layer_decay == 1.0:
        return
    treatments = _treatments(named, config)
    of_parameter = {id(named[name]): treatment for name, treatment in treatments.items()}
    optimizer.param_groups[:] = [
        part for group in optimizer.param_groups for part in _parts(group, of_parameter, config.name)
    ]


def _treatments(names: Iterable[str], config: OptimizerConfig) -> dict[str, Treatment]:
    """The treatment of each parameter by its name."""
    names = list(names)
    layers = 1 + max((int(found[1]) for name in names if (found := LAYER.search(name))), default=-1)
    taken: set[int] = set()
    treatments = {}
    for name in names:
        number = next((n for n, group in enumerate(config.groups) if re.search(group.match, name)), None)
        group = GroupConfig(match="") if number is None else config.groups[number]
        taken |= set() if number is None else {number}
        below_head = layers + 1 - _depth(name, layers)
        treatments[name] = (group.lr_factor * config.layer_decay**below_head, group.weight_decay)
    for number, group in enumerate(config.groups):
        if number not in taken:
            raise _without_parameters(number, group, names)
    return treatments


def _depth(name: str, layers: int) -> int:
    if (found := LAYER.search(name)) is not None:
        return int(found[1]) + 1
    return 0 if EMBEDDING.search(name) else layers + 1


def _parts(group: dict[str, Any], of_parameter: Mapping[int, Treatment], name: str) -> Iterable[dict[str, Any]]:
    """A group for each treatment among the parameters of this one, with its other settings."""
    settings = {key: value for key, value in group.items() if key not in ("params", "param_names")}
    found: dict[Treatment, list[Any]] = {}
    for parameter in group["params"]:
        found.setdefault(of_parameter.get(id(parameter), (1.0, None)), []).append(parameter)
    for (factor, decay), parameters in found.items():
        part = {**copy.deepcopy(settings), "params": parameters, LR_FACTOR: factor * settings.get(LR_FACTOR, 1.0)}
        if decay is not None:
            if "weight_decay" not in settings:
                raise UserError(
                    f"training.optimizer.name={name} has no weight decay, and training.optimizer.groups sets one",
                    "Leave out weight_decay of the groups.",
                )
            part["weight_decay"] = decay
        yield part


def _without_parameters(number: int, group: GroupConfig, names: list[str]) -> UserError:
    setting = f"training.optimizer.groups[{number}].match={group.match}"
    if any(re.search(group.match, name) for name in names):
        return UserError(
            f"{setting}: groups before it take all parameters that it matches", "Put it before them, or leave it out."
        )
    return UserError(
        f"{setting} matches the name of no parameter",
        f"The names are those of the model's file, such as {names[0]} and {names[-1]}.",
    )
