"""An S3 server over https that knows less than AWS's: what it gets it keeps, the coding of the transfer included.

Servers of users behave like this: they store a checksum trailer inside the object, or refuse it; they ignore the
condition of a write; they delete no list of keys. Each is a switch.
"""

from __future__ import annotations

import datetime
import hashlib
import http.server
import ipaddress
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class NaiveS3:
    """What the server has and how it behaves; `endpoint` is where it answers."""

    endpoint: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    uploads: list[dict[str, str]] = field(default_factory=list)
    """Headers of each upload, in lower case."""
    refuses_trailers: bool = False
    ignores_conditions: bool = False
    refuses_conditions: tuple[int, str] | None = None
    """Status and code for each conditional write."""
    loses_conditional: bool = False
    """Whether a conditional write keeps an empty object."""
    deletes_lists: bool = True
    adds: bytes = b""
    """What a proxy on the way puts around each body."""
    parts: dict[str, bytes] = field(default_factory=dict)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: NaiveS3

    def do_PUT(self) -> None:
        body, key, query = self._body(), self._key(), self._query()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.state.uploads.append(headers)
        if "x-amz-trailer" in headers and self.state.refuses_trailers:
            return self._refuse(501, "NotImplemented")
        if "if-none-match" in headers and self.state.refuses_conditions is not None:
            return self._refuse(*self.state.refuses_conditions)
        if "if-none-match" in headers and key in self.state.objects and not self.state.ignores_conditions:
            return self._refuse(412, "PreconditionFailed")
        if "partNumber" in query:
            self.state.parts[f"{key} {int(query['partNumber']):05d}"] = body
        else:
            lost = "if-none-match" in headers and self.state.loses_conditional
            self._keep(key, b"" if lost else self.state.adds + body, headers)
        return self._answer(200, b"", ETag=f'"{hashlib.sha256(body).hexdigest()}"')

    def do_GET(self) -> None:
        key, query = self._key(), self._query()
        if not key:
            found = sorted(name for name in self.state.objects if name.startswith(query.get("prefix", "")))
            listed = "".join(f"<Contents><Key>{escape(name)}</Key></Contents>" for name in found)
            return self._answer(200, f"<ListBucketResult>{listed}</ListBucketResult>".encode())
        if key not in self.state.objects:
            return self._refuse(404, "NoSuchKey")
        kept = {f"x-amz-meta-{name}": value for name, value in self.state.metadata[key].items()}
        return self._answer(200, self.state.objects[key], **kept)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body, key, query = self._body().decode(), self._key(), self._query()
        if "uploads" in query:
            self.state.metadata[key] = _metadata(self.headers.items())
            answer = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
        elif "uploadId" in query:
            names = sorted(name for name in self.state.parts if name.startswith(f"{key} "))
            content = b"".join(self.state.parts.pop(name) for name in names)
            self.state.objects[key] = self.state.adds + content
            answer = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
        elif self.state.deletes_lists:
            for name in re.findall("<Key>(.*?)</Key>", body):
                self.state.objects.pop(name, None)
            answer = "<DeleteResult/>"
        else:
            return self._refuse(400, "MissingContentMD5")
        return self._answer(200, answer.encode())

    def do_DELETE(self) -> None:
        self.state.objects.pop(self._key(), None)
        self._answer(204, b"")

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _keep(self, key: str, content: bytes, headers: dict[str, str]) -> None:
        self.state.objects[key] = content
        self.state.metadata[key] = _metadata(headers.items())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    def _query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def naive_s3(certificate: Path, *, tls: bool = True) -> Iterator[NaiveS3]:
    """A server with an empty bucket of any name; its certificate and key are written to a file."""
    state = NaiveS3()
    handler = type("Handler", (_Handler,), {"state": state})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if tls:
        write_certificate(certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    state.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def write_certificate(path: Path) -> None:
    """A key and a certificate for 127.0.0.1 that it signed itself, valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))


def _metadata(headers: object) -> dict[str, str]:
    pairs = {name.lower(): value for name, value in headers}  # type: ignore[attr-defined]
    return {name.removeprefix("x-amz-meta-"): value for name, value in pairs.items() if name.startswith("x-amz-meta-")}
