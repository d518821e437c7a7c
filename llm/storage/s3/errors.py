"""Refusals of S3 in plain words: which bucket at which endpoint, the status and the code, and what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from llm.errors import GristmillError, OutageError, ServiceError, UserError

KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REMEDIES = {
    "InvalidAccessKeyId": f"The server does not know this key: check {KEYS}.",
    "XAdminUserNotFound": f"The server does not know this key: check {KEYS}.",  # Versity's word for the same
    "SignatureDoesNotMatch": f"The secret does not fit the key: check {KEYS}.",
    "AccessDenied": "This key may not do that: it needs to list, read, write and delete below the store's prefix.",
    "403": f"The key is not known, or it may not do that: check {KEYS} and the bucket's policy.",
    "ExpiredToken": "The token has expired: get new credentials.",
    "AuthorizationHeaderMalformed": "The bucket is in another region: set AWS_REGION to it.",
    "IllegalLocationConstraintException": "The bucket is in another region: set AWS_REGION to it.",
    "PermanentRedirect": "The bucket is in another region: set AWS_REGION to it.",
    "301": "The bucket is in another region: set AWS_REGION to it.",
    "400": "The server cannot read the request. Check AWS_REGION and {endpoint}.",
    "501": "The server cannot do this: docs/storage.md says what a server must be able to do.",
    "RequestTimeTooSkewed": "This machine's clock is wrong: set it.",
    "SlowDown": "The server is overloaded: run again later.",
}
PASSING = ("RequestTimeout", "SlowDown", "TooManyRequests", "InternalError", "ServiceUnavailable", "OperationAborted")
"""Refusals that may pass, in answers that are not the server's own failure (5xx): an answer of 200 can refuse a key."""
TOO_MANY, NOT_IMPLEMENTED = 429, 501
SETTINGS = {
    "ProfileNotFound": "AWS_PROFILE (or AWS_DEFAULT_PROFILE) must be a profile of ~/.aws/config, or not set.",
    "ConfigParseError": "AWS_CONFIG_FILE, or ~/.aws/config, must have the form that `aws configure` writes.",
    "InvalidRegionError": "AWS_REGION (or AWS_DEFAULT_REGION) must be a region's name, such as us-east-1.",
    "ValueError": "AWS_ENDPOINT_URL_S3, or AWS_ENDPOINT_URL, must be http://HOST:PORT or https://HOST:PORT.",
}
"""By the error that boto3 raises instead of making a client."""


def is_aws(endpoint: str) -> bool:
    """Whether an endpoint is Amazon's own."""
    return ".amazonaws." in (urlsplit(endpoint).hostname or "")


@dataclass(frozen=True)
class Place:
    """A bucket at the endpoint that the client really asks."""

    bucket: str
    endpoint: str

    def __str__(self) -> str:
        """In words, as the beginning of a message."""
        return f"S3 bucket {self.bucket} at {'AWS' if is_aws(self.endpoint) else self.endpoint}"

    @property
    def setting(self) -> str:
        """The place where the endpoint is set: a variable, or a file of AWS's tools."""
        for name in ENDPOINTS:
            if os.environ.get(name, "").rstrip("/") == self.endpoint.rstrip("/"):
                return name
        if is_aws(self.endpoint):
            return "AWS_ENDPOINT_URL (it is not set, so AWS is asked)"
        profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
        return f"endpoint_url of profile {profile} in {os.environ.get('AWS_CONFIG_FILE') or '~/.aws/config'}"


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Turn boto3's errors in the body into UserError (no such bucket), OutageError or ServiceError."""
    from boto3.exceptions import Boto3Error, RetriesExceededError
    from botocore import exceptions as of_botocore

    try:
        yield
    except GristmillError:
        raise
    except of_botocore.ClientError as error:
        raise refusal(place, error.response) from error
    except of_botocore.NoCredentialsError as error:
        raise ServiceError(f"{place}: there are no credentials", f"Set {KEYS}.") from error
    except (of_botocore.CredentialRetrievalError, of_botocore.MetadataRetrievalError) as error:
        raise OutageError(f"{place}: the credential service does not answer: {error}", "Run again later.") from error
    except of_botocore.SSLError as error:
        raise ServiceError(f"{place} is reached, and TLS fails: {error}", _about_tls(place, error)) from error
    except of_botocore.ProxyConnectionError as error:
        raise OutageError(
            f"{place}: the proxy does not answer: {error}",
            "Check HTTPS_PROXY and HTTP_PROXY, or name the host of the endpoint in NO_PROXY; then run again.",
        ) from error
    except (  # after all tries: no connection, a broken one, or a slow one
        of_botocore.HTTPClientError, of_botocore.ConnectionError, of_botocore.IncompleteReadError, RetriesExceededError,
    ) as error:  # fmt: skip
        raise OutageError(
            f"{place} does not answer: {error}",
            f"Check {place.setting}, and whether the server runs and can be reached from here; then run again.",
        ) from error
    except RecursionError as error:  # botocore asks about a redirect by a HEAD, and about that one's redirect again
        raise ServiceError(
            f"{place} redirects every request, and names no region",
            f"Check {place.setting}: a proxy does this for http:// where it wants https://.",
        ) from error
    except (of_botocore.BotoCoreError, Boto3Error) as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, of_botocore.ClientError):  # the error of a transfer hides the server's answer
            raise refusal(place, cause.response) from error
        raise ServiceError(f"{place}: {error}") from error


def _about_tls(place: Place, error: Exception) -> str:
    if "WRONG_VERSION_NUMBER" in str(error) or "record layer failure" in str(error):
        return f"The server speaks http, not https, at this port: write http:// in {place.setting}."
    return "Set AWS_CA_BUNDLE to a file with the certificate of the server, or of the authority that signed it."


def unusable(error: Exception) -> UserError:
    """The setting with which boto3 makes no client."""
    remedy = SETTINGS.get(type(error).__name__)
    return UserError(f"S3 cannot be used with these settings: {error}", *([remedy] if remedy else []))


def refusal(place: Place, response: Any) -> GristmillError:
    """The error for S3's answer."""
    answer = response.get("Error", {})
    code, words = str(answer.get("Code", "")), str(answer.get("Message", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code == "NoSuchBucket":
        return UserError(f"{place} does not exist", f"Make it (aws s3 mb s3://{place.bucket}), or set storage.uri.")
    remedy = REMEDIES.get(code) or REMEDIES.get(str(status))
    details = [] if remedy is None else [remedy.format(endpoint=place.setting)]
    passes = code in PASSING or status == TOO_MANY or ((status or 0) >= 500 and status != NOT_IMPLEMENTED)
    return (OutageError if passes else ServiceError)(f"{place} refused: {status} {code}: {words}", *details)
