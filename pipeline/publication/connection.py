"""The connection to Redis, and what its failures mean for the person on call."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from os import environ
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from pipeline.logs import printable

if TYPE_CHECKING:
    from redis import Redis

ADDRESS_VARIABLE = "REDIS_URL"
# For where the address stands in the open, as arguments do.
PASSWORD_VARIABLE = "REDIS_PASSWORD"

SCHEMES = ("redis", "rediss", "unix")
# Others would change what is read, or let it hang.
OPTION = re.compile("db|ssl_.*")

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 10
RETRIES = 4
# Before the first of them; twice as long before each other one.
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 1.0

MAX_TEXT = 200


class RedisFailure(RuntimeError):
    """Redis could not be asked, or did not do what it was asked for."""


def is_address(text: str) -> bool:
    """Whether a text is meant as the address of a Redis; no name of a bucket is."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme in SCHEMES


def read_address() -> str:
    """Read the address of the Redis that is configured.

    Raises:
        ValueError: There is none.
    """
    address = environ.get(ADDRESS_VARIABLE, "")
    if not address:
        raise ValueError(
            f"{ADDRESS_VARIABLE} is not set; set it to the address of a Redis, such as "
            "redis://HOST:6379/0."
        )
    return address


def show_address(address: str) -> str:
    """An address as logs may have it: without user, password and options."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return printable(f"{parts.scheme}://{host}{parts.path}")


def is_well_formed(address: str) -> bool:
    if not is_address(address):
        return False
    try:
        parts = urlsplit(address)
        options = parse_qs(parts.query, strict_parsing=bool(parts.query))
        # Raises as well.
        assert parts.port is None or parts.port > 0
    except (AssertionError, ValueError):
        return False
    if parts.fragment or not all(map(OPTION.fullmatch, options)):
        return False
    if not all(each.isdecimal() for each in options.get("db", [])):
        return False
    if parts.scheme == "unix":
        return not parts.hostname and len(parts.path) > 1
    return bool(parts.hostname) and re.fullmatch(r"/?|/\d+", parts.path) is not None


@contextmanager
def connected(address: str) -> "Iterator[Redis]":
    """Connect to a Redis, when it is first asked, for the time of a with block.

    Within the block, what Redis does not do raises `RedisFailure`, with one sentence.

    Raises:
        RedisFailure: Names the address, the cause and the remedy.
        ValueError: It is no address of a Redis.
    """
    with explain_redis_errors(address):
        redis = connect(address)
        try:
            yield redis
        finally:
            redis.close()


def connect(address: str) -> "Redis":
    """Make a client, which connects when it is first asked.

    Raises:
        ValueError: It is no address of a Redis.
    """
    from redis import Redis
    from redis.backoff import ExponentialBackoff
    from redis.retry import Retry

    if not is_well_formed(address):
        # It may hold a password, so it is not repeated.
        raise ValueError(
            "What stands for the address of a Redis is none; write it as "
            "redis://HOST:6379/0, rediss://HOST:6379/0 or unix:///PATH, with what is "
            "special in a password percent-encoded."
        )
    return Redis.from_url(
        address,
        # Only if the address has none.
        password=environ.get(PASSWORD_VARIABLE) or None,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        socket_timeout=READ_TIMEOUT_SECONDS,
        retry=Retry(
            ExponentialBackoff(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS), RETRIES
        ),
    )


@contextmanager
def explain_redis_errors(address: str) -> Iterator[None]:
    """Turn every failure of Redis into one sentence.

    Raises:
        RedisFailure: Names the address, the cause and the remedy.
    """
    from redis import exceptions

    try:
        yield
    except exceptions.RedisError as error:
        what = explain(error)
        raise RedisFailure(f"Redis {show_address(address)} {what}.") from error
    except OSError as error:
        cause = quote(error)
        raise RedisFailure(
            f"Redis {show_address(address)} could not be asked: {cause}; check its "
            "address and certificates."
        ) from error


def explain(error: Exception) -> str:
    """What became of Redis, and what to do; follows its address in a sentence."""
    from redis import exceptions

    match error:
        case exceptions.AuthenticationError():
            return (
                "does not take these credentials; check the user and the password of "
                f"{ADDRESS_VARIABLE}, or {PASSWORD_VARIABLE}"
            )
        case exceptions.NoPermissionError():
            return f"does not permit it ({quote(error)}); grant it to this user"
        case exceptions.OutOfMemoryError():
            return (
                "has no memory left for it; raise its maxmemory, or let another Redis "
                "have it"
            )
        case exceptions.ReadOnlyError():
            return (
                "is a replica, which cannot be written to; give the primary's address"
            )
        case exceptions.BusyLoadingError():
            return "still loads its data; try again in a minute"
        case exceptions.ConnectionError() | exceptions.TimeoutError():
            return (
                f"could not be reached: {quote(error)}; check the network and that "
                "Redis is up, and try again"
            )
    return f"did not do it: {quote(error)}; look at its state and try again"


def quote(error: Exception) -> str:
    """What an error says, fit for one line; of a pipeline, without its commands."""
    text = str(error).rpartition("of pipeline caused error: ")[2]
    return printable(text[:MAX_TEXT]).rstrip(". ") or type(error).__name__
