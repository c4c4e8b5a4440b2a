"""What lies in the bucket beside a record: used as it is, or told why not."""

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.pages import Evidence
from pipeline.records import Delivery, ModelInService, NewModel
from tests.stages.services import persist

HEADER = b"product_code,orders_placed,hours_to_dispatch\n"
WEEK = HEADER + b"SKU001,1,2\nSKU001,many,2\nSKU002,3,inf\n,3,4\nSKU003,5,6\n"
KEY = "datasets/time_to_dispatch_2021-07-02T23:00:00.csv"


@pytest.fixture
def read(bucket: str, s3: S3Client) -> Callable[[bytes, bytes], str]:
    """Delivers something, and tells why it is not shown where another was learnt."""

    def deliver_and_read(delivered: bytes, learnt: bytes) -> str:
        s3.put_object(Bucket=bucket, Key=KEY, Body=delivered)
        delivery = Delivery(key=KEY, hash=sha256(learnt).hexdigest())
        observations = Evidence(bucket).read_observations(delivery)
        assert (observations.orders is None) == bool(observations.missing)
        return observations.missing

    return deliver_and_read


def test_the_rows_with_numbers_are_shown(bucket: str, s3: S3Client) -> None:
    s3.put_object(Bucket=bucket, Key=KEY, Body=WEEK)
    orders = Evidence(bucket).read_observations(Delivery(key=KEY)).orders
    assert orders is not None
    assert [*orders.itertuples(name=None)] == [
        (2, 1.0, "SKU001", 2.0),
        (6, 5.0, "SKU003", 6.0),
    ]


def test_why_a_delivery_is_not_shown_is_told(
    read: Callable[[bytes, bytes], str], bucket: str
) -> None:
    assert read(WEEK, WEEK) == ""
    assert "has been replaced since this run" in read(WEEK, HEADER)
    lacking = WEEK.replace(b"orders_placed", b"orders")
    assert "lacks a column" in read(lacking, lacking)
    assert "could not be read" in read(b"\xff\xfe", b"")
    assert "names no delivery" in Evidence(bucket).read_observations(None).missing


def test_a_model_is_shown_if_it_is_that_of_the_record_and_ours(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = persist(bucket)
    [artefact] = aws.list_artefacts_on_s3("pkl", bucket, "models")
    made = datetime.fromisoformat(model.creation_time)
    new = NewModel(key=artefact.key, version=str(model))
    old = ModelInService(version=str(model), made=made, delivery_key="")
    evidence = Evidence(bucket)
    for known in (evidence.read_new(new), evidence.read_in_service(old)):
        assert known.champion is not None and known.champion.curves
        assert (known.key, known.missing) == (artefact.key, "")

    another = new.model_copy(update={"version": "another"})
    assert evidence.read_new(another).missing == "The model another is gone."
    earlier = old.model_copy(update={"made": datetime(2021, 7, 2, tzinfo=UTC)})
    assert "is gone" in evidence.read_in_service(earlier).missing
    monkeypatch.setenv("MODEL_SIGNING_KEY", "k" * 32)
    assert "does not verify" in evidence.read_new(new).missing
