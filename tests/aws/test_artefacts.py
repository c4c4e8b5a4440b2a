"""The newest object is found whatever its name, and nothing is overwritten."""

import os
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.aws import pickling
from pipeline.aws.artefacts import (
    MAX_BYTES,
    get_latest_object_from_s3,
    parse_timestamp,
)
from pipeline.aws.client import s3_client
from tests.conftest import KEYS_PER_PAGE
from tests.stages.s3_proxy import Request, answer_error, pass_on, run_s3_proxy

MOMENT = datetime(2021, 7, 3, 23, 5, 32, tzinfo=UTC)


@pytest.mark.parametrize(
    "key, expected",
    [
        ("time_to_dispatch_2021-07-03T23:05:32.csv", MOMENT),
        ("time_to_dispatch_2021-07-03T23:05:32Z.csv", MOMENT),
        ("time_to_dispatch_2021-07-03 23:05:32.csv", MOMENT),
        ("time_to_dispatch_2021-07-03 23|05|32.csv", MOMENT),
        ("time_to_dispatch_2021-07-03T23-05-32Z.csv.gz", MOMENT),
        ("time-to-dispatch-2021-07-03-23-05-32.csv", MOMENT),
        ("2021-07-03T23:05:32.123456.csv", MOMENT),
        ("folder_2020-01-01/2021-07-03T23:05:32.csv", MOMENT),
        ("from_2021-06-26_to_2021-07-03T23:05:32.csv", MOMENT),
        ("orders_2021-07-03.csv", datetime(2021, 7, 3, tzinfo=UTC)),
        ("2021-07-03Z.csv", datetime(2021, 7, 3, tzinfo=UTC)),
        ("orders_2021-13-03T23:05:32.csv", None),
        ("orders_2021-07-03T25:05:32.csv", None),
        ("orders_12021-07-031.csv", None),
        ("orders.csv", None),
        ("folder_2021-07-03/orders.csv", None),
    ],
)
def test_timestamps_are_read_whatever_their_separators(
    key: str, expected: datetime | None
) -> None:
    assert parse_timestamp(key) == expected


@given(
    moment=st.datetimes(min_value=datetime(1000, 1, 1)),
    prefix=st.text("abc-_ .:|T", max_size=8),
    file_format=st.sampled_from(["csv", "parquet", "pkl"]),
)
def test_a_timestamped_filename_round_trips(
    moment: datetime, prefix: str, file_format: str
) -> None:
    filename = aws.make_timestamped_filename(prefix, moment, file_format)
    assert filename.endswith(f".{file_format}")
    assert parse_timestamp(filename) == moment.replace(microsecond=0, tzinfo=UTC)


def test_filenames_are_in_utc() -> None:
    in_tokyo = datetime(2021, 7, 4, 8, 5, 32, tzinfo=timezone(timedelta(hours=9)))
    name = aws.make_timestamped_filename("foo", in_tokyo, "csv")
    assert name == "foo_2021-07-03T23:05:32.csv"


def put(s3: S3Client, bucket: str, *keys: str) -> None:
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())


def test_the_newest_of_its_format_in_its_folder_is_found(
    s3: S3Client, bucket: str
) -> None:
    put(
        s3,
        bucket,
        "datasets/week_2021-07-09.csv",
        "datasets/week_2021-07-10 00|00|01.csv.gz",
        "datasets/archive/week_2021-07-02T23:00:00.csv",
        "datasets/week_2022-01-01.parquet",
        "datasets/newest.csv",
        "datasets/2023-01-01-readme.txt",
        "datasets_old/week_2024-01-01.csv",
        "week_2024-01-01.csv",
    )
    found = aws.find_latest_artefact_on_s3("csv", bucket, "datasets")
    assert found.key == "datasets/week_2021-07-10 00|00|01.csv.gz"
    found = aws.find_latest_artefact_on_s3("CSV", bucket, "/datasets/")
    assert found.key == "datasets/week_2021-07-10 00|00|01.csv.gz"
    assert aws.find_latest_artefact_on_s3("csv", bucket).timestamp.year == 2024


@given(moments=st.lists(st.datetimes(datetime(1000, 1, 1)), min_size=1, unique=True))
def test_newest_wins_in_any_order_and_notation(moments: list[datetime]) -> None:
    notations = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H|%M|%S", "%Y-%m-%d_%H-%M-%S"]
    parsed = [
        parse_timestamp(moment.strftime(notations[i % 3]))
        for i, moment in enumerate(moments)
    ]
    newest = max(moments).replace(microsecond=0, tzinfo=UTC)
    assert max(moment for moment in parsed if moment) == newest


def test_the_newest_is_found_beyond_one_page_of_the_listing(
    s3: S3Client, bucket: str
) -> None:
    put(s3, bucket, "datasets/zz_2021-07-03.csv")
    start = datetime(2010, 1, 1)
    put(
        s3,
        bucket,
        *(f"datasets/a_{start + timedelta(day):%Y-%m-%d}.csv" for day in range(KEYS_PER_PAGE)),
    )
    found = aws.find_latest_artefact_on_s3("csv", bucket, "datasets")
    assert found.key == "datasets/zz_2021-07-03.csv"


def test_equal_timestamps_fall_back_to_the_time_of_modification(
    s3: S3Client, bucket: str
) -> None:
    put(s3, bucket, "b_2021-07-03.csv")
    for newer, older in [("a_2021-07-03.csv", "b"), ("b_2021-07-03.csv", "a")]:
        put_later_than(s3, bucket, newer, f"{older}_2021-07-03.csv")
        assert aws.find_latest_artefact_on_s3("csv", bucket).key == newer


def put_later_than(s3: S3Client, bucket: str, key: str, other: str) -> None:
    """Put an object until S3, which keeps seconds, has it as the later one."""
    first = s3.head_object(Bucket=bucket, Key=other)["LastModified"]
    put(s3, bucket, key)
    while s3.head_object(Bucket=bucket, Key=key)["LastModified"] <= first:
        put(s3, bucket, key)


def test_nothing_found_names_the_place_and_the_remedy(bucket: str) -> None:
    with pytest.raises(RuntimeError, match=f"s3://{bucket}/datasets/; deliver one"):
        aws.find_latest_artefact_on_s3("csv", bucket, "datasets")


def test_unknown_formats_are_refused(bucket: str) -> None:
    with pytest.raises(ValueError, match="foo is not a supported file format"):
        aws.find_latest_artefact_on_s3("foo", bucket)


def test_what_is_read_is_what_is_hashed_also_if_replaced_meanwhile(
    s3: S3Client, bucket: str
) -> None:
    put(s3, bucket, "week_2021-07-03.csv")
    listed = aws.find_latest_artefact_on_s3("csv", bucket)
    s3.put_object(Bucket=bucket, Key=listed.key, Body=b"replaced")
    assert aws.get_object_from_s3(listed) is None

    found = get_latest_object_from_s3("csv", bucket)
    assert found.content == b"replaced"
    assert found.version_id
    s3.delete_object(Bucket=bucket, Key=listed.key)
    assert aws.get_object_from_s3(found.artefact) is None


@pytest.mark.parametrize(
    "key, most",
    [("w_2021-07-03.csv", MAX_BYTES), ("w_2021-07-03.pkl", pickling.MAX_BYTES)],
)
def test_an_object_that_is_too_large_is_not_read(
    s3: S3Client, bucket: str, key: str, most: int
) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=bytes(most + 1))
    [listed] = aws.list_artefacts_on_s3(key[-3:], bucket)
    # Of other content than was listed, so that reading it would yield None.
    s3.put_object(Bucket=bucket, Key=key, Body=b"")
    with pytest.raises(aws.TooLarge) as refusal:
        aws.get_object_from_s3(listed)
    assert str(refusal.value).startswith(
        f"s3://{bucket}/{key} is too large: it has {most + 1:,} bytes, and at most "
        f"{most:,} are taken; "
    )


def test_an_object_that_keeps_changing_is_given_up(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, bucket, "week_2021-07-03.csv")
    reads: list[aws.S3TimestampedArtefact] = []
    monkeypatch.setattr("pipeline.aws.artefacts.get_object_from_s3", reads.append)
    with pytest.raises(RuntimeError, match="week_2021-07-03.csv: it was replaced"):
        get_latest_object_from_s3("csv", bucket)
    assert len(reads) == 3


def test_a_put_never_overwrites(s3: S3Client, bucket: str) -> None:
    assert aws.put_object_to_s3(b"first", bucket, "folder", "name")
    assert not aws.put_object_to_s3(b"second", bucket, "folder", "name")
    kept = s3.get_object(Bucket=bucket, Key="folder/name")["Body"].read()
    assert kept == b"first"


@pytest.mark.parametrize("conflicts", [2, 3])
def test_a_put_beside_another_one_is_tried_again(
    bucket: str, monkeypatch: pytest.MonkeyPatch, conflicts: int
) -> None:
    monkeypatch.setattr("pipeline.aws.artefacts.sleep", lambda seconds: None)

    def fail(request: Request, kind: str, count: int) -> None:
        act = answer_conflict if count <= conflicts else pass_on
        act(request)

    answer_conflict = answer_error(409, "ConditionalRequestConflict", "Another put")
    with run_s3_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        proxy.fail = fail
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        s3_client.cache_clear()
        try:
            if conflicts < 3:
                assert aws.put_object_to_s3(b"first", bucket, "folder", "name")
            else:
                with pytest.raises(RuntimeError, match="ConditionalRequestConflict"):
                    aws.put_object_to_s3(b"first", bucket, "folder", "name")
        finally:
            s3_client.cache_clear()


def test_a_put_whose_first_answer_was_lost_is_no_conflict(bucket: str) -> None:
    assert aws.put_object_to_s3(b"first", bucket, "folder", "name")
    assert aws.put_object_to_s3(b"first", bucket, "folder", "name")
