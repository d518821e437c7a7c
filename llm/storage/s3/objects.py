"""Objects in an S3 bucket, through boto3.

Large files go up and come down in parts, several at a time; S3 checks a SHA-256 of the bytes that it receives, and
every download is hashed here. An object appears when its upload is complete, so a reader never sees half of one. Where
the server has conditional writes, `if_absent` holds between machines; elsewhere two writers in one moment may both
succeed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.errors import DamagedError
from llm.storage.atomic_write import fresh_file
from llm.storage.hashes import sha256_of_file
from llm.storage.objects import FileEntry, describe
from llm.storage.s3 import access
from llm.storage.s3.client import TRANSFERS, client
from llm.storage.s3.errors import NOT_IMPLEMENTED, PASSING, Place, explained, refusal
from llm.storage.uri import bucket_and_prefix

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

PART_BYTES = 16 << 20
NO_CONDITIONS = (400, NOT_IMPLEMENTED)
"""Answers of servers that refuse a conditional write because they know none."""
CONFLICTS, CONFLICT_SECONDS = 20, 0.1
SHA256 = "sha256"
"""Key of an object's own metadata with the hex hash of the whole content."""
NO_LIST_DELETE = {"NotImplemented", "MethodNotAllowed", "MissingContentMD5", "InvalidRequest"}
"""Answers of servers that cannot delete a list of keys, or that want it with an MD5, which boto3 no longer sends."""


class S3Objects:
    """Objects below a prefix of a bucket; raises ServiceError or UserError for every refusal of S3."""

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client, self._bucket, self._prefix = client, bucket, prefix

    @classmethod
    def at(cls, uri: str) -> S3Objects:
        """The objects at an `s3://` URI."""
        bucket, prefix = bucket_and_prefix(uri)
        return cls(client(), bucket, prefix)

    @property
    def place(self) -> Place:
        """The bucket and the endpoint that is asked, for messages."""
        return Place(self._bucket, self._client.meta.endpoint_url)

    def below(self, name: str) -> S3Objects:
        """A prefix further down."""
        return S3Objects(self._client, self._bucket, self._key(name).rstrip("/"))

    def read(self, name: str) -> bytes | None:
        """Content of an object."""
        with self._explained():
            try:
                return self._client.get_object(Bucket=self._bucket, Key=self._key(name))["Body"].read()
            except self._client.exceptions.NoSuchKey:
                return None

    def write(self, name: str, content: bytes, *, if_absent: bool = False) -> bool:
        """Put an object; with `if_absent` by a conditional write (`If-None-Match: *`)."""
        with self._explained():
            if if_absent:
                return self._write_if_absent(self._key(name), content)
            self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=content)
        return True

    def _write_if_absent(self, key: str, content: bytes, tries: int = CONFLICTS) -> bool:
        from botocore.exceptions import ClientError

        if self._is_there(key):  # some servers ignore the condition
            return False
        given: Any = {"Bucket": self._bucket, "Key": key, "Body": content}
        try:
            self._client.put_object(**given, IfNoneMatch="*")
        except ClientError as error:
            if _status(error) == 412:
                return False
            if _status(error) == 409 and tries > 1:  # another writes it in this moment
                time.sleep(CONFLICT_SECONDS)
                return self._write_if_absent(key, content, tries - 1)
            if _status(error) not in NO_CONDITIONS or error.response.get("Error", {}).get("Code") in PASSING:
                raise
            self._client.put_object(**given)  # it is refused too if the condition was not the reason
        return True

    def _is_there(self, key: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if _status(error) != 404:
                raise
            return False
        return True

    def put(self, path: Path, name: str, *, in_parts_from_bytes: int = PART_BYTES) -> FileEntry:
        """Upload a file, in parts if it is large; the file stays."""
        entry = describe(path, name)
        with self._explained():
            self._client.upload_file(
                str(path), self._bucket, self._key(name), Config=_transfers(in_parts_from_bytes),
                ExtraArgs={"ChecksumAlgorithm": "SHA256", "Metadata": {SHA256: entry.sha256}},
            )  # fmt: skip
        return entry

    def put_all(self, files: dict[str, Path]) -> None:
        """Upload files under their names, several at a time."""
        with ThreadPoolExecutor(TRANSFERS) as pool:
            for _ in pool.map(lambda pair: self.put(pair[1], pair[0]), sorted(files.items())):
                pass

    def fetch(self, entry: FileEntry, into: Path, *, checked: bool = False) -> Path:
        """Download a file into its place below `into`, unless the right content is there already."""
        target = into / entry.path
        is_there = target.is_file() and target.stat().st_size == entry.size_bytes
        if is_there and (checked or sha256_of_file(target) == entry.sha256):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = fresh_file(target)
        os.close(descriptor)
        try:
            self._download(entry, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def problem(self, entry: FileEntry) -> str | None:
        """Whether an object of that size and hash is there, as S3 and the object's own metadata say."""
        from botocore.exceptions import ClientError

        with self._explained():
            try:
                head = self._client.head_object(Bucket=self._bucket, Key=self._key(entry.path))
            except ClientError as error:
                if _status(error) != 404:
                    raise
                return "is missing"
        if head["ContentLength"] != entry.size_bytes or head["Metadata"].get(SHA256, entry.sha256) != entry.sha256:
            return "is not what was written"
        return None

    def names(self, prefix: str = "") -> list[str]:
        """Keys below the prefix, relative to it."""
        start = len(self._key(""))
        with self._explained():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._key(prefix)
            )
            return sorted(one["Key"][start:] for page in pages for one in page.get("Contents", ()))

    def remove(self, prefix: str) -> None:
        """Delete objects whose name begins so, one request a thousand."""
        names = self.names(prefix)
        for first in range(0, len(names), 1000):
            self._delete([self._key(name) for name in names[first : first + 1000]])

    def _delete(self, keys: list[str]) -> None:
        """Delete objects; the answer is a success that lists those that were refused."""
        from botocore.exceptions import ClientError

        named: Any = [{"Key": key} for key in keys]
        with self._explained():
            try:
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": named, "Quiet": True})
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in NO_LIST_DELETE:
                    raise
                for key in keys:
                    self._client.delete_object(Bucket=self._bucket, Key=key)
                return
            if refused := answer.get("Errors"):
                raise refusal(self.place, {**answer, "Error": refused[0]})

    def check_access(self) -> list[str]:
        """Raise ServiceError or UserError, naming the fault, unless the server keeps our writes."""
        access.check(self)
        return []

    def _download(self, entry: FileEntry, target: Path) -> None:
        from botocore.exceptions import ClientError

        what = f"{self.uri}/{entry.path}"
        with self._explained():
            try:
                self._client.download_file(self._bucket, self._key(entry.path), str(target), Config=_transfers())
            except ClientError as error:
                if _status(error) != 404 or error.response.get("Error", {}).get("Code") == "NoSuchBucket":
                    raise
                raise DamagedError(f"{what} is missing", "Its manifest names it.") from error
        size = target.stat().st_size
        if size != entry.size_bytes:
            raise DamagedError(f"{what} is damaged: its manifest says {entry.size_bytes} bytes, it has {size}")
        if (found := sha256_of_file(target)) != entry.sha256:
            raise DamagedError(
                f"{what} is damaged: its manifest says sha256 {entry.sha256[:12]}…, it has {found[:12]}…"
                f" (both {size} bytes)"
            )

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with explained(self.place):
            yield


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _transfers(in_parts_from_bytes: int = PART_BYTES) -> TransferConfig:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_threshold=in_parts_from_bytes, multipart_chunksize=PART_BYTES, max_concurrency=TRANSFERS
    )
