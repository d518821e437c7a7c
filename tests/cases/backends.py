"""All backends on the same training: each saves a checkpoint, and each goes on from every one.

`torchrun … -m tests.cases.backends save|exchange|begin FOLDER OTHERS` is a rank of it; OTHERS are the `Others` as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

BACKENDS: list[dict[str, object]] = [
    {"name": "torch"},
    {"name": "fsdp"},
    {"name": "fsdp", "reshard_after_forward": False},
    *({"name": "deepspeed", "zero_stage": stage} for stage in (0, 1, 2, 3)),
]
SAVED_AT, STEPS = 3, 12
SEQUENCES = 12
"""Of a batch: for 1, 2, 3 and 4 ranks."""
RAMP = [{"tokens": SEQUENCES * 16, "steps": SAVED_AT + 1}]
"""A checkpoint is saved in it, and the training goes on from there to its end and beyond."""


@dataclass(frozen=True)
class Others:
    """Another training than the smallest one, on some of the backends."""

    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of `training`, by dotted keys."""
    backends: tuple[int, ...] = tuple(range(len(BACKENDS)))
    """Numbers in BACKENDS."""
    saved_at: int = SAVED_AT
    """Steps before the checkpoint."""


def readers(number: int, backends: Sequence[int]) -> list[int]:
    """The backends that read the checkpoint of one: all but DeepSpeed's other stages, to keep the time."""
    name = BACKENDS[number]["name"]
    return [one for one in backends if one == number or not name == BACKENDS[one]["name"] == "deepspeed"]


def save(folder: Path, ranks: int, others: Others = Others()) -> None:
    """Let every backend train some steps, save, and go on: FOLDER/NUMBER/ and FOLDER/NUMBER.json."""
    _ranks(ranks, "save", folder, others)


def exchange(folder: Path, ranks: int, others: Others = Others()) -> dict[str, Any]:
    """Let the `readers` of every backend read its checkpoint: for each pair, what differs when saved, and losses."""
    _ranks(ranks, "exchange", folder, others)
    found: dict[str, Any] = json.loads((folder / "exchanged.json").read_text())
    return found


def weights(folder: Path, number: int, others: Others) -> dict[str, Any]:
    """The weights that a backend saved, by name."""
    from safetensors.torch import load_file

    from llm.training.checkpoint.find import checkpoint_name

    return load_file(folder / str(number) / checkpoint_name(others.saved_at) / "model.safetensors")


def begin(folder: Path, ranks: int) -> dict[str, list[str]]:
    """Let every backend begin from one checkpoint: for each, the parameters that are not the checkpoint's."""
    _ranks(ranks, "begin", folder, Others())
    found: dict[str, list[str]] = json.loads((folder / "begun.json").read_text())
    return found


def _ranks(ranks: int, what: str, folder: Path, others: Others) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1",
               f"--nproc-per-node={ranks}", "-m", __name__, what, str(folder), json.dumps(asdict(others))]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]


def main(what: str, folder: Path, others: Others) -> None:
    """One rank's part."""
    from torch.nn import functional

    from llm.storage import LocalObjects, Store
    from llm.training.callbacks._save import Save
    from llm.training.checkpoint.find import checkpoint_name
    from llm.training.plan import TrainingPlan
    from llm.training.rank.device import Device
    from llm.training.rank.mesh import Mesh
    from llm.training.resume import resume
    from llm.training.trainer import Trainer
    from tests.cases.training import MODEL, checkpoint, token_shards, training

    Device.meet(timedelta(seconds=60))
    mesh, linear = Mesh.here(), functional.linear
    store = Store(folder / f"store-{mesh.rank}")
    shards, tokenizer = token_shards(store)

    start = checkpoint(store) if what == "begin" else None

    def trainer(number: int, workspace: Path) -> Trainer:
        config = training({"parallel.processes": mesh.ranks, "parallel.backend": BACKENDS[number],
                           "batch.tokens": 2 * SEQUENCES * 16, "batch.ramp": RAMP, "length.steps": STEPS,
                           **others.settings})  # fmt: skip
        plan = TrainingPlan(
            model=MODEL, training=config, shards=shards, tokenizer=tokenizer, start=start,
            end_of_text=0, store=store.objects.uri, workspace=workspace.as_uri(), recipe="",
            events=str(folder / f"events-{mesh.rank}.jsonl"),
        )  # fmt: skip
        workspace.mkdir(exist_ok=True)
        functional.linear = linear  # DeepSpeed's stage 3 leaves its own one in torch
        return Trainer(plan, workspace)

    def losses(of: Trainer) -> list[float]:
        return [of.step(number, STEPS).loss for number in range(others.saved_at, others.saved_at + 3)]

    found: dict[str, Any] = {}
    for number in others.backends:
        if what == "begin":
            begun = trainer(number, folder / str(number)).backend.weights()
            if mesh.is_first:
                found[str(BACKENDS[number])] = _unlike(begun, folder)
            continue
        if what == "save":
            made = trainer(number, folder / str(number))
            for step in range(others.saved_at):
                made.step(step, STEPS)
            Save().save(made, others.saved_at)
            if mesh.is_first:
                (folder / f"{number}.json").write_text(json.dumps(losses(made)))
            else:
                losses(made)
            continue
        for other in readers(number, others.backends):
            reader = trainer(other, folder / str(number))
            assert resume(reader) == others.saved_at
            reader.workspace = LocalObjects(folder / f"{number}-{other}")
            Save().save(reader, others.saved_at)
            gone_on = losses(reader)
            if mesh.is_first:
                one = folder / str(number) / checkpoint_name(others.saved_at)
                again = folder / f"{number}-{other}" / checkpoint_name(others.saved_at)
                found[f"{BACKENDS[number]} read by {BACKENDS[other]}"] = {
                    "differing": list(_differing(one, again)), "losses": gone_on,
                    "expected": json.loads((folder / f"{number}.json").read_text()),
                }  # fmt: skip
    if mesh.is_first:
        (folder / ("begun.json" if what == "begin" else "exchanged.json")).write_text(json.dumps(found))
    mesh.sums(0.0)  # nobody leaves before all are done
    os._exit(0)  # as the worker does: the shut-down of gloo's many groups aborts now and then


def _unlike(weights: Mapping[str, Any], folder: Path) -> list[str]:
    """Names of the weights that are not the ones of the checkpoint in the first rank's store."""
    import torch

    from llm.model.weights import load

    (home,) = (folder / "store-0" / "checkpoint").iterdir()
    expected = dict(load(home).named_parameters())
    assert expected.keys() == weights.keys()
    return [name for name, weight in weights.items() if not torch.equal(expected[name], weight.float().cpu())]


def _differing(one: Path, other: Path) -> Iterator[str]:
    """Names of the weights and states that are not the same bit for bit."""
    import torch

    from llm.training.checkpoint.pieces import Saved

    documents = [json.loads((path / "states.json").read_text()) for path in (one, other)]
    names = documents[0]["states"].keys()
    if names != documents[1]["states"].keys() or not names:
        yield "the names of states"
    with (
        closing(Saved((one / "states.json").read_bytes(), one.joinpath)) as a,
        closing(Saved((other / "states.json").read_bytes(), other.joinpath)) as b,
    ):
        for name in names:
            kind, parameter = name.split("/", 1)
            if not torch.equal(a.state(kind, parameter), b.state(kind, parameter)):
                yield name
            if not torch.equal(a.weight(parameter), b.weight(parameter)):
                yield parameter


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Others(**json.loads(sys.argv[3])))
