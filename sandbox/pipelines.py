"""The pipelines that run on this machine, and what each is given and asked."""

from calendar import FRIDAY
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

DATASETS_FOLDER = "datasets"
WEEKS = 3
ORDERS_PER_WEEK = 1000


class Pipeline(NamedTuple):
    """Two stages, and what they need of the world around them.

    Attributes:
        name: Also that of its bucket.
        package: Where its stages are, train_model and serve_model.
        thresholds: What training is started with beside the bucket.
        deliver: Delivers to a bucket what there is by now, and yields each address.
        question: What the service answers.
        endpoint: Where it does so.
        request: What it is asked, in JSON.
        has_report: Whether there are pages of its runs.
    """

    name: str
    package: str
    thresholds: tuple[str, ...]
    deliver: Callable[[str, datetime], Iterator[str]]
    question: str
    endpoint: str
    request: dict[str, object]
    has_report: bool


# Pandas and scikit-learn take seconds to import, in which Ctrl-C is to end the sandbox
# without a traceback.


def deliver_weeks(bucket: str, now: datetime) -> Iterator[str]:
    """Deliver the weeks that ended on the last Fridays at 23:00 UTC."""
    from sandbox.orders import deliver_week, make_week

    friday = now.replace(hour=23, minute=0, second=0, microsecond=0)
    while friday > now or friday.weekday() != FRIDAY:
        friday -= timedelta(days=1)
    for weeks_ago in reversed(range(WEEKS)):
        week = make_week(ORDERS_PER_WEEK, seed=WEEKS - weeks_ago)
        at = friday - timedelta(weeks=weeks_ago)
        yield deliver_week(week, at, bucket, DATASETS_FOLDER)


def deliver_irises(bucket: str, now: datetime) -> Iterator[str]:
    """Deliver the irises of scikit-learn."""
    from sandbox.flowers import deliver_flowers, make_flowers

    yield deliver_flowers(make_flowers(), now, bucket, DATASETS_FOLDER)


PIPELINES = [
    Pipeline(
        "time-to-dispatch",
        "pipeline",
        ("0.8", "0.9"),
        deliver_weeks,
        "how long the dispatch of an order will take",
        "/api/v0.1/time_to_dispatch",
        {"product_code": "SKU001", "orders_placed": 112},
        True,
    ),
    Pipeline(
        "iris",
        "examples.iris",
        ("0.9",),
        deliver_irises,
        "which species an iris is",
        "/iris/v1/score",
        {
            "sepal_length": 5.1,
            "sepal_width": 3.5,
            "petal_length": 1.4,
            "petal_width": 0.2,
        },
        False,
    ),
]


def find_pipeline(name: str) -> Pipeline:
    """Find a pipeline by its name.

    Raises:
        RuntimeError: There is none.
    """
    for pipeline in PIPELINES:
        if pipeline.name == name:
            return pipeline
    known = " or ".join(pipeline.name for pipeline in PIPELINES)
    raise RuntimeError(f"There is no pipeline {name!r}; set PIPELINE to {known}.")
