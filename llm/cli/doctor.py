"""`gristmill doctor`: whether this machine has what the pipeline needs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

import click

from llm.cli.options import overrides
from llm.config import RunConfig, compose
from llm.words import size

REQUIRED = {
    "torch": "train", "deepspeed": "train", "great_expectations": "data", "gigatoken": "data", "polars": "data",
    "transformers": "export", "onnxruntime": "export", "onnxruntime_genai": "export", "kfp": "pipeline",
    "mlflow": "pipeline", "boto3": "pipeline", "kubernetes": "pipeline",
}  # fmt: skip
"""Package: the extra that brings it."""
NEEDED_BYTES = 5 * 2**30


@click.command("doctor")
@overrides
def command(overrides: tuple[str, ...]) -> int:
    """Check libraries, processors, disk, Triton and TensorRT; exit code 2 if something required is missing.

    With training.pool=NAME also the cluster: Kubeflow Trainer, the pool, its queue, and the right to train there.
    """
    config = compose(overrides)
    healthy = True
    for package, extra in REQUIRED.items():
        found = importlib.util.find_spec(package) is not None
        healthy &= found
        _line(found, package, "installed" if found else f"missing: pip install 'gristmill[{extra}]'")
    free_bytes = shutil.disk_usage(".").free
    needed = f"a default run needs about {size(NEEDED_BYTES)}"
    _line(free_bytes >= NEEDED_BYTES, "disk", f"{size(free_bytes)} free here ({needed})")
    _line(True, "python", sys.version.split()[0])
    _line(True, "processors", str(os.cpu_count()))
    from llm.errors import GristmillError
    from llm.export.tensorrt import missing_reason
    from llm.serving.triton.server import find_installation

    reason = missing_reason()
    _optional("TensorRT", reason or "installed")
    try:
        _optional("Triton", f"at {find_installation().root}")
    except GristmillError as error:
        _optional("Triton", str(error).splitlines()[0])
    if config.training.pool is not None:
        healthy &= _check_pool(config)
    return 0 if healthy else 2


def _check_pool(config: RunConfig) -> bool:
    """Say whether a training could start on the pool, and in its queue."""
    from llm.cluster.trainjobs.pool_preflight import check_pool
    from llm.errors import GristmillError

    name = f"pool {config.training.pool}"
    try:
        warnings = check_pool(config.training, config.cluster)
    except GristmillError as error:
        _line(False, name, str(error))
        return False
    queue = "" if config.training.queue is None else f", and in queue {config.training.queue}"
    _line(True, name, f"a training can start there{queue}")
    for warning in warnings:
        _optional("queue", warning)
    return True


def _line(good: bool, name: str, text: str) -> None:
    click.echo(f"{'ok  ' if good else 'MISS'}  {name:20}{text}")


def _optional(name: str, text: str) -> None:
    click.echo(f"opt   {name:20}{text}")
