"""Reading a publication, whoever wrote it: nothing of it is believed before a check."""

import json
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from pipeline import aws
from pipeline.logs import printable
from pipeline.publication.layout import (
    CONTENT,
    CURRENT,
    NAME,
    NAME_BYTES,
    PASSED_OVER,
    PLACE,
    SAID,
    model_key,
)

if TYPE_CHECKING:
    from redis import Redis

FIELDS = (CONTENT, PLACE, SAID, PASSED_OVER)
# Of all fields but the model.
MAX_SAID_BYTES = 2**20
MOST_PASSED_OVER = 100
MAX_TEXT = 1024


class Publication(NamedTuple):
    """A publication, and the model in it if there is one.

    Attributes:
        model: None if it cannot be used.
        refusal: Why it cannot, a sentence; "" if it can.
        passed_over: Why newer models were not published.
    """

    model: aws.Model | None
    refusal: str = ""
    passed_over: tuple[str, ...] = ()


class Said(NamedTuple):
    """What stands beside a model: where it lies in S3, and what was put with it."""

    bucket: str
    key: str
    timestamp: datetime
    metadata: dict[str, str]
    passed_over: list[str]


def read_current_name(redis: "Redis") -> str:
    """Read which publication is current; "" if none is. It may be no name at all.

    Raises:
        redis.RedisError: Redis failed.
    """
    name = redis.getrange(CURRENT, 0, NAME_BYTES)
    assert isinstance(name, bytes)
    return name.decode(errors="replace")


def read_publication(
    redis: "Redis", name: str, check: Callable[[aws.Model], object]
) -> Publication:
    """Read the model of a publication, as one of S3 is read.

    Args:
        check: Raises for a model that is of no use; a RuntimeError in a sentence.

    Raises:
        ValueError: The signing key is too short, or empty.
        redis.RedisError: Redis failed.
    """
    if not NAME.fullmatch(name):
        return refuse(f"{CURRENT} does not name a publication")
    key = model_key(name)
    if redis.type(key) != b"hash":
        return refuse(f"{key} is not there, or holds no model")
    sizes = [redis.hstrlen(key, field) for field in FIELDS]
    if sizes[0] > aws.MAX_MODEL_BYTES or sum(sizes[1:]) > MAX_SAID_BYTES:
        return refuse(f"{key} is larger than any model")
    content, *others = redis.hmget(key, FIELDS)
    said = parse(others)
    if said is None or not isinstance(content, bytes):
        return refuse(f"{key} does not say where its model is from")
    artefact = aws.S3TimestampedArtefact(
        said.bucket,
        said.key,
        said.timestamp,
        last_modified=said.timestamp,
        etag="",
        size=len(content),
    )
    digest = sha256(content).hexdigest()
    found = aws.S3Object(artefact, content, digest, "", said.metadata)
    candidate = aws.examine_model(found, check, exists=lambda bucket, key: False)
    texts = said.passed_over[:MOST_PASSED_OVER]
    return Publication(
        candidate.model,
        candidate.refusal,
        tuple(printable(text[:MAX_TEXT]) for text in texts),
    )


def parse(fields: list[bytes | str | None]) -> Said | None:
    """Parse what stands beside a model; None if no publisher has written it."""
    try:
        match [json.loads(each or b"") for each in fields]:
            case [[str(bucket), str(key)], dict(metadata), list(passed_over)]:
                timestamp = aws.parse_timestamp(key)
                texts = [*metadata.values(), *passed_over]
                if timestamp and all(isinstance(text, str) for text in texts):
                    return Said(bucket, key, timestamp, metadata, passed_over)
    except (RecursionError, ValueError):
        pass
    return None


def refuse(what: str) -> Publication:
    return Publication(
        None, f"{what}; publish again: python -m pipeline.batch S3_BUCKET publish."
    )
