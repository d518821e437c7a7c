"""What passes by itself is an outage, which a pod waits out by starting again; what does not is final."""

from __future__ import annotations

import pytest
from boto3.exceptions import RetriesExceededError
from botocore import exceptions as of_botocore

from llm.errors import OutageError, ServiceError
from llm.storage.s3.errors import Place, explained, refusal

BROKEN_OFF = [
    RetriesExceededError(ConnectionResetError("reset")),
    of_botocore.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    of_botocore.CredentialRetrievalError(provider="iam-role", error_msg="timed out"),
    of_botocore.MetadataRetrievalError(error_msg="429"),
    of_botocore.ReadTimeoutError(endpoint_url="http://s3"),
    of_botocore.EndpointConnectionError(endpoint_url="http://s3"),
]


@pytest.mark.parametrize("raised", BROKEN_OFF, ids=lambda raised: type(raised).__name__)
def test_what_breaks_off_is_an_outage(raised: Exception) -> None:
    with pytest.raises(OutageError, match=r"^S3 bucket models at http://s3"), explained(Place("models", "http://s3")):
        raise raised


@pytest.mark.parametrize(
    ("status", "code", "passes"),
    [
        (503, "SlowDown", True), (500, "InternalError", True), (429, "Throttled", True),
        (409, "OperationAborted", True),
        (200, "InternalError", True),  # one of several keys
        (200, "AccessDenied", False), (403, "AccessDenied", False), (501, "NotImplemented", False),
        (409, "BucketNotEmpty", False),
    ],
)  # fmt: skip
def test_a_refusal_of_a_moment_is_an_outage_and_no_other(status: int, code: str, passes: bool) -> None:
    response = {"Error": {"Code": code, "Message": "words"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = refusal(Place("models", "https://s3.eu-west-1.amazonaws.com"), response)
    assert isinstance(error, ServiceError)
    assert isinstance(error, OutageError) is passes
