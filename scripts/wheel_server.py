"""Folders of wheels, served over loopback to a build that shares this machine's network but not its disk."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, PORTS, TRIED = 38400, 400, 20
"""A folder has the same port in every build, as docker takes another address for another build; other ports are tried
if somebody else has it."""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing: docker's log has pip's words."""


class _Server(ThreadingHTTPServer):
    allow_reuse_port = True  # two builds at a time serve one folder side by side
    daemon_threads = False  # the end waits for a download that the other one's pip began here


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
    server = _server(folder.resolve())
    thread = threading.Thread(target=server.serve_forever, name="wheels", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _server(folder: Path) -> _Server:
    handler = partial(_Quiet, directory=str(folder))
    first = zlib.crc32(str(folder).encode()) % PORTS
    for offset in range(TRIED):
        try:
            return _Server(("127.0.0.1", PORT + (first + offset) % PORTS), handler)
        except OSError:
            continue
    return _Server(("127.0.0.1", 0), handler)
