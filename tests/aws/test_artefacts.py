"""The newest object is found whatever its name, and nothing is overwritten."""

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.aws import pickling
from pipeline.aws.artefacts import get_latest_object_from_s3
from pipeline.aws.listing import parse_timestamp
from pipeline.aws.client import DEADLINE_SECONDS, s3_client
from pipeline.aws.memory import BYTES_ANYWAY, BYTES_PER_BYTE, Memory
from tests.aws.test_memory import limit_memory
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
        "datasets/archive/week_2021-07-12T23:00:00.csv",
        "datasets/week_2999-01-01.csv",
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
    days = (start + timedelta(day) for day in range(KEYS_PER_PAGE))
    put(s3, bucket, *(f"datasets/a_{day:%Y-%m-%d}.csv" for day in days))
    found = aws.find_latest_artefact_on_s3("csv", bucket, "datasets")
    assert found.key == "datasets/zz_2021-07-03.csv"


def test_equal_timestamps_fall_back_to_the_time_of_modification(
    s3: S3Client, bucket: str
) -> None:
    put(s3, bucket, "b_2021-07-03.csv")
    for newer, older in [("a_2021-07-03.csv", "b"), ("b_2021-07-03.csv", "a")]:
        put_later_than(s3, bucket, newer, f"{older}_2021-07-03.csv")
        assert aws.find_latest_artefact_on_s3("csv", bucket).key == newer


def test_each_object_is_usable_or_passed_over_with_its_reason(
    s3: S3Client, bucket: str
) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=3)
    passed_over = {
        "backup/copy_2021-07-10.csv": "is in a subfolder",
        "backup/notes.txt": "is .txt, not .csv",
        "week_21-11-2026.csv": (
            "has no timestamp like ..._2021-07-03T00:00:00.csv in its name"
        ),
        "week_2021-07-09.xlsx": "is .xlsx, not .csv",
        "week_2999-01-01.csv": "is dated in the future (2999-01-01T00:00:00Z)",
        "\x1b[2Jweek": "is without an ending, not .csv",
    }
    newest = f"datasets/week_{soon:%Y-%m-%dT%H:%M:%S}.csv"
    put(
        s3,
        bucket,
        *(f"datasets/{name}" for name in passed_over),
        *("datasets/", "datasets/m.pkl.0123.sig", "datasets/week_2021-07-02.CSV.gz"),
        newest,
        "datasets_old/week_2021-07-12.csv",
    )
    survey = aws.survey_folder("csv", bucket, "datasets")
    assert [each.key for each in survey.usable] == [
        newest,
        "datasets/week_2021-07-02.CSV.gz",
    ]
    assert {each.address: each.reason for each in survey.passed_over} == {
        f"s3://{bucket}/datasets/{name}".replace("\x1b", r"\x1b"): reason
        for name, reason in passed_over.items()
    }
    when = {each.address.rpartition("/")[2]: each.when for each in survey.passed_over}
    assert when["week_2021-07-09.xlsx"] == datetime(2021, 7, 9, tzinfo=UTC)
    assert abs(datetime.now(UTC) - when["notes.txt"]) < timedelta(days=1)


def test_where_nothing_is_usable_it_is_said_what_was_passed_over(
    s3: S3Client, bucket: str
) -> None:
    put(s3, bucket, "datasets/week_2999-01-01.csv")
    with pytest.raises(aws.NothingFound) as failure:
        aws.find_latest_artefact_on_s3("csv", bucket, "datasets")
    assert str(failure.value).endswith(
        "deliver one named like name_2021-07-03T00:00:00.csv; "
        f"s3://{bucket}/datasets/week_2999-01-01.csv is dated in the future "
        "(2999-01-01T00:00:00Z)."
    )


def test_one_that_is_archived_is_passed_over_for_the_next(
    s3: S3Client, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(s3, bucket, "week_2021-07-02.csv")
    newer = "week_2021-07-09.csv"
    s3.put_object(Bucket=bucket, Key=newer, Body=b"", StorageClass="GLACIER")
    found = get_latest_object_from_s3("csv", bucket)
    assert found.content == b"week_2021-07-02.csv"
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.startswith(
        f"Passed over: Could not read s3://{bucket}/{newer}: InvalidObjectState ("
    )
    s3.delete_object(Bucket=bucket, Key="week_2021-07-02.csv")
    with pytest.raises(aws.S3Failure, match="InvalidObjectState .* its archive"):
        get_latest_object_from_s3("csv", bucket)


def fail_to_read(seconds: float, clock: list[float]) -> None:
    clock[0] += seconds
    raise aws.S3Failure(f"Failed at {clock[0]:g} s.")


@pytest.mark.parametrize(
    "seconds, good, expected",
    [
        # Some objects fail, one of them after all its time.
        ([60.5, 0.1, 0.0], 2, "read"),
        # Hundreds fail at once: all but one are not for us.
        ([0.1] * 500 + [0.0], 500, "read"),
        ([0.1] * 500, None, "Failed at 0.1 s."),
        # S3 is gone: nobody waits for the third of hundreds.
        ([60.5] * 500 + [0.0], 500, "Failed at 60.5 s."),
    ],
)
def test_objects_that_fail_are_passed_over_until_it_must_be_s3(
    monkeypatch: pytest.MonkeyPatch,
    seconds: list[float],
    good: int | None,
    expected: str,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("pipeline.aws.artefacts.monotonic", lambda: clock[0])
    listed = [
        aws.S3TimestampedArtefact("b", str(number), MOMENT, MOMENT, "", 0)
        for number in range(len(seconds))
    ]

    def read(artefact: aws.S3TimestampedArtefact) -> str:
        number = int(artefact.key)
        if number != good:
            fail_to_read(seconds[number], clock)
        return "read"

    found: list[str] = []
    try:
        for _, outcome in aws.read_each(listed, read):
            found.append(str(outcome))
    except aws.S3Failure as failure:
        assert str(failure) == expected
    else:
        assert found[-1] == expected and len(found) == len(seconds)
    assert clock[0] <= 3 * DEADLINE_SECONDS + 5


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


def test_a_delivery_that_is_too_large_is_not_read(
    s3: S3Client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(BYTES_ANYWAY + 1000 * BYTES_PER_BYTE)
    limit_memory(tmp_path, memory.limit, monkeypatch)
    s3.put_object(Bucket=bucket, Key="w_2021-07-03.csv", Body=bytes(1001))
    [listed] = aws.list_artefacts_on_s3("csv", bucket)
    # Of other content than was listed, so that reading it would yield None.
    s3.put_object(Bucket=bucket, Key=listed.key, Body=b"")
    with pytest.raises(aws.TooLarge, match="it has 1,001 bytes, which take"):
        aws.get_object_from_s3(listed)


def test_a_model_that_is_too_large_is_not_read(s3: S3Client, bucket: str) -> None:
    key, most = "w_2021-07-03.pkl", pickling.MAX_BYTES
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
