"""A store in S3: what makes no client, what a server refuses, and the words for it. Its laws: test_objects.py."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.errors import OutageError, ServiceError, UserError
from llm.storage import FileEntry, Store, open_objects
from llm.storage.s3 import client as client_module
from llm.storage.s3 import objects as s3_module
from tests.cases.storage import RECIPE, make


def test_the_manifest_goes_up_last(s3: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(s3_module.S3Objects, "put", lambda *_: (_ for _ in ()).throw(ServiceError("cut")))
    store = Store(s3)
    with pytest.raises(ServiceError, match="cut"):
        make(store)
    assert store.find(RECIPE) is None
    assert store.objects.names() == []


@pytest.mark.parametrize("uri", ["s3://", "s3:///store", "s3://bucket/x?y=1"])
def test_an_address_without_a_bucket_is_refused(uri: str):
    with pytest.raises(UserError, match="is not an S3 address"):
        Store(uri)


def test_an_endpoint_that_is_down_is_named(s3: str, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr(client_module, "ATTEMPTS", 1)
    with pytest.raises(ServiceError, match=r"(?s)at http://127.0.0.1:\d+ does not answer.*AWS_ENDPOINT_URL"):
        Store(s3).check_access()


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("AWS_ENDPOINT_URL", "minio:9000", r": minio:9000\n  .*AWS_ENDPOINT_URL, must be http://HOST:PORT"),
        ("AWS_ENDPOINT_URL_S3", "http://[::1", r"Invalid IPv6 URL\n  AWS_ENDPOINT_URL_S3, or"),
        ("AWS_REGION", "eu west", r"'eu west' .*\n  AWS_REGION .* such as us-east-1"),
        ("AWS_PROFILE", "nobody", r"\(nobody\) could not be found\n  AWS_PROFILE .*~/.aws/config"),
        ("AWS_CONFIG_FILE", __file__, r"parse config file: .*\n  AWS_CONFIG_FILE, or"),
    ],
)
def test_a_setting_that_makes_no_client_is_named(
    s3: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=f"S3 cannot be used with these settings: .*{told}"):
        Store(s3)


def test_missing_keys_are_named(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ServiceError, match=r"(?s)there are no credentials.*AWS_ACCESS_KEY_ID"):
        Store(s3).check_access()


@pytest.fixture
def refusing(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[http.server.BaseHTTPRequestHandler]]:
    """A server that gives `answers` to GET in turn, the last for ever, and those of `conditional` to such writes."""

    class Refusing(http.server.BaseHTTPRequestHandler):
        answers: list[tuple[int, str]] = []  # noqa: RUF012
        asked = 0
        conditional: list[int] = []  # noqa: RUF012
        written = 0
        listed = ""
        not_deleted = ""
        to_head = 0
        """What a HEAD is answered with, as AWS says that the region is wrong; 0: as what was written has it."""
        region = "eu-west-1"

        def do_GET(self) -> None:
            status, code = self.answers[min(type(self).asked, len(self.answers) - 1)]
            type(self).asked += 1
            body = (
                f"<Error><Code>{code}</Code><Message>because</Message></Error>"
                if code
                else f"<ListBucketResult>{self.listed}</ListBucketResult>"
            )
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            refused = ("If-None-Match" in self.headers and self.conditional.pop(0)) or 200
            type(self).written += refused == 200
            self.send_response(refused)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.send_response(self.to_head or (200 if self.written else 404))
            if self.to_head and self.region:
                self.send_header("x-amz-bucket-region", self.region)
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = f"<DeleteResult>{self.not_deleted}</DeleteResult>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    yield Refusing
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, "InvalidAccessKeyId", "does not know this key: check AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "secret does not fit"),
        (403, "AccessDenied", "needs to list, read, write and delete"),
        (400, "ExpiredToken", "get new credentials"),
        (301, "PermanentRedirect", "The bucket is in another region: set AWS_REGION to it"),
        (400, "AuthorizationHeaderMalformed", "The bucket is in another region: set AWS_REGION to it"),
        (400, "IllegalLocationConstraintException", "The bucket is in another region: set AWS_REGION to it"),
    ],
)
def test_a_refusal_keeps_its_status_and_code_and_says_what_to_do(
    s3: str, refusing, status: int, code: str, remedy: str
):
    refusing.answers = [(status, code)]
    with pytest.raises(ServiceError, match=rf"(?s)S3 bucket bucket at .* refused: {status} {code}: because.*{remedy}"):
        Store(s3).check_access()


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (301, "is in another region: set AWS_REGION to it"),
        (400, "The server cannot read the request. Check AWS_REGION and AWS_ENDPOINT_URL"),
    ],
)
def test_a_wrong_region_in_an_answer_without_a_body_is_told_by_its_status(s3: str, refusing, status: int, remedy: str):
    refusing.to_head = status
    with pytest.raises(ServiceError, match=rf"(?s)S3 bucket bucket at .* refused: {status} .*{remedy}"):
        open_objects(s3).problem(FileEntry(path="x", size_bytes=0, sha256=""))


def test_a_proxy_that_sends_everything_elsewhere_is_no_traceback(s3: str, refusing):
    refusing.answers, refusing.to_head, refusing.region = [(301, "")], 301, ""
    with pytest.raises(ServiceError, match=r"(?s)redirects every request.*Check AWS_ENDPOINT_URL"):
        Store(s3).check_access()


def test_what_may_not_be_deleted_is_said_although_the_answer_is_a_success(s3: str, refusing):
    refusing.answers, refusing.listed = [(200, "")], "<Contents><Key>store/x</Key></Contents>"
    refusing.not_deleted = "<Error><Key>store/x</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
    with pytest.raises(ServiceError, match=r"(?s)refused: 200 AccessDenied: no.*list, read, write and delete"):
        open_objects(s3).remove("x")


@pytest.mark.parametrize(
    ("conditional", "written"), [([501, 501], [True, False]), ([409, 200], [True]), ([412], [False])]
)
def test_a_write_if_absent_does_without_what_the_server_does_not_have(
    s3: str, refusing, conditional: list[int], written: list[bool]
):
    refusing.conditional = list(conditional)
    assert [open_objects(s3).write("x", b"1", if_absent=True) for _ in written] == written
    assert refusing.written == sum(written)


@pytest.mark.parametrize(
    ("answer", "passes"), [((503, "SlowDown"), True), ((400, "RequestTimeout"), True), ((403, "AccessDenied"), False)]
)
def test_only_what_may_pass_is_an_outage(
    s3: str, refusing, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str], passes: bool
):
    monkeypatch.setattr(client_module, "ATTEMPTS", 1)
    refusing.answers = [answer]
    with pytest.raises(ServiceError) as refusal:
        open_objects(s3).names()
    assert isinstance(refusal.value, OutageError) == passes


def test_a_server_that_is_busy_for_a_moment_is_asked_again(s3: str, refusing):
    refusing.answers = [(503, "SlowDown"), (500, "InternalError"), (200, "")]
    assert open_objects(s3).names() == []
    assert refusing.asked == 3
