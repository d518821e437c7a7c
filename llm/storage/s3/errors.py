"""What S3 refuses, in plain words: which bucket at which endpoint, the status and the code, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llm.errors import GristmillError, OutageError, ServiceError, UserError

KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
REMEDIES = {
    "InvalidAccessKeyId": f"The server does not know this key: check {KEYS}.",
    "XAdminUserNotFound": f"The server does not know this key: check {KEYS}.",  # Versity's word for the same
    "SignatureDoesNotMatch": f"The secret does not fit the key: check {KEYS}.",
    "AccessDenied": "This key may not do that: it needs to list, read, write and delete below the store's prefix.",
    "403": f"This key may not do that, or is not known: check {KEYS} and the bucket's policy.",
    "ExpiredToken": "The token has expired: get new credentials.",
    "AuthorizationHeaderMalformed": "The region is another one: set AWS_REGION to the bucket's.",
    "IllegalLocationConstraintException": "The region is another one: set AWS_REGION to the bucket's.",
    "PermanentRedirect": "The bucket is in another region: set AWS_REGION to it.",
    "301": "The bucket is in another region: set AWS_REGION to it.",
    "400": "The server cannot read the request: a wrong AWS_REGION or AWS_ENDPOINT_URL does that.",
    "RequestTimeTooSkewed": "This machine's clock is wrong: set it.",
    "SlowDown": "The server is overloaded: run again later.",
}
PASSING = ("RequestTimeout", "SlowDown", "TooManyRequests", "InternalError", "ServiceUnavailable", "OperationAborted")
"""Refusals of a moment, beside the server's own failures (5xx): one of several keys is refused in an answer of 200."""
TOO_MANY, NOT_IMPLEMENTED = 429, 501
SETTINGS = {
    "ProfileNotFound": "AWS_PROFILE (or AWS_DEFAULT_PROFILE) must be a profile of ~/.aws/config, or not set.",
    "ConfigParseError": "AWS_CONFIG_FILE, or ~/.aws/config, must be as `aws configure` writes it.",
    "InvalidRegionError": "AWS_REGION (or AWS_DEFAULT_REGION) must be a region's name, such as us-east-1.",
    "ValueError": "AWS_ENDPOINT_URL_S3, or AWS_ENDPOINT_URL, must be http://HOST:PORT or https://HOST:PORT.",
}
"""By what boto3 raises instead of making a client."""


@contextmanager
def explained(bucket: str, endpoint: str | None) -> Iterator[None]:
    """Turn what boto3 raises in the body into UserError (no such bucket), OutageError or ServiceError."""
    from boto3.exceptions import Boto3Error, RetriesExceededError
    from botocore import exceptions as of_botocore

    where = place(bucket, endpoint)
    try:
        yield
    except GristmillError:
        raise
    except of_botocore.ClientError as error:
        raise refusal(where, bucket, error.response) from error
    except of_botocore.NoCredentialsError as error:
        raise ServiceError(f"{where}: there are no credentials", f"Set {KEYS}.") from error
    except (of_botocore.CredentialRetrievalError, of_botocore.MetadataRetrievalError) as error:
        raise OutageError(f"{where}: who gives the credentials does not answer: {error}", "Run again later.") from error
    except (  # none, broken, or too slow, after all tries
        of_botocore.HTTPClientError, of_botocore.ConnectionError, of_botocore.IncompleteReadError, RetriesExceededError,
    ) as error:  # fmt: skip
        raise OutageError(
            f"{where} does not answer: {error}",
            "Check AWS_ENDPOINT_URL, and whether the server runs and can be reached from here; then run again.",
        ) from error
    except RecursionError as error:  # botocore asks about a redirect by a HEAD, and about that one's redirect again
        raise ServiceError(
            f"{where} sends every request elsewhere, and names no region",
            "Check AWS_ENDPOINT_URL: a proxy does that which wants https where it says http.",
        ) from error
    except (of_botocore.BotoCoreError, Boto3Error) as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, of_botocore.ClientError):  # a transfer's error hides the answer that it was about
            raise refusal(where, bucket, cause.response) from error
        raise ServiceError(f"{where}: {error}") from error


def unusable(error: Exception) -> UserError:
    """The setting with which boto3 makes no client."""
    remedy = SETTINGS.get(type(error).__name__)
    return UserError(f"S3 cannot be used with these settings: {error}", *([remedy] if remedy else []))


def place(bucket: str, endpoint: str | None) -> str:
    """A bucket and where it is, in words."""
    return f"S3 bucket {bucket} at {endpoint or 'AWS'}"


def refusal(where: str, bucket: str, response: Any) -> GristmillError:
    """The error for what S3 answered."""
    answer = response.get("Error", {})
    code, words = str(answer.get("Code", "")), str(answer.get("Message", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code == "NoSuchBucket":
        return UserError(f"{where} does not exist", f"Make it (aws s3 mb s3://{bucket}), or set storage.uri.")
    remedy = REMEDIES.get(code) or REMEDIES.get(str(status))
    passes = code in PASSING or status == TOO_MANY or ((status or 0) >= 500 and status != NOT_IMPLEMENTED)
    kind = OutageError if passes else ServiceError
    return kind(f"{where} refused: {status} {code}: {words}", *([remedy] if remedy else []))
