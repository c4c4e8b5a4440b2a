"""Parquet is read as text, as a CSV of the same values would be."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pandas import DataFrame, RangeIndex
from pandas.testing import assert_frame_equal
from pyarrow.parquet import write_table

from pipeline import aws
from pipeline.aws.csv_text import read_csv_text
from pipeline.aws.memory import BYTES_ANYWAY, BYTES_PER_BYTE
from pipeline.aws.parquet_text import read_parquet_text
from pipeline.gates import examine_delivery
from sandbox.orders import make_week
from tests.aws.test_memory import limit_memory

# Of each kind that can stand as text in a field.
PLAIN: dict[str, tuple[Any, list[Any]]] = {
    "text": (pyarrow.array(["x", "", None]), ["x", None, None]),
    "references to text": (
        pyarrow.array(["x", "y", None]).dictionary_encode(),
        ["x", "y", None],
    ),
    "long text": (pyarrow.array(["x"] * 3, pyarrow.large_string()), ["x"] * 3),
    "whole numbers": (pyarrow.array([1, 2**53 + 1, None]), ["1", f"{2**53 + 1}", None]),
    "floats": (
        pyarrow.array([12.0, 15.862958518302616, None]),
        ["12", "15.862958518302616", None],
    ),
    "no numbers": (
        pyarrow.array([float("nan"), float("inf"), -0.5]),
        ["nan", "inf", "-0.5"],
    ),
    "single precision": (
        pyarrow.array([0.1, 1, 2], pyarrow.float32()),
        ["0.1", "1", "2"],
    ),
    "decimals": (pyarrow.array([Decimal("1.50")] * 3), ["1.50"] * 3),
    "truth": (pyarrow.array([True, False, None]), ["true", "false", None]),
    "nothing": (pyarrow.array([None] * 3), [None] * 3),
    "days": (pyarrow.array([date(2021, 7, 2)] * 3), ["2021-07-02"] * 3),
    "times": (
        pyarrow.array([datetime(2021, 7, 2, tzinfo=UTC)] * 3),
        ["2021-07-02 00:00:00.000000Z"] * 3,
    ),
}


def write(columns: Mapping[str, Any], **options: Any) -> bytes:
    file = BytesIO()
    write_table(pyarrow.table(dict(columns)), file, **options)
    return file.getvalue()


def expect(columns: Mapping[str, list[Any]]) -> DataFrame:
    rows = len(next(iter(columns.values())))
    index = RangeIndex(1, rows + 1, name="row")
    return DataFrame(dict(columns), index=index, dtype="str")


def test_each_field_is_text_as_it_would_stand_in_a_csv() -> None:
    content = write({name: values for name, (values, _) in PLAIN.items()})
    expected = expect({name: texts for name, (_, texts) in PLAIN.items()})
    assert_frame_equal(read_parquet_text([("it", content)], "week"), expected)


def test_parts_follow_one_another_and_their_columns_go_by_name() -> None:
    parts = [
        ("part-0", write({"code": ["A", "B"], "placed": [1, 2]})),
        ("part-1", write({"code": pyarrow.array([], "string"), "placed": []})),
        ("part-2", write({"placed": [2.5], "code": ["C"]})),
    ]
    expected = expect({"code": ["A", "B", "C"], "placed": ["1", "2", "2.5"]})
    assert_frame_equal(read_parquet_text(parts, "week"), expected)


def test_a_table_without_rows_has_its_columns() -> None:
    data = read_parquet_text([("it", write({"a": pyarrow.array([], "int64")}))], "week")
    assert list(data.columns) == ["a"] and data.empty


GOOD = write({"a": [1]})
FAULTS: dict[str, tuple[list[tuple[str, bytes]], str]] = {
    "no parts": ([], "it has no parts, or no columns; write it anew"),
    "no Parquet": (
        [("part-0", GOOD), ("part-1", b"a\n1\n")],
        "part-1 is no Parquet, or damaged (Parquet file size is 4 bytes",
    ),
    "torn": (
        [("part-0", GOOD[:-9] + GOOD[-8:])],
        "part-0 is no Parquet, or damaged (",
    ),
    "other columns": (
        [("part-0", GOOD), ("part-1", write({"a": [1], "b": [2]}))],
        "part-1 has the columns a, b, and part-0 has a; write the same into all parts",
    ),
    "lists": (
        [("part-0", GOOD), ("part-1", write({"a": [[1]]}))],
        "column a of part-1 holds list<element: int64>; write numbers or text there, ",
    ),
    "structures": (
        [("part-0", write({"a": [{"b": 1}]}))],
        "column a of part-0 holds struct<b: int64>; write numbers",
    ),
    "bytes": (
        [("part-0", write({"a": [b"x"]}))],
        "column a of part-0 holds binary; write numbers",
    ),
    "two columns of one name": (
        [("part-0", write({"a": [1], "a ": [2]}))],
        "columns 1 and 2 of part-0 are both named a; give each column a name of its",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_with_the_part_and_what_to_do(fault: str) -> None:
    parts, sentence = FAULTS[fault]
    with pytest.raises(ValueError) as refusal:
        read_parquet_text(parts, "s3://b/week.parquet")
    told = str(refusal.value)
    assert told.startswith(f"s3://b/week.parquet cannot be read as Parquet: {sentence}")
    assert told.endswith(", and deliver it again under a newer timestamp.")
    assert told.isprintable()


@pytest.mark.parametrize("encoding", ["RLE_DICTIONARY", "DELTA_BYTE_ARRAY"])
def test_a_text_that_little_is_stored_of_is_refused_before_it_is_repeated(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(tmp_path, BYTES_ANYWAY + 10 * 2**20 * BYTES_PER_BYTE, monkeypatch)
    options: dict[str, Any] = {"use_dictionary": ["a"]}
    if encoding == "DELTA_BYTE_ARRAY":
        options = {"use_dictionary": False, "column_encoding": {"a": encoding}}
    content = write({"a": ["x" * 2**20] * 100}, compression="zstd", **options)
    assert len(content) < 20_000
    usual = pyarrow.default_memory_pool()
    counted = pyarrow.proxy_memory_pool(usual)
    pyarrow.set_memory_pool(counted)
    try:
        with pytest.raises(aws.TooLarge, match="which take .* of memory to train on"):
            read_parquet_text([("it", content)], "week")
    finally:
        pyarrow.set_memory_pool(usual)
    assert counted.max_memory() < 50 * 2**20


def test_the_gates_see_in_parquet_what_they_see_in_the_csv() -> None:
    week = make_week(rows=1000, seed=1)
    week.loc[7, "hours_to_dispatch"] = 400.0
    from_csv = read_csv_text(week.to_csv(index=False).encode(), "week")
    from_parquet = read_parquet_text([("it", week.to_parquet(index=False))], "week")
    of_csv, of_parquet = (
        examine_delivery(data, "week", None) for data in (from_csv, from_parquet)
    )
    assert_frame_equal(
        of_csv.orders.reset_index(drop=True), of_parquet.orders.reset_index(drop=True)
    )
    # The eighth row, after the line of the header.
    [told_csv], [told_parquet] = of_csv.warnings, of_parquet.warnings
    assert ": line 9: SKU" in told_csv
    assert told_parquet == told_csv.replace("line 9", "row 8")
