"""What a server is sent, and what happens with servers that know less than AWS."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm.errors import ServiceError
from llm.storage import Store, open_objects
from llm.storage.s3 import client as client_module
from llm.storage.s3 import objects as s3_module
from tests.cases.storage import RECIPE, file, make
from tests.fakes.naive_s3 import NaiveS3, naive_s3

URI = "s3://bucket/store"
TRAILERS = ("x-amz-trailer", "x-amz-decoded-content-length")


@pytest.fixture(params=[True, False], ids=["https", "http"])
def server(
    request: pytest.FixtureRequest, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NaiveS3]:
    with naive_s3(tmp_path / "server.pem", tls=request.param) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "server.pem"))
        yield server


def sha256_header(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


@pytest.mark.parametrize("refuses_trailers", [False, True], ids=["stores trailers", "refuses trailers"])
def test_each_kind_of_content_arrives_as_it_was_sent(server: NaiveS3, tmp_path: Path, refuses_trailers: bool):
    server.refuses_trailers = refuses_trailers
    objects = open_objects(URI)
    objects.write("recipe", b'{"a": 1}\n')
    objects.write("claim", b"1", if_absent=True)
    objects.put(file(tmp_path, b"hello world\n" * 10), "weights")
    made = make(Store(URI))
    assert server.objects["store/recipe"] == b'{"a": 1}\n'
    assert server.objects["store/claim"] == b"1"
    assert server.objects["store/weights"] == b"hello world\n" * 10
    assert server.objects[f"store/corpus/{made.id}/sub/text.txt"] == b"hello"
    assert Store(URI).find(RECIPE) == made
    assert not any(name in upload for upload in server.uploads for name in TRAILERS)
    assert not any("aws-chunked" in upload.get("content-encoding", "") for upload in server.uploads)


def test_every_upload_carries_the_sha256_of_its_own_body(
    server: NaiveS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(s3_module, "PART_BYTES", 5 << 20)  # the least that boto3 cuts
    content = bytes(range(256)) * (6 << 12)
    open_objects(URI).write("small", b"one")
    open_objects(URI).put(file(tmp_path, content), "large", in_parts_from_bytes=1)
    cut = [content[: 5 << 20], content[5 << 20 :]]
    sent = {upload["x-amz-checksum-sha256"] for upload in server.uploads}
    assert sent == {sha256_header(body) for body in (b"one", *cut)}
    assert server.objects["store/large"] == content


def test_a_server_that_only_lacks_trailers_is_good_enough(server: NaiveS3):
    server.refuses_trailers = True
    assert open_objects(URI).check_access() == []
    assert server.objects == {}


def test_a_server_that_keeps_something_else_is_refused_before_the_first_step(server: NaiveS3):
    server.adds = b"10e\r\n"
    words = (
        rf"(?s)S3 bucket bucket at {server.endpoint} does not keep what it was sent: a small object of \d+ bytes was"
        r" written, \d+ bytes came back.*the coding of the transfer.*nothing was started.*docs/storage.md"
    )
    with pytest.raises(ServiceError, match=words):
        Store(URI).check_access()
    assert server.objects == {}


def test_a_server_that_ignores_the_condition_of_a_write_keeps_what_is_there(server: NaiveS3):
    server.ignores_conditions = True
    objects = open_objects(URI)
    assert objects.write("claim", b"first", if_absent=True)
    assert not objects.write("claim", b"second", if_absent=True)
    assert objects.read("claim") == b"first"
    objects.check_access()


@pytest.mark.parametrize("refusal", [(501, "NotImplemented"), (400, "InvalidRequest"), (400, "InvalidArgument")])
def test_a_server_that_refuses_the_condition_of_a_write_keeps_what_is_there(server: NaiveS3, refusal: tuple[int, str]):
    server.refuses_conditions = refusal
    objects = open_objects(URI)
    objects.check_access()
    assert any("if-none-match" in upload for upload in server.uploads)
    assert objects.write("claim", b"first", if_absent=True)
    assert not objects.write("claim", b"second", if_absent=True)
    assert objects.read("claim") == b"first"


@pytest.mark.parametrize(
    ("refusal", "words"),
    [((403, "AccessDenied"), "refused: 403 AccessDenied"), ((400, "RequestTimeout"), "refused: 400 RequestTimeout")],
)
def test_another_refusal_of_a_conditional_write_is_found_before_the_first_step(
    server: NaiveS3, monkeypatch: pytest.MonkeyPatch, refusal: tuple[int, str], words: str
):
    monkeypatch.setattr(client_module, "ATTEMPTS", 1)
    server.refuses_conditions = refusal
    with pytest.raises(ServiceError, match=words):
        Store(URI).check_access()
    assert server.objects == {}


def test_a_conditional_write_that_does_not_arrive_is_found_before_the_first_step(server: NaiveS3):
    server.loses_conditional = True
    with pytest.raises(ServiceError, match=r"an object in a conditional write of \d+ bytes was written, 0 bytes came"):
        Store(URI).check_access()


def test_a_server_that_deletes_no_list_of_keys_is_asked_for_each(server: NaiveS3):
    server.deletes_lists = False
    objects = open_objects(URI)
    for name in ("b/1", "b/2", "c"):
        objects.write(name, b"x")
    objects.remove("b/")
    assert objects.names() == ["c"]


def test_a_certificate_that_is_not_trusted_is_named_with_the_setting(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with naive_s3(tmp_path / "server.pem") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        with pytest.raises(ServiceError, match=r"(?s)is reached, and TLS fails: .*Set AWS_CA_BUNDLE to a file"):
            open_objects(URI).read("x")


def test_https_to_a_server_of_http_is_said(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with naive_s3(tmp_path / "none", tls=False) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint.replace("http:", "https:"))
        with pytest.raises(ServiceError, match=r"(?s)speaks http, not https.*write http:// in AWS_ENDPOINT_URL_S3"):
            open_objects(URI).read("x")
