"""The connection to S3, and what its failures mean for the person on call."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# Three attempts of at most 15 seconds each: an S3 that hangs is given up within a
# minute. Botocore's own defaults (60 seconds each) would wait for six.
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 10

REMEDIES = {
    "AccessDenied": "grant these credentials access to it",
    "ExpiredToken": "renew the credentials",
    "ExpiredTokenException": "renew the credentials",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID",
    "NoSuchBucket": "check the bucket's name",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY",
    "403": "grant these credentials access to it",
    "404": "check that it exists",
}


@cache
def s3_client() -> "S3Client":
    """Make the S3 client, once, when it is first needed.

    Region, credentials, endpoint and retries are boto3's own configuration
    (`AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL`, `AWS_MAX_ATTEMPTS`, a profile, ...).
    """
    from boto3 import client
    from botocore.config import Config

    return client(
        "s3",
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS, read_timeout=READ_TIMEOUT_SECONDS
        ),
    )


@contextmanager
def explain_s3_errors(action: str) -> Iterator[None]:
    """Turn every failure of S3 into one sentence.

    Args:
        action: What could not be done, with its s3:// address: `read s3://b/key`.

    Raises:
        RuntimeError: Names the action, the cause and, where one is known, the remedy.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        NoRegionError,
    )

    try:
        yield
    except ClientError as error:
        code = error_code(error)
        cause = error.response.get("Error", {}).get("Message") or code
        remedy = REMEDIES.get(code, "look at the state of S3 and try again")
        raise RuntimeError(
            f"Could not {action}: {code} ({cause.rstrip('.')}); {remedy}."
        ) from error
    except NoCredentialsError as error:
        raise RuntimeError(
            f"Could not {action}: no AWS credentials found; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        ) from error
    except NoRegionError as error:
        raise RuntimeError(
            f"Could not {action}: no AWS region configured; set AWS_DEFAULT_REGION."
        ) from error
    except (BotoCoreError, OSError) as error:
        raise RuntimeError(
            f"Could not {action}: {str(error).rstrip('.')}; "
            "check the network and that S3 is up, and try again."
        ) from error


def error_code(error: Exception) -> str:
    """S3's name for what went wrong, empty if the failure was not S3's."""
    response = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))
