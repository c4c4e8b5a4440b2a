"""Whoever reads what is published sees one week or the next, and nothing else."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ConnectionError

from pipeline import aws
from pipeline.batch.publish import publish_estimates
from pipeline.publication import begin, publish, publisher
from pipeline.publication.connection import RedisFailure
from pipeline.serve_model import create_app
from tests.publication.models import MOST, add_model, publish_model
from tests.service.applications import V0_2, ask

pytestmark = [pytest.mark.once, pytest.mark.process]

CURRENT = "time-to-dispatch:current"
FORMER_SECONDS = 600
STAGED_SECONDS = 3600


def as_text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode()


def current_name(redis: Redis) -> str:
    return as_text(redis.get(CURRENT))


def read_estimates(redis: Redis, name: str, code: str) -> list[str]:
    key = f"time-to-dispatch:{name}:estimates:{code}"
    return [as_text(each) for each in redis.lrange(key, 0, -1)]


def read_about(redis: Redis) -> dict[str, Any]:
    about = redis.get(f"time-to-dispatch:{current_name(redis)}:about")
    return dict(json.loads(about or ""))


def seconds_left(redis: Redis) -> dict[str, int]:
    """By key, of all that there are: how long it will be there, -1 for ever."""
    return {as_text(key): redis.ttl(key) for key in redis.keys()}


def find_model(bucket: str) -> aws.Candidate:
    found, _ = aws.find_newest_good_model_on_s3(bucket, "models", check=str)
    return found


def test_every_estimate_is_what_the_service_answers(redis: Redis, bucket: str) -> None:
    app = create_app(publish_model(bucket, 5))
    name = current_name(redis)
    for code, most in MOST.items():
        published = read_estimates(redis, name, code)
        assert len(published) == int(most) + 1
        for start in range(0, len(published), 1000):
            placed = range(len(published))[start : start + 1000]
            orders = [{"product_code": code, "orders_placed": each} for each in placed]
            body = ask(app, V0_2, {"orders": orders}).body.decode()
            parts = body.split('"est_hours_to_dispatch":')[1:]
            answered = [part.partition(",")[0] for part in parts]
            assert answered == published[start : start + 1000]


def test_what_it_is_stands_beside_it(redis: Redis, bucket: str) -> None:
    before = redis.time()[0]
    model = publish_model(bucket, 5)
    about = read_about(redis)
    published = datetime.fromisoformat(about.pop("published"))
    assert before <= published.timestamp() <= redis.time()[0] + 1
    orders = [{"product_code": "SKU001", "orders_placed": 1}]
    answer = ask(create_app(model), V0_2, {"orders": orders}).json()
    assert about == {
        "model": answer["model"],
        "observed": {
            "SKU001": [2.0, 1200.0],
            "SKU002": [2.0, 7.5],
            "Größe 7/ü:": [0.0, 0.0],
        },
    }


def test_a_model_without_ranges_was_observed_up_to_its_last_knot(
    redis: Redis, bucket: str
) -> None:
    add_model(bucket, 5, limits=False)
    publish_estimates(bucket, None)
    assert len(read_estimates(redis, current_name(redis), "SKU002")) == 8
    assert read_about(redis)["observed"]["SKU002"] == [0.0, 7.5]


@pytest.mark.parametrize(
    "most, told",
    [
        (float("inf"), "does not say up to how many orders placed SKU001 was"),
        (2000.0, "has 2,017 estimates .* more than the 2,016 that are published; "),
    ],
)
def test_what_would_have_no_end_is_refused(
    redis: Redis,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    most: float,
    told: str,
) -> None:
    add_model(bucket, 5, MOST | {"SKU001": 2000.0}, limits=False)
    monkeypatch.setattr(
        "pipeline.publication.estimates.most_orders_placed",
        lambda curve: most if curve.orders_placed[-1] == 2000.0 else 7.5,
    )
    monkeypatch.setattr("pipeline.publication.estimates.MOST_ESTIMATES", 2016)
    with pytest.raises(RuntimeError, match=told):
        publish_estimates(bucket, None)
    assert not redis.keys()


def test_who_reads_meanwhile_sees_no_mixture(redis: Redis, bucket: str) -> None:
    publish_model(bucket, 1)
    is_over = Event()

    def read() -> set[int]:
        seen = set()
        while not is_over.is_set():
            name = current_name(redis)
            # One by one, as slowly as anybody may.
            keys = [f"time-to-dispatch:{name}:estimates:{code}" for code in MOST] * 3
            hours = [float(as_text(redis.lindex(key, -1))) for key in keys]
            [number] = {int(each) for each in hours}
            seen.add(number)
        return seen

    with ThreadPoolExecutor(2) as readers:
        reading = [readers.submit(read) for _ in range(2)]
        try:
            for number in range(2, 8):
                publish_model(bucket, number)
        finally:
            is_over.set()
        seen = set[int]().union(*(each.result() for each in reading))
    assert len(seen) > 1


class Killed(BaseException):
    """That the process ends here and now."""


def test_a_publisher_that_dies_leaves_the_former_week_and_nothing_for_long(
    redis: Redis, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece by itself, and dead before or after each."""
    monkeypatch.setattr(publisher, "ESTIMATES_IN_A_PIECE", 1)
    publish_model(bucket, 1)
    former = current_name(redis)
    kept = {key for key in seconds_left(redis)}
    add_model(bucket, 2)
    execute = Pipeline._execute_transaction
    deaths = 0
    for survived in range(20):
        for does_last in (False, True):
            left = survived

            def execute_or_die(self: Pipeline, *arguments: Any) -> Any:
                nonlocal left
                if left == 0 and not does_last:
                    raise Killed
                done = execute(self, *arguments)
                if left == 0:
                    raise Killed
                left -= 1
                return done

            with monkeypatch.context() as patch:
                patch.setattr(Pipeline, "_execute_transaction", execute_or_die)
                try:
                    publish_estimates(bucket, None)
                except Killed:
                    deaths += 1
            current = current_name(redis)
            assert current == former or current > former
            number = 1 if current == former else 2
            for code in MOST:
                [*hours] = map(float, read_estimates(redis, current, code))
                assert {int(each) for each in hours} == {number}
            if current != former:
                assert deaths == 2 * (len(MOST) + 2)
                ours = [key for key in seconds_left(redis) if current in key]
                assert len(ours) == len(MOST) + 2
                assert {seconds_left(redis)[key] for key in ours} == {-1}
                # Who publishes next removes what it left behind.
                publish_estimates(bucket, None)
                assert all(
                    seconds > 0
                    for key, seconds in seconds_left(redis).items()
                    if key != CURRENT and current_name(redis) not in key
                )
                return
            for key, seconds in seconds_left(redis).items():
                assert (seconds == -1) == (key in kept)
                assert seconds <= STAGED_SECONDS
    pytest.fail("it was never published")


def test_an_answer_that_is_lost_changes_nothing(
    redis: Redis, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is done twice, for the answer of the first time does not come."""
    execute = Pipeline._execute_transaction
    losses = 0

    def execute_and_lose(self: Pipeline, *arguments: Any) -> Any:
        nonlocal losses
        done = execute(self, *arguments)
        losses += 1
        if losses % 2:
            raise ConnectionError("lost")
        return done

    monkeypatch.setattr(Pipeline, "_execute_transaction", execute_and_lose)
    publish_model(bucket, 1)
    assert losses > 4
    assert len(read_estimates(redis, current_name(redis), "SKU001")) == 1201
    assert {*seconds_left(redis).values()} == {-1}


def test_former_ones_stay_for_some_minutes_and_what_is_not_ours_for_ever(
    redis: Redis, bucket: str
) -> None:
    others = {
        "time-to-dispatch:mine",
        "time-to-dispatch:mine:estimates:SKU001",
        "another:20210702T234500.000000Z-abcdef01:about",
    }
    for key in others:
        redis.set(key, "1")
    publish_model(bucket, 1)
    first = current_name(redis)
    assert {*seconds_left(redis).values()} == {-1}
    publish_model(bucket, 2)
    second = current_name(redis)
    assert len(read_estimates(redis, first, "SKU001")) == 1201
    for ours in redis.keys(f"time-to-dispatch:{first}:*"):
        assert redis.expire(ours, FORMER_SECONDS - 100)
    publish_model(bucket, 3)
    third = current_name(redis)
    for key, seconds in seconds_left(redis).items():
        if first in key:
            assert 0 < seconds <= FORMER_SECONDS - 100
        elif second in key:
            assert FORMER_SECONDS - 100 < seconds <= FORMER_SECONDS
        else:
            assert seconds == -1
            assert third in key or key == CURRENT or key in others
    assert others < seconds_left(redis).keys()


def test_an_earlier_model_is_published_once_the_newer_is_withdrawn(
    redis: Redis, bucket: str
) -> None:
    publish_model(bucket, 1)
    publish_model(bucket, 2)
    found = find_model(bucket).found
    assert found is not None
    aws.withdraw(found, "It was wrong.")
    publish_estimates(bucket, None)
    assert read_estimates(redis, current_name(redis), "SKU002")[0] == "1.3333"


def test_what_is_to_expire_does_so_as_a_whole(redis: Redis, bucket: str) -> None:
    add_model(bucket, 1)
    for hours in (3.0, 0.5):
        publish_estimates(bucket, hours)
        name = current_name(redis)
        seconds = hours * 3600
        for key, left in seconds_left(redis).items():
            if key == CURRENT:
                assert seconds - 60 < left <= seconds
            elif name in key:
                # Who has read the name still finds what it names.
                assert seconds + FORMER_SECONDS - 60 < left <= seconds + FORMER_SECONDS
            else:
                assert left <= FORMER_SECONDS
    publish_estimates(bucket, None)
    name = current_name(redis)
    for key, left in seconds_left(redis).items():
        assert (left == -1) == (key == CURRENT or name in key)


def test_who_has_begun_later_has_seen_what_is_newer(
    redis: Redis, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    add_model(bucket, 1)
    earlier, older = begin(redis), find_model(bucket)
    publish_model(bucket, 2)
    name = current_name(redis)
    keys = {*redis.keys()}
    publish(redis, earlier, older, [])
    assert current_name(redis) == name
    assert {*redis.keys()} == keys
    assert "who began later has published meanwhile" in caplog.text


def test_a_name_of_the_future_holds_nobody_up(redis: Redis, bucket: str) -> None:
    future = datetime.now(UTC) + timedelta(days=400)
    redis.set(CURRENT, f"{future:%Y%m%dT%H%M%S}.000000Z-abcdef01")
    publish_model(bucket, 1)
    assert read_estimates(redis, current_name(redis), "SKU002")


@pytest.mark.parametrize("kind", ["garbage", "a hash"])
def test_what_is_no_name_holds_nobody_up(
    redis: Redis, bucket: str, kind: str
) -> None:
    if kind == "garbage":
        redis.set(CURRENT, b"\xff\x00garbage")
        publish_model(bucket, 1)
        assert read_estimates(redis, current_name(redis), "SKU002")
    else:
        redis.hset(CURRENT, "what", "is this")
        with pytest.raises(RedisFailure, match="did not do it: WRONGTYPE "):
            publish_model(bucket, 1)


def test_many_publishers_at_once_leave_one_publication(
    redis: Redis, bucket: str
) -> None:
    add_model(bucket, 1)
    with ThreadPoolExecutor(4) as publishers:
        for published in [
            publishers.submit(publish_estimates, bucket, None) for _ in range(8)
        ]:
            published.result()
    name = current_name(redis)
    assert len(read_estimates(redis, name, "SKU001")) == 1201
    for key, seconds in seconds_left(redis).items():
        if key == CURRENT or name in key:
            assert seconds == -1
        else:
            assert 0 < seconds <= STAGED_SECONDS


def test_a_part_that_was_evicted_meanwhile_is_noticed(
    redis: Redis, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_model(bucket, 1)
    name = current_name(redis)
    write = publisher.write_model

    def write_and_lose(redis: Redis, *arguments: Any) -> None:
        write(redis, *arguments)
        redis.delete(*redis.keys(f"time-to-dispatch:{arguments[0]}:*:SKU002"))

    monkeypatch.setattr(publisher, "write_model", write_and_lose)
    with pytest.raises(RedisFailure, match="forgot a part of what was written; give"):
        publish_model(bucket, 2)
    assert current_name(redis) == name
    assert read_estimates(redis, name, "SKU002")


@pytest.mark.parametrize(
    "policy, hours, is_warned",
    [
        ("allkeys-lru", None, True),
        ("volatile-ttl", 1.0, True),
        ("volatile-ttl", None, False),
        ("noeviction", 1.0, False),
    ],
)
def test_a_redis_that_evicts_is_warned_of(
    redis: Redis,
    bucket: str,
    caplog: pytest.LogCaptureFixture,
    policy: str,
    hours: float | None,
    is_warned: bool,
) -> None:
    redis.config_set("maxmemory", "1gb")
    redis.config_set("maxmemory-policy", policy)
    add_model(bucket, 1)
    with caplog.at_level(logging.INFO):
        publish_estimates(bucket, hours)
    warned = f"when its memory is full (maxmemory-policy {policy}); set noeviction"
    assert (warned in caplog.text) == is_warned
    assert "Published 1,210 estimates of 3 products, of model name:" in caplog.text
