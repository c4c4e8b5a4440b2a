"""What is read from Redis is a model as any of S3 is, or it is not taken."""

import json
import pickle
from collections.abc import Callable

import pytest
from redis import Redis

from pipeline import aws
from pipeline.estimator import read_curves
from pipeline.orders import MODELS_FOLDER
from pipeline.publication import Follower
from pipeline.serve_model import create_app
from pipeline.batch.publish import publish_estimates
from tests.programs import run_here
from tests.publication.models import add_model, publish_model
from tests.service.applications import V0_1, V0_2, ask

pytestmark = [pytest.mark.once, pytest.mark.process]

KEY, OTHER_KEY = "k" * 32, "o" * 32
CURRENT = "time-to-dispatch:current"


@pytest.fixture
def no_s3(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that lets every request to S3 fail from then on."""

    def refuse() -> None:
        pytest.fail("S3 was asked")

    return lambda: monkeypatch.setattr("pipeline.aws.artefacts.s3_client", refuse)


def follow(address: str) -> Follower:
    return Follower(address, check=read_curves)


def model_key(redis: Redis) -> str:
    name = redis.get(CURRENT)
    assert isinstance(name, bytes)
    return f"time-to-dispatch:{name.decode()}:model"


def test_the_service_answers_the_same_as_from_s3(
    redis: Redis, redis_server: str, bucket: str
) -> None:
    add_model(bucket, 1)
    withdrawn = add_model(bucket, 2)
    [newest, *_] = aws.read_models_from_s3(bucket, MODELS_FOLDER, check=str)
    assert newest.found is not None and newest.model == withdrawn
    aws.withdraw(newest.found, "It was wrong.")
    publish_estimates(bucket, None)
    of_s3 = create_app(
        *aws.get_newest_good_model_from_s3(bucket, MODELS_FOLDER, check=read_curves)
    )
    of_redis = create_app(*follow(redis_server).read_first())
    order = {"product_code": "SKU001", "orders_placed": 112}
    for path, method, content in [
        (V0_1, "POST", order),
        (V0_1, "POST", order | {"product_code": "SKU01"}),
        (V0_2, "POST", {"orders": [order], "level": 0.9}),
        ("/readyz", "GET", b""),
        ("/readyz/estimates", "GET", b""),
        ("/openapi.json", "GET", b""),
    ]:
        answer = ask(of_redis, path, content, method=method)
        assert answer == ask(of_s3, path, content, method=method)
    [refused] = ask(of_redis, "/readyz", method="GET").json()["refused"]
    assert "was withdrawn at" in refused


def test_a_signed_model_is_taken_without_asking_s3(
    redis: Redis,
    redis_server: str,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    no_s3: Callable[[], None],
) -> None:
    """Whatever it is signed with in S3: a former key, and the first one beside it."""
    monkeypatch.setenv("MODEL_SIGNING_KEY", OTHER_KEY)
    model = add_model(bucket, 1)
    monkeypatch.setenv("MODEL_SIGNING_KEY", f"{KEY},{OTHER_KEY}")
    publish_estimates(bucket, None)
    monkeypatch.setenv("MODEL_SIGNING_KEY", KEY)
    no_s3()
    assert follow(redis_server).read_first() == (model, [])
    monkeypatch.delenv("MODEL_SIGNING_KEY")
    assert follow(redis_server).read_first() == (model, [])


@pytest.mark.parametrize(
    "key, told",
    [
        (None, "it is not signed, and MODEL_SIGNING_KEY is set"),
        (OTHER_KEY, "its signature is by none of the keys of MODEL_SIGNING_KEY"),
    ],
)
def test_what_others_have_signed_is_refused_without_asking_s3(
    redis: Redis,
    redis_server: str,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    no_s3: Callable[[], None],
    key: str | None,
    told: str,
) -> None:
    if key:
        monkeypatch.setenv("MODEL_SIGNING_KEY", key)
    publish_model(bucket, 1)
    monkeypatch.setenv("MODEL_SIGNING_KEY", KEY)
    no_s3()
    with pytest.raises(RuntimeError, match=told):
        follow(redis_server).read_first()


@pytest.mark.parametrize("field", ["content", "place", "metadata"])
def test_a_signed_model_that_was_changed_is_refused(
    redis: Redis,
    redis_server: str,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    field: str,
) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", KEY)
    publish_model(bucket, 1)
    fields = redis.hgetall(model_key(redis))
    publish_model(bucket, 2)
    redis.hset(model_key(redis), field, fields[field.encode()])
    with pytest.raises(RuntimeError, match="does not verify"):
        follow(redis_server).read_first()


def replace(field: str, content: bytes) -> Callable[[Redis], object]:
    return lambda redis: redis.hset(model_key(redis), field, content)


def remove(field: str) -> Callable[[Redis], object]:
    return lambda redis: redis.hdel(model_key(redis), field)


def as_text(redis: Redis) -> None:
    key = model_key(redis)
    redis.delete(key)
    redis.set(key, "garbage")


OF_NOWHERE = ":model does not say where its model is from"
TOO_LARGE = ":model is larger than any model"
GARBAGE: dict[str, tuple[Callable[[Redis], object], str]] = {
    "nothing at all": (
        lambda redis: redis.flushall(),
        "holds no estimates, or holds them no longer; publish them: python -m pipeline",
    ),
    "no name": (
        lambda redis: redis.set(CURRENT, b"\xff\nERROR - It was not me" * 1000),
        "time-to-dispatch:current does not name a publication; publish again",
    ),
    "a name that is a list": (
        lambda redis: (redis.delete(CURRENT), redis.rpush(CURRENT, "1")),
        "did not do it: WRONGTYPE ",
    ),
    "a name of nothing": (
        lambda redis: redis.set(CURRENT, "20210702T234500.000000Z-abcdef01"),
        ":20210702T234500.000000Z-abcdef01:model is not there, or holds no model",
    ),
    "a model that is text": (as_text, ":model is not there, or holds no model"),
    "a model without content": (remove("content"), OF_NOWHERE),
    "a model of nowhere": (remove("place"), OF_NOWHERE),
    "a place without a time": (
        replace("place", b'["bucket", "models/time-to-dispatch.pkl"]'),
        OF_NOWHERE,
    ),
    "a place that is none": (
        replace("place", b'{"bucket": 1, "key": 2}'),
        "does not verify: its bytes are not those|does not say where its model is from",
    ),
    "a place of numbers": (replace("place", b"[1, 2]"), OF_NOWHERE),
    "metadata that is a list": (replace("metadata", b"[]"), OF_NOWHERE),
    "metadata that nests": (replace("metadata", b"[" * 100_000), OF_NOWHERE),
    "metadata of numbers": (replace("metadata", b'{"sha256": 1}'), OF_NOWHERE),
    "a model of the future": (
        replace("place", b'["bucket", "models/m_2999-01-01T00:00:00.pkl"]'),
        "is dated in the future",
    ),
    "a model that is too large": (
        replace("content", b"0" * (16 * 2**20 + 1)),
        TOO_LARGE,
    ),
    "metadata that is too large": (replace("metadata", b"0" * (2**20 + 1)), TOO_LARGE),
    "other bytes": (replace("content", b"garbage"), "SHA-256 differs"),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_refused_in_one_sentence(
    redis: Redis, redis_server: str, bucket: str, kind: str
) -> None:
    """At the start; and later, the model in service goes on."""
    model = publish_model(bucket, 1)
    follower = follow(redis_server)
    follower.read_first()
    publish_model(bucket, 2)
    harm, told = GARBAGE[kind]
    harm(redis)
    process = run_here("pipeline.serve_model", redis_server)
    assert process.returncode == 1
    *_, last = process.stdout.splitlines()
    assert process.stdout.count("ERROR - ") == 1
    assert " - ERROR - " in last and "Error encountered when serving model - " in last
    with pytest.raises(RuntimeError, match=told) as raised:
        follow(redis_server).read_first()
    assert str(raised.value) in last
    newer = follower.read_newer()
    assert newer is None or newer[0] == model
    assert follower.read_newer() is None


def test_what_is_no_model_of_ours_is_refused(
    redis: Redis, redis_server: str, bucket: str
) -> None:
    publish_model(bucket, 1)
    for content, told in [
        (pickle.dumps(print), "could not be unpickled"),
        (b"garbage", "could not be unpickled"),
    ]:
        redis.hset(model_key(redis), "content", content)
        redis.hset(model_key(redis), "metadata", "{}")
        with pytest.raises(RuntimeError, match=told):
            follow(redis_server).read_first()


def test_what_is_refused_is_told_once_and_by_readyz(
    redis: Redis, redis_server: str, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = publish_model(bucket, 1)
    follower = follow(redis_server)
    assert follower.read_first() == (first, [])
    assert follower.read_newer() is None
    publish_model(bucket, 2)
    redis.hset(model_key(redis), "content", "garbage")
    newer = follower.read_newer()
    assert newer is not None and newer[0] == first
    readiness = ask(create_app(*newer), "/readyz", method="GET").json()
    [refused] = readiness["refused"]
    assert readiness["model_version"] == str(first)
    assert refused.startswith(f"What Redis {redis_server} holds is not taken: Model s3")
    assert [follower.read_newer() for _ in range(3)] == [None] * 3
    assert caplog.text.count("Refused: What Redis") == 1
    third = publish_model(bucket, 3)
    assert follower.read_newer() == (third, [])


def test_a_redis_that_is_lost_is_told_once_and_so_is_its_return(
    redis: Redis,
    redis_server: str,
    bucket: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("pipeline.publication.connection.RETRIES", 0)
    first = publish_model(bucket, 1)
    follower = follow(redis_server)
    follower.read_first()
    redis.config_set("requirepass", "secret")
    assert [follower.read_newer() for _ in range(3)] == [None] * 3
    # Whoever is connected stays so.
    follower.redis.connection_pool.disconnect()
    assert [follower.read_newer() for _ in range(3)] == [None] * 3
    told = f"Redis {redis_server} does not take these credentials; check the user"
    assert caplog.text.count(told) == 1
    assert f"Model {first} goes on serving." in caplog.text
    redis.config_set("requirepass", "")
    assert [follower.read_newer() for _ in range(3)] == [None] * 3
    assert caplog.text.count(f"Redis {redis_server} is followed again.") == 1
    name = redis.get(CURRENT)
    redis.delete(CURRENT)
    assert [follower.read_newer() for _ in range(3)] == [None] * 3
    assert caplog.text.count("holds no estimates, or holds them no longer") == 1
    redis.set(CURRENT, name or "")
    assert follower.read_newer() is None
    assert caplog.text.count(f"Redis {redis_server} is followed again.") == 2


def test_what_newer_models_were_not_published_for_is_not_believed_to_be_short(
    redis: Redis, redis_server: str, bucket: str
) -> None:
    publish_model(bucket, 1)
    texts = ["\nERROR - It was not me", *["x" * 9000] * 100, "too many"]
    redis.hset(model_key(redis), "passed_over", json.dumps(texts))
    _, passed_over = follow(redis_server).read_first()
    assert passed_over[0] == "\\nERROR - It was not me"
    assert len(passed_over) == 100 and {*map(len, passed_over[1:])} == {1024}


def test_a_key_that_is_none_is_told_before_redis_is_asked(
    redis: Redis, redis_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", "short")
    process = run_here("pipeline.serve_model", redis_server)
    assert process.returncode == 1
    assert "MODEL_SIGNING_KEY holds a key of fewer than 32" in process.stdout
