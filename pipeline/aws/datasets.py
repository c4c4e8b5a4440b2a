"""A delivery of data, and where it came from."""

import csv
import gzip
import warnings
import zlib
from datetime import datetime
from io import BytesIO, TextIOWrapper
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.aws.artefacts import (
    DELIVER_LESS,
    MAX_BYTES,
    MAX_ROWS,
    S3Object,
    TooLarge,
    get_latest_object_from_s3,
    get_object_from_s3,
    list_artefacts_on_s3,
    make_timestamped_filename,
    put_object_to_s3,
)

# The service describes its model's dataset too, and does without pandas.
if TYPE_CHECKING:
    from pandas import DataFrame

GZIP_MAGIC = b"\x1f\x8b"

# Pandas takes up to a kilobyte of memory for each, even where it refuses them.
MAX_COLUMNS = 100
ROWS_AT_ONCE = 10
EXPANDED = "more bytes when it is expanded"


class Dataset(NamedTuple):
    """Data from S3 and its origin.

    Attributes:
        data: The rows, as read.
        datetime: The timestamp in the object's name, in UTC.
        hash: SHA-256 of the object's bytes, hexadecimal.
        version_id: S3's version of the object; "" if the bucket keeps none.
    """

    data: "DataFrame"
    datetime: datetime
    bucket: str
    key: str
    hash: str
    version_id: str = ""

    @property
    def address(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def get_latest_csv_dataset_from_s3(bucket: str, folder: str = "") -> Dataset:
    """Get the newest CSV, gzipped or not, in UTF-8 with or without a byte order mark.

    Raises:
        RuntimeError: There is none, or S3 could not be read.
        TooLarge: It has too many bytes, rows or columns to train on in the memory of
            the pod.
        ValueError: The object is not CSV in UTF-8.
    """
    return _read_csv_dataset(get_latest_object_from_s3("csv", bucket, folder))


def get_csv_dataset_from_s3(bucket: str, key: str) -> Dataset:
    """Get the CSV of one name, as `get_latest_csv_dataset_from_s3` gets the newest.

    Raises:
        RuntimeError: There is none, or S3 could not be read.
        TooLarge: It has too many bytes, rows or columns.
        ValueError: The object is not CSV in UTF-8.
    """
    for artefact in list_artefacts_on_s3("csv", bucket, key.rpartition("/")[0]):
        if artefact.key == key:
            found = get_object_from_s3(artefact)
            if found is not None:
                return _read_csv_dataset(found)
    raise RuntimeError(f"There is no s3://{bucket}/{key}; check its name.")


def get_latest_parquet_dataset_from_s3(bucket: str, folder: str = "") -> Dataset:
    """Get the newest Parquet file.

    Raises:
        RuntimeError: There is none, or S3 could not be read.
        TooLarge: It has too many bytes, rows or columns.
        ValueError: The object is not Parquet.
    """
    from pandas import read_parquet
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    found = get_latest_object_from_s3("parquet", bucket, folder)
    address = found.artefact.address
    try:
        file = ParquetFile(BytesIO(found.content))
        stated = file.metadata
        groups = map(stated.row_group, range(stated.num_row_groups))
        columns = map(stated.schema.column, range(stated.num_columns))
        _refuse_too_large(address, stated.num_rows, stated.num_columns)
        if any(column.max_repetition_level for column in columns):
            raise ValueError("a column holds lists")
        if sum(group.total_byte_size for group in groups) > MAX_BYTES:
            raise TooLarge(address, EXPANDED, MAX_BYTES, DELIVER_LESS)
        # A value that many rows refer to is stated once.
        expanded = 0
        for rows in file.iter_batches(ROWS_AT_ONCE):
            expanded += rows.nbytes
            if expanded > MAX_BYTES:
                raise TooLarge(address, EXPANDED, MAX_BYTES, DELIVER_LESS)
        data = read_parquet(BytesIO(found.content))
    except (ValueError, OSError, ArrowException) as error:
        raise ValueError(
            f"{address} is not a Parquet file ({error}); deliver it again."
        ) from error
    return _dataset(data, found)


def put_csv_dataset_to_s3(
    data: "DataFrame",
    filename_prefix: str,
    ref_datetime: datetime,
    bucket: str,
    folder: str = "",
    **kwargs: Any,
) -> str:
    """Add a data frame to S3 as CSV, without its index.

    Args:
        ref_datetime: Becomes the timestamp in the object's name, in UTC.
        kwargs: For `pandas.DataFrame.to_csv`.

    Returns:
        The location, as `bucket/folder/filename`.

    Raises:
        RuntimeError: Another object has that name, or S3 could not be written to.
    """
    content = data.to_csv(**{"index": False, **kwargs}).encode("utf-8")
    filename = make_timestamped_filename(filename_prefix, ref_datetime, "csv")
    return _put_dataset(content, bucket, folder, filename)


def put_parquet_dataset_to_s3(
    data: "DataFrame",
    filename_prefix: str,
    ref_datetime: datetime,
    bucket: str,
    folder: str = "",
    **kwargs: Any,
) -> str:
    """Add a data frame to S3 as Parquet, without its index.

    Args:
        ref_datetime: Becomes the timestamp in the object's name, in UTC.
        kwargs: For `pandas.DataFrame.to_parquet`.

    Returns:
        The location, as `bucket/folder/filename`.

    Raises:
        RuntimeError: Another object has that name, or S3 could not be written to.
    """
    content: bytes = data.to_parquet(None, **{"index": False, **kwargs})
    filename = make_timestamped_filename(filename_prefix, ref_datetime, "parquet")
    return _put_dataset(content, bucket, folder, filename)


def _read_csv_dataset(found: S3Object) -> Dataset:
    from pandas import read_csv
    from pandas.errors import ParserError, ParserWarning

    address = found.artefact.address
    try:
        content = _expand(found.content, address)
        _refuse_too_large(address, *_count_rows_and_columns(content))
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)
            data = read_csv(
                BytesIO(content),
                encoding="utf-8-sig",
                index_col=False,
                low_memory=False,
            )
    except (
        *(ValueError, ParserError, ParserWarning, csv.Error),
        *(OSError, EOFError, zlib.error),
    ) as e:
        raise ValueError(
            f"{address} is not a CSV file in UTF-8 ({str(e).strip()}); "
            "deliver it again as comma-separated text with a header line."
        ) from e
    return _dataset(data, found)


def _expand(content: bytes, address: str) -> bytes:
    """Expand what is gzipped, as far as it is taken.

    Raises:
        TooLarge: It goes on.
    """
    if not content.startswith(GZIP_MAGIC):
        return content
    with gzip.GzipFile(fileobj=BytesIO(content)) as expanded:
        content = expanded.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise TooLarge(address, EXPANDED, MAX_BYTES, DELIVER_LESS)
    return content


def _count_rows_and_columns(content: bytes) -> tuple[int, int]:
    """Count the rows of a CSV below its header, and the columns of the widest.

    Pandas does so as well, but takes the memory for all of them first.

    Raises:
        csv.Error: A field has more than 131,072 characters.
        ValueError: It is not in UTF-8.
    """
    rows, columns = -1, 0
    with TextIOWrapper(BytesIO(content), "utf-8-sig", newline="") as text:
        for row in csv.reader(text):
            rows += bool(row)
            columns = max(columns, len(row))
    return rows, columns


def _refuse_too_large(address: str, rows: int, columns: int) -> None:
    """Refuse a dataset before the memory for it is taken.

    Raises:
        TooLarge: It has too many rows or columns.
    """
    if rows > MAX_ROWS:
        raise TooLarge(address, f"{rows:,} rows", MAX_ROWS, DELIVER_LESS)
    if columns > MAX_COLUMNS:
        remedy = "deliver it with fewer columns under a newer timestamp"
        raise TooLarge(address, f"{columns:,} columns", MAX_COLUMNS, remedy)


def _put_dataset(content: bytes, bucket: str, folder: str, filename: str) -> str:
    location = "/".join(filter(None, [bucket, folder.strip("/"), filename]))
    if not put_object_to_s3(content, bucket, folder, filename):
        raise RuntimeError(
            f"s3://{location} already exists with other content and is not "
            "overwritten; deliver under a newer timestamp."
        )
    return location


def _dataset(data: "DataFrame", found: S3Object) -> Dataset:
    """Put together what was read and where it came from.

    Raises:
        ValueError: Its name is none for logs and metadata.
    """
    origin = found.artefact
    if not origin.key.isprintable():
        raise ValueError(
            f"{origin.address} has invisible characters in its name; deliver it again "
            "under another one."
        )
    return Dataset(
        data,
        origin.timestamp,
        origin.bucket,
        origin.key,
        found.hash,
        found.version_id,
    )
