"""A dataset comes back as it was put, with the hash of the bytes that were read."""

import gzip
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas import DataFrame
from pandas.testing import assert_frame_equal
from types_boto3_s3 import S3Client

from pipeline import aws

DATA = DataFrame({"hours": [0.1, 2.0], "product": ["SKU001", "SKU002"]})
CSV = b"hours,product\n0.1,SKU001\n2.0,SKU002\n"
MOMENT = datetime(2021, 7, 3, 23, 5, 32, tzinfo=UTC)


def test_csv_datasets_round_trip_with_their_origin(s3: S3Client, bucket: str) -> None:
    location = aws.put_csv_dataset_to_s3(DATA, "week", MOMENT, bucket, "datasets")
    assert location == f"{bucket}/datasets/week_2021-07-03T23:05:32.csv"

    dataset = aws.get_latest_csv_dataset_from_s3(bucket, "datasets")
    assert_frame_equal(dataset.data, DATA)
    head = s3.head_object(Bucket=bucket, Key=dataset.key)
    assert dataset[1:] == (
        MOMENT,
        bucket,
        "datasets/week_2021-07-03T23:05:32.csv",
        sha256(CSV).hexdigest(),
        head["VersionId"],
    )


def test_parquet_datasets_round_trip_with_their_origin(bucket: str) -> None:
    location = aws.put_parquet_dataset_to_s3(DATA, "week", MOMENT, bucket)
    assert location == f"{bucket}/week_2021-07-03T23:05:32.parquet"
    dataset = aws.get_latest_parquet_dataset_from_s3(bucket)
    assert_frame_equal(dataset.data, DATA)
    assert dataset.datetime == MOMENT


@settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(hours=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_every_float_survives_the_round_trip(bucket: str, hours: list[float]) -> None:
    data = DataFrame({"hours": hours})
    folder = str(uuid4())
    aws.put_csv_dataset_to_s3(data, "week", MOMENT, bucket, folder)
    read = aws.get_latest_csv_dataset_from_s3(bucket, folder).data
    assert read["hours"].tolist() == hours


def test_options_of_to_csv_are_passed_on(s3: S3Client, bucket: str) -> None:
    columns = ["hours"]
    location = aws.put_csv_dataset_to_s3(DATA, "week", MOMENT, bucket, columns=columns)
    key = location.removeprefix(f"{bucket}/")
    written = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    assert written == b"hours\n0.1\n2.0\n"


def test_another_dataset_of_the_same_name_is_not_overwritten(bucket: str) -> None:
    aws.put_csv_dataset_to_s3(DATA, "week", MOMENT, bucket)
    aws.put_csv_dataset_to_s3(DATA, "week", MOMENT, bucket)
    with pytest.raises(RuntimeError, match=f"s3://{bucket}/week_.* already exists"):
        aws.put_csv_dataset_to_s3(DATA * 2, "week", MOMENT, bucket)


@pytest.mark.parametrize(
    "key, content",
    [
        ("week_2021-07-03.csv", CSV.replace(b"\n", b"\r\n")),
        ("week_2021-07-03.csv", b"\xef\xbb\xbf" + CSV),
        ("week_2021-07-03.csv.gz", gzip.compress(CSV)),
        ("week_2021-07-03.csv", gzip.compress(CSV)),
    ],
    ids=["CRLF", "byte order mark", "gzip", "gzip without its ending"],
)
def test_these_are_csv_too(
    s3: S3Client, bucket: str, key: str, content: bytes
) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=content)
    assert_frame_equal(aws.get_latest_csv_dataset_from_s3(bucket).data, DATA)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        "hours,product\n0.1,Größe\n".encode("latin-1"),
        "hours,product\n0.1,SKU001\n".encode("utf-16"),
        b"hours,product\n0.1,SKU001,one,too,many\n",
        b'hours,product\n0.1,"SKU001\n',
        gzip.compress(CSV)[:20],
        b"\x1f\x8bno gzip",
    ],
    ids=["empty", "Latin-1", "UTF-16", "ragged", "quote", "torn gzip", "no gzip"],
)
def test_what_is_no_csv_is_refused_by_name(
    s3: S3Client, bucket: str, content: bytes
) -> None:
    s3.put_object(Bucket=bucket, Key="week_2021-07-03.csv", Body=content)
    refusal = f"s3://{bucket}/week_2021-07-03.csv is not a CSV file in UTF-8"
    with pytest.raises(ValueError, match=refusal):
        aws.get_latest_csv_dataset_from_s3(bucket)


def test_what_is_no_parquet_is_refused_by_name(s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="week_2021-07-03.parquet", Body=CSV)
    refusal = f"s3://{bucket}/week_2021-07-03.parquet is not a Parquet file"
    with pytest.raises(ValueError, match=refusal):
        aws.get_latest_parquet_dataset_from_s3(bucket)
