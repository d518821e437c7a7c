"""Whether an object can be written to the bucket, read and deleted: the pod `test-s3` of `helm test`.

It has the environment of a training pod, and reads BUCKET.
"""

from __future__ import annotations

import os
import sys
import uuid
from typing import Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from llm.process.reach import await_route


def main() -> None:
    """Write, read, delete; exit code 1 and a message that names the act that failed."""
    bucket, key, body = os.environ["BUCKET"], f"gristmill-helm-test/{uuid.uuid4()}", b"gristmill"
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    style: Literal["path", "auto"] = "path" if endpoint else "auto"
    settings = Config(
        connect_timeout=10, read_timeout=20, retries={"total_max_attempts": 2}, s3={"addressing_style": style}
    )
    client = boto3.client("s3", config=settings)
    await_route(endpoint)
    act = "write"
    try:
        client.put_object(Bucket=bucket, Key=key, Body=body)
        act = "read"
        read = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        act = "delete"
        client.delete_object(Bucket=bucket, Key=key)
    except (BotoCoreError, ClientError) as error:
        sys.exit(
            f"error: cannot {act} s3://{bucket}/{key} at {endpoint or 'AWS'}: {error}\n"
            "  See s3.endpoint, s3.region, s3.bucket and s3.existingSecret."
        )
    if read != body:
        sys.exit(f"error: s3://{bucket}/{key} came back as {read!r}, {body!r} was written")
    sys.stdout.write(f"wrote, read and deleted s3://{bucket}/{key}\n")


if __name__ == "__main__":
    main()
