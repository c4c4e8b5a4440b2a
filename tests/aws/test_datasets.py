"""A dataset comes back as it was put, with the hash of the bytes that were read."""

import gzip
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas import DataFrame, RangeIndex
from pandas.testing import assert_frame_equal
from pyarrow.parquet import write_table
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.aws import listing
from pipeline.aws.memory import (
    BYTES_ANYWAY,
    BYTES_PER_BYTE,
    FIRST_ROWS,
    Memory,
    find_memory,
)
from tests.aws.test_memory import fake_cgroup, limit_memory

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
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
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


def test_what_is_no_csv_is_refused_by_name(s3: S3Client, bucket: str) -> None:
    """By each of the three; `test_csv_text.py` has each fault."""
    key = "week_2021-07-03.csv"
    s3.put_object(Bucket=bucket, Key=key, Body=b"hours;product\n0.1;SKU001\n")
    refusal = f"^s3://{bucket}/{key} cannot be read as CSV: its fields are separated"
    with pytest.raises(ValueError, match=refusal):
        aws.get_latest_csv_dataset_from_s3(bucket)
    with pytest.raises(ValueError, match=refusal):
        aws.get_dataset_from_s3(bucket, key)
    with pytest.raises(ValueError, match=refusal):
        aws.get_dataset(*aws.list_artefacts_on_s3("csv", bucket))


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_a_listed_csv_is_read_as_text_with_the_lines_of_its_rows(
    s3: S3Client, bucket: str, ending: str
) -> None:
    text = b'product,hours\n"0101",7.50\n\n,1e400\nNA,\n'
    content = gzip.compress(text) if ending.endswith("gz") else text
    key = f"datasets/week_2021-07-03{ending}"
    s3.put_object(Bucket=bucket, Key=key, Body=content)
    [listed] = aws.list_artefacts_on_s3("csv", bucket, "datasets")
    dataset = aws.get_dataset(listed)
    expected = DataFrame(
        {"product": ["0101", None, "NA"], "hours": ["7.50", "1e400", None]},
        index=[2, 4, 5],
        dtype="str",
    )
    assert_frame_equal(dataset.data, expected)
    head = s3.head_object(Bucket=bucket, Key=key)
    midnight = MOMENT.replace(hour=0, minute=0, second=0)
    assert dataset[1:] == (
        *(midnight, bucket, key),
        *(sha256(content).hexdigest(), head["VersionId"]),
    )


def test_a_csv_that_is_replaced_after_it_was_listed_is_not_read(
    s3: S3Client, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="week_2021-07-03.csv", Body=CSV)
    [listed] = aws.list_artefacts_on_s3("csv", bucket)
    s3.put_object(Bucket=bucket, Key="week_2021-07-03.csv", Body=CSV * 2)
    with pytest.raises(RuntimeError, match="week_2021-07-03.csv was replaced or del"):
        aws.get_dataset(listed)


# In which 16 MiB fit, or fewer with rows in them.
MEMORY = Memory(BYTES_ANYWAY + BYTES_PER_BYTE * 16 * 2**20, find_memory().threads)
EXPANDED = "more than 16,777,216 bytes when it is expanded, which take"


def too_many(header: bytes, row: bytes) -> int:
    """One row more than fits."""
    per_row = MEMORY.find_taken(1, len(row)) - BYTES_ANYWAY
    rows = (MEMORY.limit - MEMORY.find_taken(0, len(header))) // per_row + 1
    assert rows < FIRST_ROWS
    return rows


ROW = b"SKU001,1,1\n"
HEADER = b"product_code,orders_placed,hours_to_dispatch\n"
TOO_LARGE: dict[str, tuple[Callable[[], bytes], str]] = {
    "10 million rows, gzipped": (
        lambda: gzip.compress(HEADER + b"SKU001,1,1\n" * 10_000_000, 1),
        EXPANDED,
    ),
    "a gzip bomb": (
        lambda: gzip.compress(bytes(2**26), 1),
        EXPANDED,
    ),
    "two gzips in one": (
        lambda: 2 * gzip.compress(bytes(9 * 2**20), 1),
        EXPANDED,
    ),
    "a row too many": (
        lambda: HEADER + ROW * too_many(HEADER, ROW),
        f"{too_many(HEADER, ROW):,} rows, which take",
    ),
    "as many rows as fit": (
        lambda: b"a\n" + b"1\n" * (8 * 2**20 - 1),
        "8,388,607 rows, which take",
    ),
    "rows that end as on old Macs": (
        lambda: b"a\r" + b"1\r" * too_many(b"a\r", b"1\r"),
        f"{too_many(b'a,', b'1,'):,} rows, which take",
    ),
    "a wide header": (
        lambda: b"\n" + b"a," * 8_000_000 + b"a\n",
        "8,000,000 delimiters in line 2, and at most 100 columns are taken; deliver",
    ),
    "a header that is quoted": (
        lambda: b'a"b,"\n",' + b"a," * 8_000_000 + b"a\n",
        "8,000,001 delimiters in line 2, and at most 100 columns are taken; deliver",
    ),
    "a wide row": (
        lambda: b"a,b\n" + b"1," * 8_000_000 + b"1\n",
        "8,000,000 delimiters in line 2, and at most 100 columns are taken; deliver",
    ),
}
# Less than training takes; most of it is what the stage imports.
MEMORY_MIB = 350
# With all that the stage has imported. (The peak that getrusage tells is the parent's.)
REFUSE = """
import re, sys
from pathlib import Path
import pipeline.train_model
from pipeline import aws
from pipeline.aws import listing
from pipeline.aws.memory import find_memory
find_memory.__defaults__ = (Path(sys.argv[3]),)
for folder in range(int(sys.argv[2])):
    try:
        aws.get_latest_csv_dataset_from_s3(sys.argv[1], str(folder))
    except aws.TooLarge as refusal:
        peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
        print(int(peak[1]) // 1024, refusal)
"""


@pytest.mark.once
@pytest.mark.process
def test_what_is_too_large_is_refused_within_little_memory(
    s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    fake_cgroup(tmp_path, "0::/\n", memory_of_max=str(MEMORY.limit))
    for folder, (make, _) in enumerate(TOO_LARGE.values()):
        s3.put_object(Bucket=bucket, Key=f"{folder}/week_2021-07-03.csv", Body=make())
    refused = subprocess.run(
        [sys.executable, "-c", REFUSE, bucket, str(len(TOO_LARGE)), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    refusals = refused.stdout.splitlines()
    for refusal, (name, (_, found)) in zip(refusals, TOO_LARGE.items(), strict=True):
        memory, sentence = refusal.split(" ", 1)
        assert f".csv is too large: it has {found} " in sentence, name
        assert int(memory) < MEMORY_MIB, name


@pytest.mark.parametrize(
    "data, found",
    [
        (DataFrame({"a": range(120_001)}), "120,001 rows, which take"),
        (DataFrame({f"c{i}": [1] for i in range(101)}), "101 columns, and at most 100"),
        (DataFrame({"a": [f"{i:01000}" for i in range(19_000)]}), "19,000 rows, which"),
    ],
    ids=["rows", "columns", "bytes"],
)
def test_too_large_a_parquet_is_refused(
    bucket: str,
    data: DataFrame,
    found: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit_memory(tmp_path, MEMORY.limit, monkeypatch)
    aws.put_parquet_dataset_to_s3(data, "week", MOMENT, bucket)
    with pytest.raises(aws.TooLarge, match=f"week_.* is too large: it has {found}"):
        aws.get_latest_parquet_dataset_from_s3(bucket)


def put_parquet(s3: S3Client, bucket: str, column: pyarrow.Array) -> None:
    content = BytesIO()
    table = pyarrow.table({"a": column})
    write_table(table, content, compression="zstd", store_schema=False)
    assert len(content.getvalue()) < 2_000
    s3.put_object(
        Bucket=bucket, Key="week_2021-07-03.parquet", Body=content.getvalue()
    )


def test_a_parquet_that_refers_to_a_long_text_again_and_again_is_refused(
    s3: S3Client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(tmp_path, MEMORY.limit, monkeypatch)
    rows = pyarrow.array([0] * 200, pyarrow.int32())
    column = pyarrow.DictionaryArray.from_arrays(rows, pyarrow.array(["x" * 2**20]))
    put_parquet(s3, bucket, column)
    with pytest.raises(aws.TooLarge, match="it has 200 rows, which take"):
        aws.get_latest_parquet_dataset_from_s3(bucket)


def test_a_parquet_of_lists_is_refused(s3: S3Client, bucket: str) -> None:
    put_parquet(s3, bucket, pyarrow.array([[1] * 10_000] * 20))
    with pytest.raises(ValueError, match="column a of it holds list<element: "):
        aws.get_latest_parquet_dataset_from_s3(bucket)


def test_a_name_of_more_than_a_line_is_refused(s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a\r\x1b[2J_2021-07-03.csv", Body=CSV)
    with pytest.raises(ValueError, match="has invisible characters in") as refusal:
        aws.get_latest_csv_dataset_from_s3(bucket)
    assert str(refusal.value).isprintable()


def test_as_many_rows_and_columns_as_are_taken_are_read(bucket: str) -> None:
    data = DataFrame({f"c{i}": range(120_000) for i in range(3)})
    aws.put_csv_dataset_to_s3(data, "week", MOMENT, bucket)
    assert_frame_equal(aws.get_latest_csv_dataset_from_s3(bucket).data, data)
    data = DataFrame({f"c{i}": ['"two\nlines"'] for i in range(100)})
    aws.put_csv_dataset_to_s3(data, "wide", MOMENT, bucket, "wide")
    assert_frame_equal(aws.get_latest_csv_dataset_from_s3(bucket, "wide").data, data)


def test_what_is_no_parquet_is_refused_by_name(s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="week_2021-07-03.parquet", Body=CSV)
    refusal = f"s3://{bucket}/week_2021-07-03.parquet cannot be read as Parquet: it is"
    with pytest.raises(ValueError, match=refusal):
        aws.get_latest_parquet_dataset_from_s3(bucket)


FOLDER = "datasets/week_2021-07-03T23:05:32.parquet"


def put_parts(s3: S3Client, bucket: str, folder: str, **others: bytes) -> str:
    """Put a table in two parts, beside what Spark and others add.

    Returns:
        What sha256sum says of the parts.
    """
    hashes = ""
    for number, part in enumerate((DATA[:1], DATA[1:])):
        name, content = f"part-{number}.snappy.parquet", part.to_parquet(index=False)
        s3.put_object(Bucket=bucket, Key=f"{folder}/{name}", Body=content)
        hashes += f"{sha256(content).hexdigest()}  {name}\n"
    others = {"_metadata.parquet": b"", ".part-0.crc": b"", "": b""} | others
    for name, content in others.items():
        s3.put_object(Bucket=bucket, Key=f"{folder}/{name}", Body=content)
    return hashes


def test_a_folder_of_parts_is_one_dataset(s3: S3Client, bucket: str) -> None:
    hashes = put_parts(s3, bucket, FOLDER, _SUCCESS=b"")
    [listed], passed_over = aws.survey_tables(bucket, "datasets")
    assert passed_over == []
    for dataset in aws.get_dataset(listed), aws.get_dataset_from_s3(bucket, FOLDER):
        expected = DataFrame(
            {"hours": ["0.1", "2"], "product": ["SKU001", "SKU002"]},
            index=RangeIndex(1, 3, name="row"),
            dtype="str",
        )
        assert_frame_equal(dataset.data, expected)
        digest = sha256(hashes.encode()).hexdigest()
        assert dataset[1:] == (MOMENT, bucket, FOLDER, digest, "")


@pytest.mark.parametrize(
    "folder, others, reason",
    [
        (FOLDER, {}, "has no _SUCCESS in it, so that parts may be missing"),
        (
            FOLDER,
            {"_SUCCESS": b"", "product=A/part-0.parquet": b""},
            "has parts in subfolders",
        ),
        (
            "datasets/week_2999-01-01.parquet",
            {"_SUCCESS": b""},
            "is dated in the future (2999-01-01T00:00:00Z)",
        ),
        (
            "datasets/week.parquet",
            {"_SUCCESS": b""},
            "has no timestamp like ..._2021-07-03T00:00:00.parquet in its name",
        ),
    ],
    ids=["incomplete", "subfolders", "future", "no timestamp"],
)
def test_a_folder_that_is_not_taken_is_named_with_the_reason(
    s3: S3Client, bucket: str, folder: str, others: dict[str, bytes], reason: str
) -> None:
    put_parts(s3, bucket, folder, **others)
    usable, [passed_over] = aws.survey_tables(bucket, "datasets")
    assert usable == []
    assert passed_over.address == f"s3://{bucket}/{folder}/"
    assert passed_over.reason == reason
    with pytest.raises(RuntimeError) as refusal:
        aws.get_dataset_from_s3(bucket, folder)
    assert str(refusal.value) == f"s3://{bucket}/{folder}/ {reason}."


def test_a_part_that_is_replaced_after_it_was_listed_is_not_read(
    s3: S3Client, bucket: str
) -> None:
    put_parts(s3, bucket, FOLDER, _SUCCESS=b"")
    [listed] = aws.survey_tables(bucket, "datasets").usable
    s3.delete_object(Bucket=bucket, Key=f"{FOLDER}/part-1.snappy.parquet")
    with pytest.raises(aws.Replaced, match="part-1.snappy.parquet was replaced or del"):
        aws.get_dataset(listed)


def test_a_folder_without_parts_is_refused(s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key=f"{FOLDER}/_SUCCESS", Body=b"")
    with pytest.raises(ValueError, match="cannot be read as Parquet: it has no parts"):
        aws.get_dataset_from_s3(bucket, FOLDER)


def test_the_parts_of_a_folder_count_together(
    s3: S3Client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_parts(s3, bucket, FOLDER, _SUCCESS=b"")
    # Rows that take this much leave no doubt that the parts' bytes are not it.
    monkeypatch.setattr("pipeline.aws.memory.BYTES_PER_ROW", 10**9)
    limit_memory(tmp_path, BYTES_ANYWAY + 2 * 10**9 + 10**8, monkeypatch)
    aws.get_dataset_from_s3(bucket, FOLDER)
    limit_memory(tmp_path, BYTES_ANYWAY + 10**9 + 10**8, monkeypatch)
    with pytest.raises(aws.TooLarge, match="5:32.parquet is too large: it has 2 rows"):
        aws.get_dataset_from_s3(bucket, FOLDER)


def test_the_newest_is_taken_and_of_one_timestamp_what_came_last(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_parts(s3, bucket, FOLDER, _SUCCESS=b"")
    names = {
        "one": FOLDER.replace("05:32.parquet", "05:32.csv"),
        "late": FOLDER.replace("05:32", "05:33"),
        "old": FOLDER.replace("05:32", "05:31").replace(".parquet", ".csv.gz"),
    }
    for key in names.values():
        s3.put_object(Bucket=bucket, Key=key, Body=CSV)
    tables = [each.key for each in aws.survey_tables(bucket, "datasets").usable]
    assert tables[0] == names["late"] and tables[-1] == names["old"]
    listed = listing._list_objects(bucket, "datasets")
    for first, last in ((FOLDER, names["one"]), (names["one"], FOLDER)):
        for item in listed:
            # Of a folder, the last object counts.
            is_last = item["Key"] in (last, f"{last}/_SUCCESS")
            is_first = item["Key"] in (first, f"{first}/_SUCCESS")
            hour = 2 if is_last else 1 if is_first else 0
            item["LastModified"] = MOMENT.replace(hour=hour)
        monkeypatch.setattr(listing, "_list_objects", lambda *_: listed)
        tables = [each.key for each in aws.survey_tables(bucket, "datasets").usable]
        assert tables[1:3] == [last, first]
    for item in listed:
        item["LastModified"] = MOMENT
    tables = [each.key for each in aws.survey_tables(bucket, "datasets").usable]
    assert tables[1:3] == [names["one"], FOLDER]
