"""Parquet as text: each field as it would stand in a CSV, so that the same gates do.

A table is one file, or its parts one after another.
"""

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING

from pipeline.aws.csv_text import (
    Unreadable,
    refuse_columns_of_one_name,
    refuse_more_columns,
)
from pipeline.aws.memory import Memory, find_memory
from pipeline.logs import printable, show_values

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import Array, DataType, RecordBatch, Schema
    from pyarrow.parquet import FileMetaData

# What the rows of a table are counted as that has no lines.
ROW = "row"
ROWS_AT_ONCE = 10_000
# In this encoding a long text takes little room again and again, and nothing tells
# before it is read.
SHARED_PREFIXES, FEW_ROWS = "DELTA_BYTE_ARRAY", 10
LONGEST_REASON = 100


def read_parquet_text(
    parts: Iterable[tuple[str, bytes]], address: str
) -> "DataFrame":
    """Read Parquet.

    Args:
        parts: Their names and contents, taken one by one.
        address: Where they lie, for the refusal.

    Returns:
        All columns as delivered, each as text, missing where there is none or it is
        empty. The index, named "row", counts the rows of all parts from 1.

    Raises:
        TooLarge: It has too many columns, or takes more memory to train on than there
            is.
        ValueError: It is not such a table; names the part, and says what to do.
    """
    from pandas import RangeIndex
    from pyarrow import Table

    reader = _Reader(address, find_memory())
    try:
        batches = [batch for part in parts for batch in reader.read(*part)]
        if not reader.columns:
            raise Unreadable("it has no parts, or no columns", "write it anew")
    except Unreadable as fault:
        raise ValueError(
            f"{address} cannot be read as Parquet: {fault}, and deliver it again under "
            "a newer timestamp."
        ) from fault
    schema = _as_text(reader.columns)
    data: DataFrame = Table.from_batches(batches, schema).to_pandas()
    return data.set_axis(RangeIndex(1, len(data) + 1, name=ROW))


class _Reader:
    """Reads one part after another, and counts.

    Attributes:
        columns: Names of those of the first part; empty before it is read.
        first: Its name.
        rows, size: How many were read, and the bytes of their text.
    """

    def __init__(self, address: str, memory: Memory) -> None:
        self.address, self.memory = address, memory
        self.columns: list[str] = []
        self.first = ""
        self.rows = self.size = 0

    def read(self, name: str, content: bytes) -> "Iterator[RecordBatch]":
        """Read a part as text, its columns in the order of the first one.

        Raises:
            TooLarge: There is more than fits into the memory.
            Unreadable: It is no Parquet, or unlike the first.
        """
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile, read_metadata

        name = printable(name)
        try:
            stated = read_metadata(BytesIO(content))
            self._look_at(name, stated)
            repeated, rows_at_once = _plan(stated)
            file = ParquetFile(BytesIO(content), read_dictionary=repeated)
            for batch in file.iter_batches(rows_at_once, columns=self.columns):
                yield self._take(batch)
        except (ArrowException, OSError) as error:
            reason = printable(str(error).partition("\n")[0][:LONGEST_REASON])
            fault = f"{name} is no Parquet, or damaged ({reason})"
            raise Unreadable(fault, "write it anew") from error

    def _look_at(self, name: str, stated: "FileMetaData") -> None:
        """Refuse by what a part says of itself.

        Raises:
            ArrowException, TooLarge, Unreadable: As for `read`.
        """
        groups = map(stated.row_group, range(stated.num_row_groups))
        size = self.size + sum(group.total_byte_size for group in groups)
        refuse_more_columns(self.address, stated.num_columns)
        self.memory.refuse_more(self.address, self.rows + stated.num_rows, size)
        schema = stated.schema.to_arrow_schema()
        for field in schema:
            if not _is_plain(field.type):
                raise Unreadable(
                    f"column {show_values([field.name])} of {name} holds "
                    f"{printable(str(field.type))[:LONGEST_REASON]}",
                    "write numbers or text there, or leave it out",
                )
        refuse_columns_of_one_name(schema.names, f"of {name}")
        if not self.columns:
            self.columns, self.first = schema.names, name
        elif {*schema.names} != {*self.columns}:
            raise Unreadable(
                f"{name} has the columns {show_values(schema.names)}, and {self.first} "
                f"has {show_values(self.columns)}",
                "write the same into all parts",
            )

    def _take(self, batch: "RecordBatch") -> "RecordBatch":
        """Make text of rows.

        Raises:
            TooLarge: It is more than fits into the memory.
        """
        from pyarrow import RecordBatch

        self.rows += batch.num_rows
        self.size += sum(map(_measure, batch.columns))
        self.memory.refuse_more(self.address, self.rows, self.size)
        texts = [*map(_write, batch.columns)]
        return RecordBatch.from_arrays(texts, schema=_as_text(self.columns))


def _plan(stated: "FileMetaData") -> tuple[list[str], int]:
    """Choose which columns to read as references to their distinct values, and how many
    rows at once, so that no text is repeated before it is measured."""
    from pyarrow import types

    shared = {
        column.path_in_schema
        for group in map(stated.row_group, range(stated.num_row_groups))
        for column in map(group.column, range(group.num_columns))
        if SHARED_PREFIXES in column.encodings
    }
    texts = {
        field.name
        for field in stated.schema.to_arrow_schema()
        if types.is_string(field.type) or types.is_large_string(field.type)
    }
    return sorted(texts - shared), FEW_ROWS if shared else ROWS_AT_ONCE


def _is_plain(type_: "DataType") -> bool:
    """Whether its values can stand as text in a field."""
    from pyarrow import types

    if types.is_dictionary(type_):
        return _is_plain(type_.value_type)
    return any(
        is_one(type_)
        for is_one in (
            types.is_integer,
            types.is_floating,
            types.is_decimal,
            types.is_boolean,
            types.is_null,
            types.is_string,
            types.is_large_string,
            types.is_date,
            types.is_timestamp,
        )
    )


def _as_text(columns: list[str]) -> "Schema":
    from pyarrow import large_string, schema

    return schema([(column, large_string()) for column in columns])


def _measure(values: "Array") -> int:
    """How many bytes values take, each where it is repeated as well."""
    from pyarrow import DictionaryArray, compute

    if not isinstance(values, DictionaryArray):
        return int(values.nbytes)
    if not len(values.dictionary):
        return 0
    lengths = compute.binary_length(_write(values.dictionary))
    return compute.sum(lengths.take(values.indices)).as_py() or 0


def _write(values: "Array") -> "Array":
    """Write values as text; empty ones are missing, as in a CSV."""
    from pyarrow import compute, large_string, scalar

    texts = compute.cast(values, large_string())
    nothing = scalar(None, large_string())
    return compute.if_else(compute.equal(texts, ""), nothing, texts)
