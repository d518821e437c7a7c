"""`gristmill doctor`: whether this machine has what the pipeline needs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

import click

from llm.words import size

REQUIRED = {
    "torch": "train", "deepspeed": "train", "great_expectations": "data", "gigatoken": "data", "polars": "data",
    "transformers": "export", "onnxruntime": "export", "onnxruntime_genai": "export", "kfp": "pipeline",
    "mlflow": "pipeline", "boto3": "pipeline", "kubernetes": "pipeline",
}  # fmt: skip
"""Package: the extra that brings it."""
NEEDED_BYTES = 5 * 2**30


@click.command("doctor")
def command() -> int:
    """Check libraries, processors, disk, Triton and TensorRT; exit code 2 if something required is missing."""
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
    return 0 if healthy else 2


def _line(good: bool, name: str, text: str) -> None:
    click.echo(f"{'ok  ' if good else 'MISS'}  {name:20}{text}")


def _optional(name: str, text: str) -> None:
    click.echo(f"opt   {name:20}{text}")
