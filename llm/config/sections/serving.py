"""The serving."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llm.config.decides import NOTHING
from llm.config.sections.base import Port, PositiveInt, Section


class ServingConfig(Section):
    """The Triton model repository and server."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "gristmill"
    """Name of the model in Triton: letters, digits, `_`, `.` and `-`."""
    precision: Literal["fp32", "int4"] = "fp32"
    """Which ONNX model is served."""
    max_new_tokens: PositiveInt = 256
    """Most tokens that one request may ask for."""
    max_slots: PositiveInt = 8
    """Requests that decode at the same time; more wait in Triton's queue."""
    address: Annotated[str, NOTHING] = "127.0.0.1"
    """Address that Triton listens on: this machine only, unless changed; Triton itself asks nobody for a key."""
    http_port: Annotated[Port, NOTHING] = 8000
    """Port of Triton's HTTP endpoint."""
    grpc_port: Annotated[Port, NOTHING] = 8001
    """Port of Triton's gRPC endpoint."""
    metrics_port: Annotated[Port, NOTHING] = 8002
    """Port of Triton's Prometheus metrics."""
