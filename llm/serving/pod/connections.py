"""Connections to this machine's own ports, and whether anybody still waits for something on them.

A server that shuts down should wait for answers that are being given, not for clients that keep a connection open
in case they need it again. The kernel knows which is which: it notes, for each connection, when something was last
received and last sent. A connection is *idle* if the last thing on it was an answer, some time ago. One that the
client will send nothing more on (CLOSE_WAIT) may still be owed an answer. Asked through Linux's socket diagnostics
(`sock_diag(7)`), which any user may do for its own network namespace; where that is not available, every open
connection counts as in use. So does every one of gRPC, always: HTTP/2 acknowledges a question long before its answer.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY, DONE, ERROR = 20, 3, 2
REQUEST_ALL = 0x301
"""NLM_F_REQUEST | NLM_F_DUMP"""
INFO = 2
"""INET_DIAG_INFO: the attribute with `struct tcp_info`."""
ESTABLISHED, CLOSE_WAIT = 1, 8
HEADER = struct.Struct("=IHHII")
REQUEST = struct.Struct("=BBBBI48x")
MESSAGE = struct.Struct("=BBBBHH")
"""Start of `struct inet_diag_msg`: family, state, timer, retransmits, then both ports."""
MESSAGE_BYTES, UNSENT_AT = 72, 60
LAST_SENT_AT, LAST_RECEIVED_AT, SENT_AT, RECEIVED_AT = 44, 52, 120, 128
"""Offsets in `struct tcp_info` of tcpi_last_data_sent, tcpi_last_data_recv (milliseconds ago), tcpi_bytes_acked and
tcpi_bytes_received; that structure only ever grows at its end."""


@dataclass(frozen=True)
class Connection:
    """An open connection to one of our ports."""

    port: int
    owed: bool
    """Whether the client's last words have had no answer yet, or part of one has not left."""
    quiet_seconds: float
    """How long nothing has come or gone."""


def in_use(ports: Collection[int], idle_after_seconds: float, grpc_ports: Collection[int] = ()) -> int:
    """Connections to the ports on which an answer is owed, or was given less than `idle_after_seconds` ago, and all
    open ones to the ports of gRPC.
    """
    try:
        found = list(connections({*ports, *grpc_ports}))
    except OSError:
        return open_connections({*ports, *grpc_ports})
    return sum(one.port in grpc_ports or one.owed or one.quiet_seconds < idle_after_seconds for one in found)


def connections(ports: Collection[int]) -> Iterator[Connection]:
    """The open connections to the ports; raises OSError where the kernel does not tell."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as diagnostics:
        for family in (socket.AF_INET, socket.AF_INET6):
            body = REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (INFO - 1), 0, 1 << ESTABLISHED | 1 << CLOSE_WAIT)
            diagnostics.send(HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, REQUEST_ALL, 0, 0) + body)
            for message in _messages(diagnostics):
                port = socket.ntohs(MESSAGE.unpack_from(message)[4])
                if port in ports:
                    yield _connection(port, message)


def open_connections(ports: Collection[int]) -> int:
    """Open connections to the ports by `/proc/net/tcp`, which does not say what happens on them."""
    found = 0
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            _, local, _, state, *_ = line.split()
            found += int(state, 16) in (ESTABLISHED, CLOSE_WAIT) and int(local.rpartition(":")[2], 16) in ports
    return found


def _messages(diagnostics: socket.socket) -> Iterator[bytes]:
    """The answers to one request, without their headers."""
    while True:
        data = diagnostics.recv(1 << 16)
        while data:
            length, kind, *_ = HEADER.unpack_from(data)
            if kind == DONE:
                return
            if kind == ERROR:
                raise OSError(-struct.unpack_from("=i", data, HEADER.size)[0], "socket diagnostics were refused")
            yield data[HEADER.size : length]
            data = data[(length + 3) & ~3 :]


def _connection(port: int, message: bytes) -> Connection:
    (unsent,) = struct.unpack_from("=I", message, UNSENT_AT)
    info = _attribute(message[MESSAGE_BYTES:], INFO)
    (last_sent,) = struct.unpack_from("=I", info, LAST_SENT_AT)
    (last_received,) = struct.unpack_from("=I", info, LAST_RECEIVED_AT)
    (sent,) = struct.unpack_from("=Q", info, SENT_AT)
    (received,) = struct.unpack_from("=Q", info, RECEIVED_AT)
    if message[1] == CLOSE_WAIT:
        received -= 1  # the client's end of the connection counts as a byte
    # Both times begin with the connection: one that has received and never sent owes its first answer.
    owed = unsent > 0 or last_received < last_sent or (received > 0 and sent == 0)
    return Connection(port, owed, min(last_sent, last_received) / 1000)


def _attribute(data: bytes, wanted: int) -> bytes:
    while data:
        length, kind = struct.unpack_from("=HH", data)
        if kind == wanted:
            return data[4:length]
        data = data[(length + 3) & ~3 :]
    raise OSError("socket diagnostics say nothing of times")
