"""A delivery of data, and where it came from."""

from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.aws.artefacts import (
    Replaced,
    S3Object,
    get_latest_object_from_s3,
    get_object_from_s3,
    put_object_to_s3,
)
from pipeline.aws.csv_text import GZIP_MAGIC, read_csv_text
from pipeline.aws.listing import (
    PARQUET_ENDINGS,
    S3TimestampedArtefact,
    make_timestamped_filename,
    survey_tables,
)
from pipeline.aws.memory import find_memory
from pipeline.aws.parquet_text import read_parquet_text
from pipeline.logs import printable

# The service describes its model's dataset too, and does without pandas.
if TYPE_CHECKING:
    from pandas import DataFrame


class Dataset(NamedTuple):
    """Data from S3 and its origin.

    Attributes:
        data: The rows, as read.
        datetime: The timestamp in the object's name, in UTC.
        hash: SHA-256 of the object's bytes, hexadecimal; of a folder, of a line for
            each part with the hash of its bytes and its name, as sha256sum prints them.
        version_id: S3's version of the object; "" if the bucket keeps none, and of a
            folder.
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


def get_dataset(artefact: S3TimestampedArtefact) -> Dataset:
    """Get a table that was listed, CSV or Parquet, each field as text: see
    `read_csv_text` and `read_parquet_text`.

    Raises:
        Replaced: It has been replaced or deleted since.
        S3Failure: S3 could not be read.
        TooLarge: It has too many columns, or takes more memory to train on than there
            is.
        ValueError: It cannot be read as what its name says.
    """
    if artefact.parts is not None:
        return _get_folder(artefact)
    found = _get_listed(artefact)
    if artefact.key.lower().endswith(PARQUET_ENDINGS):
        data = read_parquet_text([("it", found.content)], artefact.address)
    else:
        data = read_csv_text(found.content, artefact.address)
    return _dataset(data, found)


def _get_folder(artefact: S3TimestampedArtefact) -> Dataset:
    """Get the parts of a table, one after another, so that no two of their files are in
    memory at once.

    Raises:
        Exception: As for `get_dataset`.
    """
    hashes = sha256()

    def read() -> Iterator[tuple[str, bytes]]:
        for part in artefact.parts or ():
            found = _get_listed(part)
            name = part.key.removeprefix(f"{artefact.key}/")
            # As sha256sum prints them.
            hashes.update(f"{found.hash}  {name}\n".encode())
            yield name, found.content

    find_memory().refuse_more(artefact.address, 0, artefact.size)
    data = read_parquet_text(read(), artefact.address)
    return _describe(data, artefact, hashes.hexdigest())


def _get_listed(artefact: S3TimestampedArtefact) -> S3Object:
    """Get an object that was listed.

    Raises:
        Replaced, S3Failure, TooLarge: As for `get_dataset`.
    """
    found = get_object_from_s3(artefact)
    if found is None:
        raise Replaced(
            f"{artefact.address} was replaced or deleted after it was listed; wait "
            "until its delivery is complete, then retry."
        )
    return found


def get_dataset_from_s3(bucket: str, key: str) -> Dataset:
    """Get the table of one name, as `get_dataset` does.

    Raises:
        RuntimeError: There is none, nobody takes it, or S3 could not be read.
        TooLarge, ValueError: As for `get_dataset`.
    """
    usable, passed_over = survey_tables(bucket, key.rpartition("/")[0])
    for artefact in usable:
        if artefact.key == key:
            return get_dataset(artefact)
    address = printable(f"s3://{bucket}/{key}")
    for other in passed_over:
        if other.address.rstrip("/") == address:
            raise RuntimeError(f"{other.address} {other.reason}.")
    raise RuntimeError(f"There is no {address}; check its name.")


def get_latest_csv_dataset_from_s3(bucket: str, folder: str = "") -> Dataset:
    """Get the newest CSV, gzipped or not, in UTF-8 with or without a byte order mark.

    Raises:
        RuntimeError: There is none, or S3 could not be read.
        TooLarge: It has too many columns, or takes more memory to train on than there
            is.
        ValueError: The object cannot be read as CSV.
    """
    return _read_csv_dataset(get_latest_object_from_s3("csv", bucket, folder))


def get_latest_parquet_dataset_from_s3(bucket: str, folder: str = "") -> Dataset:
    """Get the newest Parquet file, with the types that its columns have.

    Raises:
        RuntimeError: There is none, or S3 could not be read.
        TooLarge: It has too many columns, or takes more memory to train on than there
            is.
        ValueError: The object cannot be read as Parquet.
    """
    from pandas import read_parquet

    found = get_latest_object_from_s3("parquet", bucket, folder)
    read_parquet_text([("it", found.content)], found.artefact.address)
    return _dataset(read_parquet(BytesIO(found.content)), found)


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
        ValueError: Its name has invisible characters.
    """
    return _describe(data, found.artefact, found.hash, found.version_id)


def _describe(
    data: "DataFrame",
    origin: S3TimestampedArtefact,
    content_hash: str,
    version_id: str = "",
) -> Dataset:
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
        content_hash,
        version_id,
    )
