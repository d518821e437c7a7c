"""`gristmill fetch`: a model repository out of the store into a folder."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click

from llm.errors import Preempted


@click.command("fetch")
@click.argument("uri")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--limit", metavar="SIZE", help="Refuse a repository that is larger than this, like 2Gi.")
def command(uri: str, folder: Path, limit: str | None) -> None:
    """Fetch a Triton model repository (what the step deploy makes) into a folder, checked against its manifest.

    URI is s3://BUCKET/PREFIX/repository/ID or the file:// URI of the same on this machine. It may also be the name that
    the run gave the repository: s3://BUCKET/PREFIX/names/repository/RUN@NUMBER. What the folder has already
    is not fetched again. SIGTERM ends it at once, with exit code 75.
    """
    from llm.serving.pod.fetch import fetch_repository
    from llm.storage.products import RepositoryCounts

    # At once, files on their way included: what has come stays, and the next attempt goes on from it. And said, since
    # an init container's first process gets no SIGTERM that it does not handle.
    before = signal.signal(signal.SIGTERM, lambda number, frame: os._exit(Preempted.exit_code))
    try:
        manifest = fetch_repository(uri, folder, limit=limit, progress=lambda message: click.echo(message, err=True))
    finally:
        signal.signal(signal.SIGTERM, before)
    counts = RepositoryCounts.of(manifest)
    click.echo(f"{folder}: version {counts.version} of model {counts.model_name}, repository {manifest.id}")
