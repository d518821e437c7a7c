"""The way to a server from a pod that has just started.

Every engine of network policies knows a new pod only a moment after its start. With some engines its connections are
refused until then, or find no route, although the server is there. So what asks first thing waits for a connection.
"""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

PATIENCE_SECONDS = 30.0
WAIT_SECONDS = 0.5
CONNECT_SECONDS = 5.0


def await_route(uri: str | None, seconds: float | None = None) -> bool:
    """Wait until the server of a URI takes a connection, for 30 s at most or `seconds`; returns whether it did.

    It never raises: a server that stays away is for the request that follows to tell. Without a URI it does not wait.
    """
    if not uri:
        return True
    parts = urlsplit(uri)
    try:
        where = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    except ValueError:  # no number where a port should be
        return False
    seconds = PATIENCE_SECONDS if seconds is None else seconds
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection(where, timeout=min(CONNECT_SECONDS, max(seconds, 0.1))):
                return True
        except OSError:
            if time.monotonic() + WAIT_SECONDS >= deadline:
                return False
        time.sleep(WAIT_SECONDS)
