"""`gristmill serve`: the champion behind a real Triton."""

from __future__ import annotations

import click

from llm.cli.options import overrides
from llm.config import compose
from llm.errors import UserError
from llm.serving.triton.endpoints import Endpoints

PORT = click.IntRange(1, 65535)
DEFAULT = Endpoints()


@click.command("serve")
@overrides
@click.option(
    "--address",
    default=DEFAULT.address,
    show_default=True,
    help="Address that Triton listens on. Triton asks nobody for a key.",
)
@click.option("--http-port", type=PORT, default=DEFAULT.http_port, show_default=True, help="Port of HTTP.")
@click.option("--grpc-port", type=PORT, default=DEFAULT.grpc_port, show_default=True, help="Port of gRPC.")
@click.option(
    "--metrics-port", type=PORT, default=DEFAULT.metrics_port, show_default=True, help="Port of Prometheus metrics."
)
def command(overrides: tuple[str, ...], address: str, http_port: int, grpc_port: int, metrics_port: int) -> None:
    """Serve the champion with Triton until stopped; `make triton` installs it."""
    config = compose(overrides)
    from llm.registry import champion
    from llm.runs.events import EventLog
    from llm.serving.triton.repository import build
    from llm.serving.triton.server import TritonServer, find_installation
    from llm.storage import Store

    installation = find_installation()
    store = Store(config.storage.uri)
    current = champion(config.tracking, config.run, store)
    if current is None:
        raise UserError("there is no champion to serve", "`gristmill run pretrain` trains, judges and promotes one.")
    repository = build(config.serving, current.model, int(current.version), store, EventLog(store.root / "serve.jsonl"))
    endpoints = Endpoints(address, http_port, grpc_port, metrics_port)
    with TritonServer(installation, repository.verify(), endpoints) as server:
        server.load(config.serving.model_name)
        click.echo(f"version {current.version} of {config.tracking.model} answers at {server.url}", err=True)
        click.echo(
            f"try: curl -N {server.url}/v2/models/{config.serving.model_name}/generate_stream"
            """ -d '{"text_input": "def", "max_tokens": 64}'""",
            err=True,
        )
        server.wait()
