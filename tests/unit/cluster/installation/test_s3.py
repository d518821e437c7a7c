"""`helm test` writes, reads and deletes an object in the bucket, here of a server of our own."""

from __future__ import annotations

import boto3
import pytest

from llm.cluster.installation import s3


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    keys = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": s3_server, "BUCKET": "installation"}.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="installation")
    return "installation"


def test_a_bucket_that_takes_an_object_passes_and_keeps_nothing(
    bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    s3.main()
    assert capsys.readouterr().out.startswith(f"wrote, read and deleted s3://{bucket}/gristmill-helm-test/")
    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket=bucket)


def test_a_bucket_that_is_not_there_is_named_with_the_values_to_look_at(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCKET", "nowhere")
    with pytest.raises(SystemExit, match=r"(?s)error: cannot write s3://nowhere/.*NoSuchBucket.*See s3\.endpoint"):
        s3.main()
