"""`gristmill fetch`: a model repository out of the store into a folder."""

from __future__ import annotations

import os
from pathlib import Path

import click

from llm.errors import Preempted
from llm.process.signals import while_signals


@click.command("fetch")
@click.argument("uri")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--limit", metavar="SIZE", help="Refuse a repository that is larger than this, like 2Gi.")
def command(uri: str, folder: Path, limit: str | None) -> None:
    """Fetch a Triton model repository (what the step deploy makes) into a folder, checked against its manifest.

    URI is s3://BUCKET/PREFIX/repository/ID or the file:// URI of the same on this machine. It may also be the name that
    the run gave the repository: s3://BUCKET/PREFIX/names/repository/RUN@NUMBER. A file that the folder has
    already is not fetched again. A stop signal ends it at once, with exit code 75.
    """
    from llm.process.reach import await_route
    from llm.serving.pod.fetch import fetch_repository
    from llm.storage import is_s3
    from llm.storage.products import RepositoryCounts

    # At once, files on their way included: what has come stays, and the next attempt goes on from it. A handler is
    # needed, since the kernel drops a signal to an init container's first process that has none for it.
    with while_signals(lambda number: os._exit(Preempted.exit_code)):
        if is_s3(uri):  # an init container asks first thing
            await_route(os.environ.get("AWS_ENDPOINT_URL"))
        manifest = fetch_repository(uri, folder, limit=limit, progress=lambda message: click.echo(message, err=True))
    counts = RepositoryCounts.of(manifest)
    click.echo(f"{folder}: version {counts.version} of model {counts.model_name}, repository {manifest.id}")
