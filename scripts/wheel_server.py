"""Folders of wheels, served over loopback to a build that shares this machine's network but not its disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = 38471
"""The first that is tried. It stays the same from build to build, as docker takes another address for another build."""
PORTS = 20


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing: docker's log has pip's words."""


@contextmanager
def served(find_links: str) -> Iterator[str]:
    """Give pip's `find-links` as a build can use them: addresses stay, and each folder gets one while this lasts."""
    with ExitStack() as stack:
        yield " ".join(
            stack.enter_context(_serving(Path(place))) if Path(place).is_dir() else place
            for place in find_links.split()
        )


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    server = _server(folder)
    thread = threading.Thread(target=server.serve_forever, name="wheels", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _server(folder: Path) -> ThreadingHTTPServer:
    handler = partial(_Quiet, directory=str(folder))
    for port in range(PORT, PORT + PORTS):
        try:
            return ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError:
            continue
    return ThreadingHTTPServer(("127.0.0.1", 0), handler)
