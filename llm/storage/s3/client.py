"""The S3 client: which endpoint it asks, how often it tries, and how it sends checksums.

boto3 reads endpoint, region, profile and keys from the environment and from `~/.aws`, under AWS's own names. An
endpoint other than AWS is addressed by path (`https://HOST/BUCKET`), since few of them have a host name a bucket.

Every upload carries the SHA-256 of its whole body in a header. boto3 alone would send a checksum over https as a
trailer, in a body with the coding `aws-chunked`: a server that does not know this coding stores it inside the object.
"""

from __future__ import annotations

import base64
import hashlib
import os
from functools import cache
from typing import TYPE_CHECKING, Any

from llm.errors import UserError
from llm.storage.hashes import CHUNK_BYTES
from llm.storage.s3.errors import is_aws, unusable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TRANSFERS = 8
"""Parts of one file, or files of one product, that travel at the same time."""
ATTEMPTS = 6
CONNECT_SECONDS, READ_SECONDS = 5, 60
UPLOADS = ("PutObject", "UploadPart")


def client() -> S3Client:
    """The client for the settings of this moment; raises UserError if they make none."""
    return _client(os.getpid(), tuple(sorted(pair for pair in os.environ.items() if pair[0].startswith("AWS_"))))


@cache
def _client(pid: int, settings: tuple[tuple[str, str], ...]) -> S3Client:
    """One client a process (a client does not survive a fork) and set of settings."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise UserError("a store in S3 needs boto3, and it is not installed", "pip install 'gristmill[s3]'") from error
    try:
        session = boto3.session.Session()
        made = _made(session, None)
        chosen = getattr(made.meta.config, "s3", None) or {}
        if not is_aws(made.meta.endpoint_url) and "addressing_style" not in chosen:
            made = _made(session, {"addressing_style": "path"})
    except (BotoCoreError, ValueError) as error:
        raise unusable(error) from error
    for operation in UPLOADS:
        made.meta.events.register(f"before-parameter-build.s3.{operation}", _add_sha256)
    return made


def _made(session: Any, s3: Any) -> S3Client:
    from botocore.config import Config

    made: S3Client = session.client(
        "s3",
        region_name=os.environ.get("AWS_REGION"),  # AWS's own tools read it, boto3 reads AWS_DEFAULT_REGION alone
        config=Config(
            retries={"max_attempts": ATTEMPTS, "mode": "standard"},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=2 * TRANSFERS,
            request_checksum_calculation="when_required",
            s3=s3,
        ),
    )
    return made


def _add_sha256(params: dict[str, Any], **_: Any) -> None:
    """Give an upload the SHA-256 of its body as a header; boto3 adds no checksum of its own to such a request."""
    body = params.get("Body", b"")
    digest = hashlib.sha256()
    if isinstance(body, bytes):
        digest.update(body)
    else:
        start = body.tell()
        while chunk := body.read(CHUNK_BYTES):
            digest.update(chunk)
        body.seek(start)
    params["ChecksumSHA256"] = base64.b64encode(digest.digest()).decode()
