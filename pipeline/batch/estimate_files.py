"""Files of estimates, written in pieces, in the format of the request."""

import gzip
from abc import ABC, abstractmethod
from io import IOBase

import numpy as np
import pyarrow as pa
from pyarrow import csv
from pyarrow.parquet import ParquetWriter

from pipeline.batch.csv_lines import make_lines
from pipeline.batch.many_curves import DECIMALS

MOST_DIGITS = 18
# As far as a double knows all of its decimals.
MOST_AS_DECIMAL = 1e11
# What is held until it is written as a row group, the least that others read at once.
ROW_GROUP_BYTES = 2**23
# Almost as small as at its slowest, in a third of the time.
GZIP_LEVEL = 1


class EstimateFile(ABC):
    """A file of one schema, written in pieces."""

    @abstractmethod
    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows.

        Raises:
            S3Failure: S3 could not be written to.
        """

    @abstractmethod
    def finish(self) -> None:
        """Write what stands at the end.

        Raises:
            S3Failure: S3 could not be written to.
        """


class CsvFile(EstimateFile):
    """CSV in UTF-8."""

    def __init__(self, file: IOBase, schema: pa.Schema) -> None:
        file.write(make_lines([schema.names]))
        self._file = file

    def write(self, rows: pa.RecordBatch) -> None:
        self._file.write(make_csv(rows))

    def finish(self) -> None:
        """Nothing stands at its end."""


class GzippedCsvFile(CsvFile):
    """CSV in UTF-8, gzipped: the same bytes for the same rows."""

    def __init__(self, file: IOBase, schema: pa.Schema) -> None:
        self._gzip = gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0)
        super().__init__(self._gzip, schema)

    def finish(self) -> None:
        self._gzip.close()


class ParquetFile(EstimateFile):
    """Parquet, with what the schema of the request says beside its columns."""

    def __init__(self, file: IOBase, schema: pa.Schema) -> None:
        texts = [each.name for each in schema if pa.types.is_string(each.type)]
        self._writer = ParquetWriter(file, schema, use_dictionary=texts)
        self._waiting: list[pa.RecordBatch] = []

    def write(self, rows: pa.RecordBatch) -> None:
        self._waiting.append(rows)
        if sum(each.nbytes for each in self._waiting) >= ROW_GROUP_BYTES:
            self._write_row_group()

    def finish(self) -> None:
        self._write_row_group()
        self._writer.close()

    def _write_row_group(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting))
            self._waiting.clear()


def make_csv(rows: pa.RecordBatch) -> pa.Buffer:
    """Make lines of CSV; with quotes, in all texts, only if a field needs them."""
    columns = [
        as_decimals(column) if pa.types.is_float64(column.type) else column
        for column in rows.columns
    ]
    written = pa.RecordBatch.from_arrays(columns, rows.schema.names)
    for quoting in ("none", "needed"):
        lines = pa.BufferOutputStream()
        options = csv.WriteOptions(
            include_header=False,
            batch_size=max(rows.num_rows, 1),
            quoting_style=quoting,
        )
        try:
            csv.write_csv(written, lines, options)
            break
        except pa.ArrowInvalid:
            if quoting == "needed":
                raise
    return lines.getvalue()


def as_decimals(hours: pa.Array) -> pa.Array:
    """Make decimals of rounded hours, as the service writes them, and in half the time.

    Hours that are too many for that stay as they are.
    """
    values = hours.to_numpy(zero_copy_only=False)
    if (np.abs(values) >= MOST_AS_DECIMAL).any():
        return hours
    units = np.rint(np.nan_to_num(values) * 10**DECIMALS).astype(np.int64)
    integers = pa.array(units, mask=np.isnan(values))
    return pa.Array.from_buffers(
        pa.decimal64(MOST_DIGITS, DECIMALS), len(units), integers.buffers()
    )
