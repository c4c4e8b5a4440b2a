"""The connection to S3, and what its failures mean for the person on call."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import cache
from os import environ
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# Botocore's own three attempts would be over within 0.2 seconds of a refused
# connection: less than a network takes to come back. Eight last for seconds.
MAX_ATTEMPTS = 8
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 10

# For one action with all its attempts. The timeouts above start again with each byte
# that arrives: a body that drips would be waited for without end.
DEADLINE_SECONDS = 60.0
DEADLINE_VARIABLE = "S3_DEADLINE_SECONDS"

REMEDIES = {
    "AccessDenied": "grant these credentials access to it",
    "ExpiredToken": "renew the credentials",
    "ExpiredTokenException": "renew the credentials",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID",
    "InvalidObjectState": "restore it from its archive, or leave it there",
    "NoSuchBucket": "check the bucket's name",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY",
    "403": "grant these credentials access to it",
    "404": "check that it exists",
}

Result = TypeVar("Result")


@cache
def s3_client() -> "S3Client":
    """Make the S3 client, once, when it is first needed.

    Region, credentials, endpoint and retries are boto3's own configuration
    (`AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL`, `AWS_MAX_ATTEMPTS`, a profile, ...).
    """
    from boto3 import client
    from botocore.config import Config
    from botocore.session import get_session

    attempts = get_session().get_config_variable("max_attempts") or MAX_ATTEMPTS
    return client(
        "s3",
        config=Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"total_max_attempts": attempts},
        ),
    )


class S3Failure(RuntimeError):
    """S3 could not be asked, or did not do what it was asked for."""


@contextmanager
def explain_s3_errors(action: str) -> Iterator[None]:
    """Turn every failure of S3 into one sentence.

    Args:
        action: What could not be done, with its s3:// address: `read s3://b/key`.

    Raises:
        S3Failure: Names the action, the cause and, where one is known, the remedy.
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
        raise S3Failure(
            f"Could not {action}: {code} ({cause.rstrip('.')}); {remedy}."
        ) from error
    except NoCredentialsError as error:
        raise S3Failure(
            f"Could not {action}: no AWS credentials found; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        ) from error
    except NoRegionError as error:
        raise S3Failure(
            f"Could not {action}: no AWS region configured; set AWS_DEFAULT_REGION."
        ) from error
    except (BotoCoreError, OSError) as error:
        raise S3Failure(
            f"Could not {action}: {without_secrets(error)}; "
            "check the network and that S3 is up, and try again."
        ) from error


def without_secrets(error: Exception) -> str:
    """What an error says, but for credentials that are in it."""
    from botocore.exceptions import HTTPClientError

    if type(error) is HTTPClientError:
        # It may repeat a header that cannot be sent, with a credential.
        return "no request can be made with these credentials and settings"
    return re.sub("//[^/@]*@", "//", str(error).rstrip("."))


def within_deadline(act: Callable[[], Result]) -> Result:
    """Do something with S3, and give it up when the deadline has passed.

    It goes on in a thread of its own, for nothing else ends a read that gets a byte now
    and then; given up, it is left to end with the process.

    Raises:
        TimeoutError: The deadline has passed.
        ValueError: S3_DEADLINE_SECONDS is no number of seconds.
        Exception: Whatever the action raises.
    """
    seconds = deadline_seconds()
    result: Future[Result] = Future()

    def work() -> None:
        try:
            result.set_result(act())
        except BaseException as error:
            result.set_exception(error)

    Thread(target=work, daemon=True).start()
    if not wait([result], seconds).done:
        raise TimeoutError(f"it was not complete after {seconds:g} seconds")
    return result.result()


def deadline_seconds() -> float:
    """Read the deadline that is configured.

    Raises:
        ValueError: It is no number of seconds from 1 to 3600.
    """
    configured = environ.get(DEADLINE_VARIABLE, str(DEADLINE_SECONDS))
    try:
        seconds = float(configured)
    except ValueError:
        seconds = 0
    if not 1 <= seconds <= 3600:
        raise ValueError(
            f"{DEADLINE_VARIABLE} is {configured!r}; set it to seconds from 1 to 3600."
        )
    return seconds


def error_code(error: Exception) -> str:
    """S3's name for what went wrong, empty if the failure was not S3's."""
    response = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))
