"""A delivery of data, and where it came from."""

from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.aws.artefacts import (
    Replaced,
    S3Object,
    get_latest_object_from_s3,
    get_object_from_s3,
    put_object_to_s3,
)
from pipeline.aws.formats import DELIVER_LESS, MAX_BYTES, TooLarge
from pipeline.aws.listing import (
    S3TimestampedArtefact,
    list_artefacts_on_s3,
    make_timestamped_filename,
)
from pipeline.aws.csv_text import (
    EXPANDED,
    GZIP_MAGIC,
    read_csv_text,
    refuse_too_large,
)

# The service describes its model's dataset too, and does without pandas.
if TYPE_CHECKING:
    from pandas import DataFrame

ROWS_AT_ONCE = 10


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


def get_csv_dataset(artefact: S3TimestampedArtefact) -> Dataset:
    """Get a CSV that was listed, each field as text: see `read_csv_text`.

    Raises:
        Replaced: It has been replaced or deleted since.
        S3Failure: S3 could not be read.
        TooLarge: It has too many bytes, rows or columns to train on in the memory of
            the pod.
        ValueError: The object cannot be read as CSV.
    """
    found = get_object_from_s3(artefact)
    if found is None:
        raise Replaced(
            f"{artefact.address} was replaced or deleted after it was listed; wait "
            "until its delivery is complete, then retry."
        )
    return _dataset(read_csv_text(found.content, artefact.address), found)


def get_latest_csv_dataset_from_s3(bucket: str, folder: str = "") -> Dataset:
    """Get the newest CSV, gzipped or not, in UTF-8 with or without a byte order mark.

    Raises:
        RuntimeError: There is none, or S3 could not be read.
        TooLarge: It has too many bytes, rows or columns to train on in the memory of
            the pod.
        ValueError: The object cannot be read as CSV.
    """
    return _read_csv_dataset(get_latest_object_from_s3("csv", bucket, folder))


def get_csv_dataset_from_s3(bucket: str, key: str) -> Dataset:
    """Get the CSV of one name, as `get_latest_csv_dataset_from_s3` gets the newest.

    Raises:
        RuntimeError: There is none, or S3 could not be read.
        TooLarge: It has too many bytes, rows or columns.
        ValueError: The object cannot be read as CSV.
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
        refuse_too_large(address, stated.num_rows, stated.num_columns)
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
    """Read a CSV with numbers and flags converted as pandas does, rows from 0."""
    from pandas import read_csv

    read_csv_text(found.content, found.artefact.address)
    data = read_csv(
        BytesIO(found.content),
        compression="gzip" if found.content.startswith(GZIP_MAGIC) else None,
        encoding="utf-8-sig",
        index_col=False,
        low_memory=False,
    )
    return _dataset(data, found)


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
