"""Publishing: all is written under a new name, and then made current at once.

What is written is forgotten after an hour, unless it was made current: a publisher may
die at any moment and leaves nothing behind. Each step may be repeated, as happens when
an answer of Redis is lost.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline import aws
from pipeline.estimator import read_curves
from pipeline.publication.connection import RedisFailure
from pipeline.publication.estimates import Observed, find_observed, make_estimates
from pipeline.publication.layout import (
    CONTENT,
    CURRENT,
    NAME,
    PASSED_OVER,
    PLACE,
    PREFIX,
    SAID,
    about_key,
    estimates_key,
    find_name,
    make_name,
    model_key,
    read_moment,
)

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

# Many times as long as it takes to write a publication.
STAGED_SECONDS = 3600
# For those who have read the name of the former one just then.
FORMER_SECONDS = 600
# Sent at a time: a few megabytes.
ESTIMATES_IN_A_PIECE = 50_000
KEYS_IN_A_SCAN = 1_000
ATTEMPTS = 5

log = logging.getLogger("pipeline")


def begin(redis: "Redis") -> str:
    """Begin a publication; returns its name.

    It is to be begun before its model is looked for: of two publishers, who has begun
    later has seen what is newer.

    Raises:
        redis.RedisError: Redis failed.
    """
    return make_name(*redis.time())


def publish(
    redis: "Redis",
    name: str,
    candidate: aws.Candidate,
    passed_over: list[str],
    expire_hours: float | None = None,
) -> None:
    """Publish the estimates of a model, and the model.

    Args:
        name: What `begin` has returned.
        candidate: The model as it was found in S3; one that is to be taken.
        passed_over: Why newer models are not.
        expire_hours: After how many hours it is forgotten; None for never.

    Raises:
        RedisFailure: It was lost before it was current.
        RuntimeError: The model does not say what was observed.
        ValueError: The signing key is too short, or empty.
        redis.RedisError: Redis failed.
    """
    model = candidate.model
    assert model is not None
    observed = find_observed(model, read_curves(model))
    keys = [estimates_key(name, code) for code in observed]
    keys += [about_key(name), model_key(name)]
    warn_of_eviction(redis, expire_hours)
    try:
        write_estimates(redis, name, model, observed)
        write_model(redis, name, candidate, observed, passed_over)
    except Exception:
        discard(redis, keys)
        raise
    # What became of it is not known if that fails, so nothing is discarded.
    if make_current(redis, name, keys, expire_hours):
        count = sum(int(most) + 1 for _, most in observed.values())
        log.info(
            f"Published {count:,} estimates of {len(observed):,} products, of model "
            f"{model}, as {PREFIX}:{name}."
        )
        retire_others(redis, name)
    else:
        discard(redis, keys)
        log.warning("Nothing was published: who began later has published meanwhile.")


def warn_of_eviction(redis: "Redis", expire_hours: float | None) -> None:
    """Warn of a Redis that would forget what is published when its memory is full."""
    from redis.exceptions import NoPermissionError

    try:
        memory = redis.info("memory")
    except NoPermissionError:
        return
    policy = memory.get("maxmemory_policy", "")
    evicted = ("allkeys", "volatile") if expire_hours else ("allkeys",)
    if memory.get("maxmemory") and policy.startswith(evicted):
        log.warning(
            "This Redis forgets parts of what is published when its memory is full "
            f"(maxmemory-policy {policy}); set noeviction, or take one for it alone."
        )


def write_estimates(
    redis: "Redis", name: str, model: aws.Model, observed: dict[str, Observed]
) -> None:
    curves = read_curves(model)
    made = (
        (estimates_key(name, code), make_estimates(model, curves[code], most))
        for code, (_, most) in observed.items()
    )
    for piece in in_pieces(made):
        with redis.pipeline() as transaction:
            for key, estimates in piece:
                # Pushed twice, they would be wrong.
                transaction.delete(key)
                transaction.rpush(key, *estimates)
                transaction.expire(key, STAGED_SECONDS)
            transaction.execute()


def in_pieces(
    made: Iterator[tuple[str, list[bytes]]],
) -> Iterator[list[tuple[str, list[bytes]]]]:
    """Take products together until they have enough estimates to be sent."""
    piece: list[tuple[str, list[bytes]]] = []
    for each in made:
        piece.append(each)
        if sum(len(estimates) for _, estimates in piece) >= ESTIMATES_IN_A_PIECE:
            yield piece
            piece = []
    if piece:
        yield piece


def write_model(
    redis: "Redis",
    name: str,
    candidate: aws.Candidate,
    observed: dict[str, Observed],
    passed_over: list[str],
) -> None:
    """Write which model it is, and the model, as it lies in S3.

    Its signature is that of the first key: one beside it in S3 is not seen from Redis.
    """
    model, found = candidate.model, candidate.found
    assert model is not None and found is not None
    about = {
        "model": {
            "timestamp": model.creation_time,
            "delivery": model.train_dataset_key,
            "code": model.commit,
            "hash": model.hash,
        },
        "published": read_moment(name).isoformat(),
        "observed": observed,
    }
    place = found.artefact.bucket, found.artefact.key
    metadata = found.metadata | aws.sign(found.content, *place)
    fields = (
        *(CONTENT, found.content, PLACE, json.dumps(place)),
        *(SAID, json.dumps(metadata), PASSED_OVER, json.dumps(passed_over)),
    )
    with redis.pipeline() as transaction:
        transaction.set(about_key(name), json.dumps(about), ex=STAGED_SECONDS)
        transaction.hset(model_key(name), items=[*fields])
        transaction.expire(model_key(name), STAGED_SECONDS)
        transaction.execute()


def make_current(
    redis: "Redis", name: str, keys: list[str], expire_hours: float | None
) -> bool:
    """Make a publication the current one, unless who began later was quicker.

    Returns:
        Whether it is current.

    Raises:
        RedisFailure: A part of it was lost, or others do the same all the time.
        redis.RedisError: Redis failed.
    """
    from redis.exceptions import WatchError

    for _ in range(ATTEMPTS):
        with redis.pipeline() as transaction, suppress(WatchError):
            transaction.watch(CURRENT, *keys)  # type: ignore[no-untyped-call]
            current = read_name(transaction)
            seconds, microseconds = transaction.time()
            # A name of the future was given by another clock.
            if name < current < make_name(seconds, microseconds):
                return False
            if transaction.exists(*keys) < len(keys):
                raise RedisFailure(
                    "Redis forgot a part of what was written; give it more memory, and "
                    "publish again."
                )
            transaction.multi()
            transaction.set(CURRENT, name)
            for key in keys:
                transaction.persist(key)
            if expire_hours is not None:
                at = seconds * 1000 + int(expire_hours * 3_600_000)
                transaction.pexpireat(CURRENT, at)
                for key in keys:
                    transaction.pexpireat(key, at + FORMER_SECONDS * 1000)
            transaction.execute()
            return True
    raise RedisFailure("What is current changed all the time; publish again.")


def read_name(transaction: "Pipeline") -> str:
    """The name of what is current; "" if there is nothing."""
    current = transaction.get(CURRENT) or b""
    assert isinstance(current, bytes)
    name = current.decode(errors="replace")
    return name if NAME.fullmatch(name) else ""


def retire_others(redis: "Redis", name: str) -> None:
    """Let all other publications be forgotten, unless this one is not current any more.

    Those that are being written, or were left so, are forgotten in any case.

    That it fails is a WARNING in the log: who publishes next does it as well.
    """
    from redis.exceptions import RedisError, WatchError

    try:
        with redis.pipeline() as transaction, suppress(WatchError):
            transaction.watch(CURRENT)  # type: ignore[no-untyped-call]
            if read_name(transaction) != name:
                return
            others = find_others(redis, name)
            transaction.multi()
            for key in others:
                transaction.expire(key, FORMER_SECONDS)
            transaction.execute()
    except RedisError as error:
        log.warning(
            f"The former publication was not removed ({type(error).__name__}): "
            "the next publisher does it."
        )


def find_others(redis: "Redis", name: str) -> list[bytes]:
    """Find the keys of other publications that would stay for long."""
    found = redis.scan_iter(match=f"{PREFIX}:*", count=KEYS_IN_A_SCAN)
    others = [key for key in found if find_name(key) not in ("", name)]
    with redis.pipeline(transaction=False) as asking:
        for key in others:
            asking.ttl(key)
        left = asking.execute()
    return [
        key
        for key, seconds in zip(others, left, strict=True)
        # -1 for those that would stay for ever, -2 for those that are gone.
        if seconds == -1 or seconds > STAGED_SECONDS
    ]


def discard(redis: "Redis", keys: list[str]) -> None:
    """Forget what was written, at once if Redis can be asked."""
    from redis.exceptions import RedisError

    with suppress(RedisError):
        redis.unlink(*keys)
