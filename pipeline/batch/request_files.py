"""Files of requests, read in pieces: CSV, gzipped or not, and Parquet."""

import gzip
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from io import IOBase
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv
from pyarrow.parquet import ParquetFile

from pipeline import aws
from pipeline.batch.checked_rows import is_text
from pipeline.logs import printable, show_values, tell_count
from pipeline.orders import ORDERS_PLACED, PRODUCT_CODE

CSV_BLOCK_BYTES = 2**19
# Of Parquet, at a time, in all columns together.
FIELDS = 2**17
BUFFER_BYTES = 8 * 2**20
# Of its end, which tells where the columns are.
PARQUET_PIECE_BYTES = 2**16
LONGEST_TEXT = 200
GZIP_MAGIC = b"\x1f\x8b"

AND_DELIVER = "and deliver it again under a newer timestamp"


class UnevenRow(NamedTuple):
    """A row with another number of fields than the header.

    Attributes:
        number: Of the row.
        text: Its beginning.
    """

    number: int
    fields: int
    expected: int
    text: str

    @property
    def fault(self) -> str:
        found = tell_count(self.fields, "field")
        return f"It has {found}, the header {self.expected}: {printable(self.text)}"


class Piece(NamedTuple):
    """Rows of a request, one after the other.

    Attributes:
        rows: As they stand in the file, those of CSV as text.
        first: Number of the first one, whether it is even or not.
        uneven: Those between them that could not be split into the same fields.
    """

    rows: pa.RecordBatch
    first: int
    uneven: list[UnevenRow]

    def number_rows(self) -> NDArray[np.int64]:
        """The number of each row that could be split, shape (rows,)."""
        count = self.rows.num_rows + len(self.uneven)
        places = [each.number - self.first for each in self.uneven]
        return np.delete(np.arange(self.first, self.first + count), places)


class Request(NamedTuple):
    """A file of requests.

    Attributes:
        schema: Of its columns; those of CSV are text.
        pieces: Of its rows; raises S3Failure, Replaced, or ValueError for what cannot
            be read, in a sentence.
    """

    schema: pa.Schema
    pieces: Iterator[Piece]


def open_csv(artefact: aws.S3TimestampedArtefact, new_columns: list[str]) -> Request:
    """Open a CSV in UTF-8, gzipped or not.

    Its header is row 1; blank lines are no rows.

    Args:
        new_columns: What it cannot have, for the answer does.

    Raises:
        Replaced, S3Failure: It could not be read.
        TooLarge: It has too many columns.
        ValueError: It is no such file; says what it is, and what to do.
    """
    address = artefact.address
    file: aws.RangedFile | gzip.GzipFile = aws.RangedFile(artefact)
    with refusing_csv(address):
        is_gzipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        if is_gzipped:
            file = gzip.GzipFile(fileobj=file)
        names = aws.read_csv_header(file, address)
        file.seek(0)
    check_columns(address, names, new_columns)
    schema = pa.schema([(name, pa.string()) for name in names])
    return Request(schema, split_csv(file, address, schema))


def split_csv(file: IOBase, address: str, schema: pa.Schema) -> Iterator[Piece]:
    # Of rows to come as well, for the reader is ahead by some blocks.
    uneven: deque[UnevenRow] = deque()

    def keep(row: Any) -> str:
        text = row.text[:LONGEST_TEXT]
        expected, fields = row.expected_columns, row.actual_columns
        uneven.append(UnevenRow(row.number, fields, expected, text))
        return "error" if holds_line_end(row.text.encode()) else "skip"

    with refusing_csv(address):
        reader = csv.open_csv(
            file,
            # The header is read as a row: there is one at once, whatever follows it.
            csv.ReadOptions(
                use_threads=False, block_size=CSV_BLOCK_BYTES, column_names=schema.names
            ),
            csv.ParseOptions(invalid_row_handler=keep),
            csv.ConvertOptions(column_types=schema),
        )
    first, is_header_there = 1, True
    while True:
        with refusing_csv(address):
            rows = next(reader, None)
            if rows is None:
                return
            for column in rows.columns:
                refuse_line_ends(column, first)
        if is_header_there and rows.num_rows:
            rows, first, is_header_there = rows.slice(1), 2, False
        among: list[UnevenRow] = []
        end = first + rows.num_rows
        while uneven and uneven[0].number <= end:
            among.append(uneven.popleft())
            end += 1
        yield Piece(rows, first, among)
        first = end


def holds_line_end(content: bytes) -> bool:
    return b"\n" in content or b"\r" in content


def refuse_line_ends(column: pa.Array, first: int) -> None:
    """Refuse a field with a line end: rows that a quote has swallowed would be lost.

    Raises:
        Unreadable: There is one.
    """
    text = column.buffers()[2]
    if text is not None and holds_line_end(text.to_pybytes()):
        raise aws.Unreadable(
            f"in or behind row {first:,}, a field goes on in the next line, as if a "
            "quote were never closed",
            "correct its quotes",
        )


@contextmanager
def refusing_csv(address: str) -> Iterator[None]:
    """Turn what goes wrong when a CSV is read into a sentence.

    Raises:
        ValueError: Says what is wrong with it, and what to do.
    """
    with aws.refusing_unreadable_csv(address), aws.refusing_damaged_gzip():
        try:
            yield
        except pa.ArrowInvalid as error:
            message = str(error)
            if "invalid UTF8" in message:
                row = message.partition("Row #")[2].partition(":")[0]
                raise aws.Unreadable(
                    f"row {row} is not in UTF-8", "save it in UTF-8"
                ) from error
            raise aws.Unreadable(
                "it cannot be split into rows, as if a quote were never closed or a "
                f"row had more than {CSV_BLOCK_BYTES:,} bytes",
                "correct its quotes",
            ) from error


def open_parquet(
    artefact: aws.S3TimestampedArtefact, new_columns: list[str]
) -> Request:
    """Open a Parquet file; its first row is row 1.

    Args:
        new_columns: What it cannot have, for the answer does.

    Raises:
        Replaced, S3Failure: It could not be read.
        TooLarge: It has too many columns.
        ValueError: It is no such file; says what is wrong, and what to do.
    """
    address = artefact.address
    with refusing_parquet(address):
        source = aws.RangedFile(artefact, PARQUET_PIECE_BYTES)
        columns = ParquetFile(source).metadata.num_columns
        aws.refuse_more_columns(address, columns)
        file = ParquetFile(source, buffer_size=BUFFER_BYTES // max(columns, 1))
        schema = file.schema_arrow
    check_columns(address, schema.names, new_columns)
    check_types(address, schema)
    return Request(schema, split_parquet(file, address))


def split_parquet(file: ParquetFile, address: str) -> Iterator[Piece]:
    columns = file.metadata.num_columns
    batches = file.iter_batches(FIELDS // columns, use_threads=False)
    first = 1
    while True:
        with refusing_parquet(address):
            rows = next(batches, None)
            if rows is None:
                return
            # Nobody else looks whether texts are in UTF-8.
            rows.validate(full=True)
        yield Piece(rows, first, [])
        first += rows.num_rows


@contextmanager
def refusing_parquet(address: str) -> Iterator[None]:
    """Turn what goes wrong when a Parquet file is read into a sentence.

    Raises:
        ValueError: Says what is wrong with it, and what to do.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = printable(str(error)[:LONGEST_TEXT]).rstrip(".")
        raise ValueError(
            f"{address} cannot be read as Parquet: {reason}; write it anew, "
            f"{AND_DELIVER}."
        ) from error


def check_columns(address: str, names: list[str], new_columns: list[str]) -> None:
    """Make sure that a file asks for something, and can be answered.

    Raises:
        ValueError: A column is missing, or has a name that the answer needs.
    """
    missing = [name for name in (PRODUCT_CODE, ORDERS_PLACED) if name not in names]
    if missing:
        raise ValueError(
            f"{address} has no column {' and no '.join(missing)}, but "
            f"{show_values(names)}; name the columns so, {AND_DELIVER}."
        )
    taken = [name for name in new_columns if name in names]
    if taken or len({*names}) < len(names):
        raise ValueError(
            f"{address} has a column {show_values(taken)}, as its estimates do; give "
            f"it another name, {AND_DELIVER}."
            if taken
            else f"{address} has two columns of one name ({show_values(names)}); give "
            f"each a name of its own, {AND_DELIVER}."
        )


def check_types(address: str, schema: pa.Schema) -> None:
    """Make sure that columns hold what they are to hold.

    Raises:
        ValueError: Product codes are no text, or the orders placed no numbers.
    """
    for name, is_allowed, wanted in (
        (PRODUCT_CODE, is_text, "text"),
        (ORDERS_PLACED, is_text_or_number, "numbers"),
    ):
        found = schema.field(name).type
        if not is_allowed(found):
            raise ValueError(
                f"The column {name} of {address} is of type {found}, and not of "
                f"{wanted}; write it so, {AND_DELIVER}."
            )


def is_text_or_number(found: pa.DataType) -> bool:
    of_numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return is_text(found) or any(each(found) for each in of_numbers)
