"""A file of requests is answered as the service answers, row by row, or not at all."""

import csv
import gzip
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from math import inf, nan
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas import DataFrame, concat, read_csv, read_parquet
from pyarrow import parquet
from pydantic import ValidationError
from sklearn.tree import DecisionTreeRegressor
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.batch import estimate_files, request_files
from pipeline.batch.checked_rows import check_rows
from pipeline.batch.estimate import estimate_requests
from pipeline.batch.refused_rows import read_number
from pipeline.estimator import CURVES, RANGES, read_curves, read_ranges
from pipeline.service import make_request_model
from pipeline.service.estimates import NEAREST, NONE_NEAR
from pipeline.service.many_estimates import write_estimate
from tests.programs import run_here
from tests.stages.s3_proxy import Request, pass_on, run_s3_proxy
from tests.stages.services import DATASET, ROOT, TIMEOUT_SECONDS

AT = "2026-11-20T23:00:00"
COLUMNS = ["est_hours_to_dispatch", "lower", "upper", "beyond_observed", "model"]
CODES = ["SKU001", "SKU002", "RARE"]
METADATA = {
    CURVES: {
        code: {"orders_placed": [1.0, 50.0, 210.5], "hours": [rise, 3.1, 12.0 + rise]}
        for code, rise in zip(CODES, (0.123456, 1.0, 2.5), strict=True)
    },
    RANGES: {
        "scale": [1.0, 0.1],
        "common": {"0.9": [-1.5, 2.25]},
        # Too few orders for a range.
        "own": {"RARE": {}},
        "limits": {code: [1.0, 210.5] for code in CODES},
    },
}
PLACED = [0, 1, 49, 50.5, 112, 210.5, 211, 1_000_000]
GOOD = DataFrame(
    [(code, placed) for placed in PLACED for code in CODES],
    columns=["product_code", "orders_placed"],
)


def put_model(bucket: str) -> aws.Model:
    model = aws.Model("m", DecisionTreeRegressor(), DATASET, METADATA)
    model.put_model_to_s3(bucket, "models")
    return model


def ask(
    s3: S3Client, bucket: str, content: bytes, name: str = f"letter_{AT}.csv"
) -> None:
    s3.put_object(Bucket=bucket, Key=f"requests/{name}", Body=content)


def read_answer(s3: S3Client, bucket: str, folder: str) -> bytes:
    """The only object directly in a folder."""
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/", Delimiter="/")
    [found] = listed.get("Contents", [])
    return s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()


def read_summary(s3: S3Client, bucket: str) -> Any:
    return json.loads(read_answer(s3, bucket, "estimates/summaries"))


def list_keys(s3: S3Client, bucket: str) -> list[str]:
    found = s3.list_objects_v2(Bucket=bucket, Prefix="estimates/").get("Contents", [])
    return [each["Key"] for each in found]


def assert_nothing_is_left(s3: S3Client, bucket: str) -> None:
    assert list_keys(s3, bucket) == []
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def as_csv(data: DataFrame) -> bytes:
    return data.to_csv(index=False).encode()


def as_parquet(data: DataFrame) -> bytes:
    return data.to_parquet(index=False)


def read_parquet_bytes(content: bytes) -> DataFrame:
    return read_parquet(BytesIO(content))


def read_csv_bytes(content: bytes) -> DataFrame:
    return read_csv(BytesIO(content))


FORMATS: dict[str, tuple[Callable[..., bytes], Callable[[bytes], DataFrame]]] = {
    "csv": (as_csv, read_csv_bytes),
    "csv.gz": (
        lambda data: gzip.compress(as_csv(data)),
        lambda content: read_csv_bytes(gzip.decompress(content)),
    ),
    "parquet": (as_parquet, read_parquet_bytes),
}


@pytest.mark.parametrize("ending", FORMATS)
def test_each_row_is_answered_as_the_service_answers_it(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    # Ten rows of Parquet at a time.
    monkeypatch.setattr(request_files, "FIELDS", 30)
    monkeypatch.setattr(estimate_files, "ROW_GROUP_BYTES", 1000)
    write, read = FORMATS[ending]
    model = put_model(bucket)
    rows = GOOD.assign(order=[f"A{place:03}" for place in range(len(GOOD))])
    ask(s3, bucket, write(rows), f"letter_{AT}.{ending}")
    estimate_requests(bucket)
    made = f"{datetime.fromisoformat(model.creation_time):%Y-%m-%dT%H:%M:%S}"
    name = f"{made}_letter_{AT}"
    assert list_keys(s3, bucket) == [
        f"estimates/{name}.{ending}",
        f"estimates/summaries/{name}.json",
    ]
    # Whoever looks for the newest estimates finds them by the time of the request.
    found = aws.find_latest_artefact_on_s3("table", bucket, "estimates")
    assert found.timestamp == datetime.fromisoformat(AT).replace(tzinfo=UTC)
    content = read_answer(s3, bucket, "estimates")
    answer = read(content)
    if ending == "parquet":
        file = parquet.ParquetFile(BytesIO(content))
        assert file.num_row_groups == 2
        assert file.read().column("lower").null_count == len(PLACED)
    assert [*answer] == [*rows, *COLUMNS]
    assert answer[[*rows]].equals(rows)
    assert {*answer["model"]} == {made}
    curves, ranges = read_curves(model), read_ranges(model)
    assert ranges is not None
    for row in answer.itertuples():
        code, placed = str(row.product_code), float(str(row.orders_placed))
        same = json.loads(write_estimate(code, placed, 0.9, curves[code], ranges))
        assert row.est_hours_to_dispatch == same["est_hours_to_dispatch"]
        assert row.beyond_observed == same["beyond_observed"]
        around = same["range"] or {"lower": nan, "upper": nan}
        assert [row.lower, row.upper] == pytest.approx(
            [around["lower"], around["upper"]], rel=0, abs=0, nan_ok=True
        )
        assert (same["range"] is None) == (code == "RARE")
    summary = read_summary(s3, bucket)
    assert summary["rows"] == len(rows) and summary["refused_rows"] == 0
    assert summary["refused"] is None and summary["level"] == 0.9
    assert summary["request"]["key"] == f"requests/letter_{AT}.{ending}"
    assert summary["estimates"] == f"estimates/{name}.{ending}"
    assert summary["model"] == {
        "name": "m",
        "timestamp": model.creation_time,
        "delivery": DATASET.key,
        "delivery_hash": DATASET.hash,
        "code": "NA",
        "hash": model.hash,
    }


BAD_CSV = """\
order,product_code,orders_placed
1,SKU001,112
2,SKU0O1,5
3,SKU002,-1
4,SKU002, 7\x20
5,SKU002,seven

6,,
7,SKU002
8,RARE,1000001
9,no such thing,NaN
10,RARE,1e2
"a,b\",SKU002,+3.
11,SKU002,1,5
12,SKU002,1e999
13
"""
WHY = [
    (3, f"product_code: {NEAREST.format(nearest='SKU001')}", "2", "SKU0O1", "5"),
    (
        *(4, "orders_placed: Input should be greater than or equal to 0"),
        *("3", "SKU002", "-1"),
    ),
    (6, "orders_placed: Input should be a valid number", "5", "SKU002", "seven"),
    (7, "product_code: Field required; orders_placed: Field required", "6", "", ""),
    (8, "It has 2 fields, the header 3: 7,SKU002", "", "", ""),
    (
        *(9, "orders_placed: Input should be less than or equal to 1000000"),
        *("8", "RARE", "1000001"),
    ),
    (
        *(
            10,
            f"product_code: {NONE_NEAR}; orders_placed: Input should be a valid number",
        ),
        *("9", "no such thing", "NaN"),
    ),
    (13, "It has 4 fields, the header 3: 11,SKU002,1,5", "", "", ""),
    (14, "orders_placed: Input should be a finite number", "12", "SKU002", "1e999"),
    (15, "It has 1 field, the header 3: 13", "", "", ""),
]


def assert_refused(content: bytes, why: list[tuple[object, ...]]) -> None:
    found = read_csv(BytesIO(content), keep_default_na=False, dtype={"order": str})
    assert [*found][:2] == ["row", "reason"]
    assert [*found.itertuples(index=False, name=None)] == why


# So that rows which cannot be split stand at the ends of blocks, too.
@pytest.mark.parametrize("block_bytes", [60, 80, 2**19])
def test_a_refused_row_stops_no_other(
    s3: S3Client,
    bucket: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    block_bytes: int,
) -> None:
    monkeypatch.setattr(request_files, "CSV_BLOCK_BYTES", block_bytes)
    put_model(bucket)
    ask(s3, bucket, b"\xef\xbb\xbf" + BAD_CSV.encode())
    estimate_requests(bucket)
    answer = read_answer(s3, bucket, "estimates").decode()
    # Each field as it stood.
    assert [row[:3] for row in csv.reader(answer.splitlines()[1:])] == [
        ["1", "SKU001", "112"],
        ["4", "SKU002", " 7 "],
        ["10", "RARE", "1e2"],
        ["a,b", "SKU002", "+3."],
    ]
    refused = read_answer(s3, bucket, "estimates/refused")
    assert_refused(refused, [*WHY])
    summary = read_summary(s3, bucket)
    assert (summary["rows"], summary["refused_rows"]) == (14, 10)
    assert summary["refused"].startswith("estimates/refused/")
    [warning] = [one for one in caplog.messages if one.startswith("Refused")]
    assert "Refused 10 of 14 rows, the first is row 3: product_code" in warning


def test_rows_of_parquet_are_refused_as_well(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two rows at a time.
    monkeypatch.setattr(request_files, "FIELDS", 4)
    put_model(bucket)
    codes = ["SKU001", "SKU0O1", None, "SKU002", "SKU002"]
    data = DataFrame(
        {"product_code": codes, "orders_placed": [1.0, -1.0, inf, nan, None]}
    )
    table = pa.Table.from_pandas(data, preserve_index=False)
    content = BytesIO()
    parquet.write_table(
        table.set_column(1, "orders_placed", [[1.0, -1.0, inf, nan, None]]), content
    )
    ask(s3, bucket, content.getvalue(), f"letter_{AT}.parquet")
    estimate_requests(bucket)
    assert len(read_parquet_bytes(read_answer(s3, bucket, "estimates"))) == 1
    refused = read_csv(
        BytesIO(read_answer(s3, bucket, "estimates/refused")), index_col="row"
    )
    near = f"product_code: {NEAREST.format(nearest='SKU001')}"
    finite = "orders_placed: Input should be a finite number"
    assert refused["reason"].to_dict() == {
        2: f"{near}; orders_placed: Input should be greater than or equal to 0",
        3: f"product_code: Field required; {finite}",
        4: finite,
        5: "orders_placed: Field required",
    }


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 112, 2**60]),
        pa.array([1, 112, 255], pa.uint8()),
        pa.array(["1", "112", "many"]),
        pa.array(["1", "112", "many"]).dictionary_encode(),
        pa.array(["1", "112", "-1"], pa.large_string()),
        pa.array([1, 112, 2**30], pa.decimal128(20, 3)),
    ],
    ids=lambda column: str(column.type),
)
def test_numbers_of_parquet_may_have_any_type(
    s3: S3Client, bucket: str, column: pa.Array
) -> None:
    put_model(bucket)
    codes = pa.array(["SKU001"] * 3).dictionary_encode()
    table = pa.table({"orders_placed": column, "product_code": codes})
    content = BytesIO()
    parquet.write_table(table, content)
    ask(s3, bucket, content.getvalue(), f"letter_{AT}.parquet")
    estimate_requests(bucket)
    answer = parquet.read_table(BytesIO(read_answer(s3, bucket, "estimates")))
    is_good = 3 if column.type == pa.uint8() else 2
    assert answer.select(["orders_placed"]).num_rows == is_good
    assert answer.schema.field("orders_placed").type == column.type


REQUEST_MODEL = make_request_model(CODES)
texts = st.one_of(
    st.from_regex(r"\A[ \t]?[+-]?[0-9.]{0,9}([eE][+-]?[0-9]{1,4})?[ \t]?\Z"),
    st.sampled_from(["nan", "inf", "-inf", "Infinity", "0x10", "1_0", "１", "", "1d"]),
    st.integers(-5, 1_000_005).map(str),
    st.text(max_size=3),
)


@given(st.lists(st.tuples(st.sampled_from([*CODES, "sku001", ""]), texts), min_size=1))
def test_what_is_refused_is_what_the_service_refuses(
    rows: list[tuple[str, str]],
) -> None:
    codes, placed = zip(*rows, strict=True)
    batch = pa.record_batch(
        {"product_code": pa.array(codes), "orders_placed": pa.array(placed)}
    )
    checked = check_rows(batch, pa.array(CODES))
    for place, (code, text) in enumerate(rows):
        number = read_number(text)
        try:
            order = {"product_code": code, "orders_placed": number}
            REQUEST_MODEL.model_validate(order)
        except ValidationError:
            assert not checked.is_good[place]
        else:
            assert checked.is_good[place]
            assert checked.orders_placed[place] == float(text)
            assert CODES[checked.products[place]] == code


def swap(data: DataFrame) -> DataFrame:
    return data.rename(columns={"product_code": "product"})


WIDE = {f"c{number}": 1 for number in range(99)}
# Longer than what a header is looked for in.
MANY = concat([GOOD] * 400)
GZIPPED = gzip.compress(as_csv(GOOD))
OTHER_FILES = {
    "letter_{}.csv": {
        b"": "it is empty; put a header line",
        b"\n\n": "it is empty; put a header line",
        as_csv(GOOD[:0]): "holds no rows; deliver some under a newer timestamp",
        as_csv(swap(GOOD)): "has no column product_code, but product, orders_placed;",
        b"1,2\n3,4\n": "line 1 is data and no header",
        b"orders_placed,product_code,upper\n1,SKU001,2\n": "has a column upper, as its",
        b"orders_placed,product_code,orders_placed\n1,SKU001,2\n": "are both named",
        as_csv(GOOD).decode().encode("utf-16"): "it is in UTF-16; save it in UTF-8",
        as_csv(GOOD).replace(b",", b";"): "its fields are separated by ';'",
        as_csv(GOOD) + b"SKU\xe9,5\n": "it is not in UTF-8 but looks like Latin-1 (",
        as_csv(MANY) + b"\xe9,5\n": f"row {len(MANY) + 2} is not in UTF-8; save it in",
        as_csv(GOOD) + b'"SKU001,5\nSKU001,6\n': "as if a quote were never closed",
        as_csv(GOOD) + b'SKU001,"5\nSKU001,6\n': "as if a quote were never closed",
        as_csv(GOOD) + b'SKU001,6,"7\r8"\n': "as if a quote were never closed",
        as_parquet(GOOD): "cannot be read as CSV: ",
        b"product_code,orders_placed," + 99 * b"a" * 2000: "more than 100,000 bytes",
        ",".join(map("c{}".format, range(101))).encode(): "has 101 columns, and at mo",
        b"PK\x03\x04": "it is an Excel workbook (.xlsx)",
    },
    "letter_{}.csv.gz": {
        GZIPPED[:-20]: "its gzip breaks off before its end; copy it whole",
        GZIPPED[:40] + b"\0" * 9 + GZIPPED[49:]: "its gzip is damaged",
        gzip.compress(GZIPPED): "it is gzipped twice; gzip it once",
        b"": "it is empty",
    },
    "letter_{}.parquet": {
        b"": "cannot be read as Parquet: ",
        as_csv(GOOD): "cannot be read as Parquet: Parquet magic bytes not found",
        as_parquet(GOOD)[:-100]: "cannot be read as Parquet: ",
        as_parquet(GOOD).replace(b"SKU", b"\xff\xff\xff"): "cannot be read as Parquet",
        as_parquet(swap(GOOD)): "has no column product_code, but product, orders_pl",
        as_parquet(GOOD.assign(**WIDE)): "has 101 columns, and at most 100 col",
        as_parquet(GOOD[:0]): "holds no rows; deliver some under a newer timestamp",
        as_parquet(GOOD.assign(lower=1)): "has a column lower, as its estimates do;",
        as_parquet(GOOD.assign(orders_placed=True)): "The column orders_placed of ",
        as_parquet(GOOD.assign(product_code=1)): "The column product_code of ",
    },
}


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        pytest.param(name, content, fault, id=f"{name[10:]}: {fault[:40]}")
        for name, files in OTHER_FILES.items()
        for content, fault in files.items()
    ],
)
def test_what_cannot_be_answered_is_one_sentence(
    s3: S3Client, bucket: str, name: str, content: bytes, fault: str
) -> None:
    put_model(bucket)
    ask(s3, bucket, content, name.format(AT))
    with pytest.raises((ValueError, RuntimeError)) as refusal:
        estimate_requests(bucket)
    told = str(refusal.value)
    assert fault in told and f"s3://{bucket}/requests/{name.format(AT)}" in told
    assert told.endswith(".") and told.isprintable() and len(told) < 500
    assert_nothing_is_left(s3, bucket)


def test_it_is_answered_once(
    s3: S3Client, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    put_model(bucket)
    ask(s3, bucket, as_csv(GOOD))
    estimate_requests(bucket)
    with caplog.at_level(logging.INFO, "pipeline"):
        estimate_requests(bucket)
    assert "Nothing to do: " in caplog.messages[-1]
    versions = s3.list_object_versions(Bucket=bucket, Prefix="estimates/")["Versions"]
    assert len(versions) == 2
    # Another file under the same name.
    ask(s3, bucket, as_csv(GOOD[:1]))
    with pytest.raises(RuntimeError, match="already exists, made from something else"):
        estimate_requests(bucket)
    # By another model, it is another answer.
    newer = aws.Model("m", DecisionTreeRegressor(max_depth=3), DATASET, METADATA)
    newer._creation_time += timedelta(seconds=2)
    newer.put_model_to_s3(bucket, "models")
    estimate_requests(bucket)
    assert len(list_keys(s3, bucket)) == 4


def test_what_was_left_half_done_is_completed(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusals are there first, then the summary, then the estimates."""
    put_model(bucket)
    ask(s3, bucket, BAD_CSV.encode())
    publish = aws.MultipartUpload.publish
    published: list[str] = []

    def fail(upload: aws.MultipartUpload) -> bool:
        published.append(upload.address)
        if "refused" in upload.address:
            return publish(upload)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(aws.MultipartUpload, "publish", fail)
        with pytest.raises(KeyboardInterrupt):
            estimate_requests(bucket)
    assert [each.split("/")[1] for each in list_keys(s3, bucket)] == [
        "refused",
        "summaries",
    ]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    estimate_requests(bucket)
    assert len(read_csv_bytes(read_answer(s3, bucket, "estimates"))) == 4
    versions = s3.list_object_versions(Bucket=bucket, Prefix="estimates/")["Versions"]
    assert len(versions) == 3


def test_the_newest_request_is_answered_with_the_newest_model(
    s3: S3Client, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    put_model(bucket)
    future = datetime.now(UTC) + timedelta(days=2)
    ask(s3, bucket, as_csv(GOOD), "letter_2026-11-19.csv")
    ask(s3, bucket, as_parquet(GOOD), f"letter_{AT}.parquet")
    ask(s3, bucket, as_csv(GOOD), f"letter_{future:%Y-%m-%d}.csv")
    ask(s3, bucket, as_csv(GOOD), "letter_2026-11-21.txt")
    # Nobody waits for what is older.
    ask(s3, bucket, as_csv(GOOD), "letter_2026-11-18.txt")
    estimate_requests(bucket)
    assert read_summary(s3, bucket)["request"]["key"].endswith(f"{AT}.parquet")
    passed_over = [one for one in caplog.messages if one.startswith("Passed over")]
    assert len(passed_over) == 2
    assert "is dated in the future" in str(passed_over)
    assert "is .txt, not .csv" in str(passed_over)


def test_a_request_that_is_replaced_meanwhile_is_not_answered(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model(bucket)
    monkeypatch.setattr(aws.ranged_file, "PIECE_BYTES", 100)
    ask(s3, bucket, as_csv(GOOD))
    listed = aws.find_latest_artefact_on_s3("csv", bucket, "requests")
    ask(s3, bucket, as_csv(GOOD[::-1]))
    monkeypatch.setattr(aws, "find_latest_artefact_on_s3", lambda *_: listed)
    with pytest.raises(aws.Replaced, match="was replaced or deleted while it was read"):
        estimate_requests(bucket)
    assert_nothing_is_left(s3, bucket)


def test_without_requests_or_models_there_is_one_error(bucket: str) -> None:
    ended = run_here("pipeline.batch", bucket, "estimate")
    assert ended.returncode == 1
    [error] = ended.stdout.splitlines()
    assert "Error encountered when estimating a file of requests - No table" in error
    assert f"s3://{bucket}/requests/; deliver one named like name_2021-07" in error


@pytest.mark.process
def test_stopped_half_way_it_leaves_nothing(s3: S3Client, bucket: str) -> None:
    put_model(bucket)
    ask(s3, bucket, BAD_CSV.encode())
    command = [sys.executable, "-m", "pipeline.batch", bucket, "estimate"]
    with run_s3_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:

        def stop(request: Request, kind: str, count: int) -> None:
            if kind == "write estimates":
                process.send_signal(signal.SIGTERM)
            pass_on(request)

        proxy.fail = stop
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "AWS_ENDPOINT_URL": proxy.address},
            stdout=subprocess.PIPE,
            text=True,
        )
        log, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert "Stopped by SIGTERM when estimating a file of requests." in log
    assert_nothing_is_left(s3, bucket)
