"""Timestamped objects on S3: find the latest, get it, put a new one."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from time import sleep
from typing import TYPE_CHECKING, NamedTuple

from pipeline.aws.client import (
    error_code,
    explain_s3_errors,
    s3_client,
    within_deadline,
)
from pipeline.aws.pickling import MAX_BYTES as MAX_MODEL_BYTES
from pipeline.logs import printable

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import ObjectTypeDef


class FileFormat(NamedTuple):
    """What the objects of one format are called, and how large they may be.

    Attributes:
        max_bytes: A larger object is not read.
        remedy: What to do about one that is larger.
    """

    endings: tuple[str, ...]
    max_bytes: int
    remedy: str


# 5,000 products of 20 orders each, and some more. To read so many takes 15 MiB and
# 0.4 s; in as many bytes and columns as are taken, 130 MiB and 2 s. A week has 1,000.
MAX_ROWS = 120_000
DELIVER_LESS = f"deliver one week, at most {MAX_ROWS:,} rows, under a newer timestamp"
# Four times what so many rows take; a week takes 31 kB.
MAX_BYTES = 16 * 2**20
FILE_FORMATS = {
    "csv": FileFormat((".csv", ".csv.gz"), MAX_BYTES, DELIVER_LESS),
    "parquet": FileFormat((".parquet",), MAX_BYTES, DELIVER_LESS),
    "pkl": FileFormat((".pkl",), MAX_MODEL_BYTES, "train a new model in its place"),
}
ATTEMPTS = 3
SHA256 = "sha256"

TIMESTAMP = re.compile(
    r"(?<!\d)(\d{4}-\d{2}-\d{2})"
    r"(?:[T _:|-](\d{2})[:|_-](\d{2})[:|_-](\d{2})(?:\.\d+)?Z?)?(?!\d)"
)


@dataclass(frozen=True)
class S3TimestampedArtefact:
    """An object on S3 as it was listed.

    Attributes:
        timestamp: What the object's name says, in UTC.
        last_modified: When S3 took the object; decides between equal timestamps.
        etag: Identifies the listed content, so that no other can be read in its place.
        size: In bytes.
    """

    bucket: str
    key: str
    timestamp: datetime
    last_modified: datetime
    etag: str
    size: int

    @property
    def address(self) -> str:
        """Where it is, for logs: its key, anyone's, must not write lines of its own."""
        return printable(f"s3://{self.bucket}/{self.key}")


class TooLarge(RuntimeError):
    """There is more in an object than is taken, so that none exhausts the memory."""

    def __init__(self, address: str, found: str, most: int, remedy: str):
        super().__init__(
            f"{address} is too large: it has {found}, and at most {most:,} are taken; "
            f"{remedy}."
        )


class S3Object(NamedTuple):
    """What was read from S3, and exactly what was read."""

    artefact: S3TimestampedArtefact
    content: bytes
    hash: str
    version_id: str
    metadata: dict[str, str]


def make_timestamped_filename(prefix: str, datetime: datetime, file_format: str) -> str:
    """Make a file name such as `prefix_2021-07-03T23:05:32.csv`.

    Args:
        datetime: Converted to UTC; one without a time zone is taken to be UTC.
    """
    if datetime.tzinfo is not None:
        datetime = datetime.astimezone(UTC)
    timestamp = datetime.replace(microsecond=0, tzinfo=None).isoformat()
    return f"{prefix}_{timestamp}.{file_format}"


def parse_timestamp(key: str) -> datetime | None:
    """Read the last timestamp in an object's name, in UTC; None if it has none."""
    for date, *time in reversed(TIMESTAMP.findall(key.rpartition("/")[2])):
        clock = ":".join(time) if time[0] else "00:00:00"
        try:
            return datetime.fromisoformat(f"{date}T{clock}+00:00")
        except ValueError:
            continue
    return None


def list_artefacts_on_s3(
    file_format: str, bucket: str, folder: str = ""
) -> list[S3TimestampedArtefact]:
    """List the timestamped objects of one format, the newest first.

    Objects without a timestamp in their name, or of another format, are passed over.

    Args:
        file_format: One of csv (which includes csv.gz), parquet, pkl.
        folder: Folder to search, with all below it; "" for the whole bucket.

    Raises:
        ValueError: The format is not supported.
        RuntimeError: S3 could not be read.
    """
    chosen = FILE_FORMATS.get(file_format.lower())
    if chosen is None:
        raise ValueError(
            f"{file_format} is not a supported file format; "
            f"choose one of {', '.join(FILE_FORMATS)}."
        )
    prefix = _folder_prefix(folder)

    def list_objects() -> list["ObjectTypeDef"]:
        pages = s3_client().get_paginator("list_objects_v2")
        answers = pages.paginate(Bucket=bucket, Prefix=prefix)
        return [item for page in answers for item in page.get("Contents", [])]

    with explain_s3_errors(f"list s3://{bucket}/{prefix}"):
        listed = within_deadline(list_objects)
    found = []
    for item in listed:
        timestamp = parse_timestamp(item["Key"])
        if timestamp is not None and item["Key"].lower().endswith(chosen.endings):
            found.append(
                S3TimestampedArtefact(
                    bucket,
                    item["Key"],
                    timestamp,
                    item["LastModified"],
                    item["ETag"],
                    item["Size"],
                )
            )
    return sorted(
        found, key=lambda item: (item.timestamp, item.last_modified), reverse=True
    )


def find_latest_artefact_on_s3(
    file_format: str, bucket: str, folder: str = ""
) -> S3TimestampedArtefact:
    """Find the object with the newest timestamp in its name.

    Raises:
        RuntimeError: There is none, or S3 could not be read.
        ValueError: The format is not supported.
    """
    artefacts = list_artefacts_on_s3(file_format, bucket, folder)
    if not artefacts:
        raise RuntimeError(
            f"No {file_format} object with a timestamp in its name found in "
            f"s3://{bucket}/{_folder_prefix(folder)}; deliver one named like "
            f"{make_timestamped_filename('name', datetime(2021, 7, 3), file_format)}."
        )
    return artefacts[0]


def get_latest_object_from_s3(
    file_format: str, bucket: str, folder: str = ""
) -> S3Object:
    """Read the newest object, and look again if it is replaced or gone meanwhile.

    Raises:
        RuntimeError: There is none, it keeps changing, or S3 could not be read.
        TooLarge: It is larger than what is taken of its format.
    """
    for _ in range(ATTEMPTS):
        artefact = find_latest_artefact_on_s3(file_format, bucket, folder)
        found = get_object_from_s3(artefact)
        if found is not None:
            return found
    raise RuntimeError(
        f"Could not read {artefact.address}: it was replaced {ATTEMPTS} times "
        "between listing and reading; wait until its delivery is complete, then retry."
    )


def get_object_from_s3(artefact: S3TimestampedArtefact) -> S3Object | None:
    """Read the very content that was listed; None if it has been replaced or deleted.

    Raises:
        RuntimeError: S3 could not be read.
        TooLarge: It is larger than what is taken of its format.
    """
    from botocore.exceptions import ClientError

    file_format = next(
        file_format
        for file_format in FILE_FORMATS.values()
        if artefact.key.lower().endswith(file_format.endings)
    )
    if artefact.size > file_format.max_bytes:
        raise TooLarge(
            artefact.address,
            f"{artefact.size:,} bytes",
            file_format.max_bytes,
            file_format.remedy,
        )
    with explain_s3_errors(f"read {artefact.address}"):
        try:
            return within_deadline(lambda: _read(artefact))
        except ClientError as error:
            if error_code(error) in ("PreconditionFailed", "NoSuchKey"):
                return None
            raise


def _read(artefact: S3TimestampedArtefact) -> S3Object:
    """Read an object, again if an answer breaks off or is not what was asked for.

    Botocore repeats requests, but not the reading of an answer.
    """
    from botocore.exceptions import (
        FlexibleChecksumError,
        HTTPClientError,
        IncompleteReadError,
    )

    for attempt in range(1, ATTEMPTS + 1):
        response = s3_client().get_object(
            Bucket=artefact.bucket, Key=artefact.key, IfMatch=artefact.etag
        )
        try:
            # At the end of the content, botocore compares it with S3's checksum.
            content = response["Body"].read(artefact.size) + response["Body"].read(1)
            if len(content) != artefact.size:
                raise IncompleteReadError(
                    actual_bytes=len(content), expected_bytes=artefact.size
                )
            break
        except (FlexibleChecksumError, HTTPClientError, IncompleteReadError):
            if attempt == ATTEMPTS:
                raise
    return S3Object(
        artefact,
        content,
        sha256(content).hexdigest(),
        response.get("VersionId", ""),
        response.get("Metadata", {}),
    )


def put_object_to_s3(
    content: bytes, bucket: str, folder: str, filename: str, **metadata: str
) -> bool:
    """Add an object to S3; never overwrite one.

    Args:
        metadata: Kept with the object, beside the SHA-256 of its content.

    Returns:
        Whether the object is now there with this content; False if another has taken
        its name.

    Raises:
        RuntimeError: S3 could not be written to.
    """
    from botocore.exceptions import ClientError

    key = _folder_prefix(folder) + filename
    digest = sha256(content).hexdigest()

    def put() -> bool:
        try:
            s3_client().put_object(
                Bucket=bucket,
                Key=key,
                Body=content,
                IfNoneMatch="*",
                Metadata={SHA256: digest, **metadata},
            )
            return True
        except ClientError as error:
            if error_code(error) not in ("PreconditionFailed", "412"):
                raise
            # A retry of our own put, whose first answer was lost, is refused as well.
            existing = s3_client().head_object(Bucket=bucket, Key=key)
            return existing["Metadata"].get(SHA256) == digest

    def put_beside_others() -> bool:
        for attempt in range(1, ATTEMPTS):
            try:
                return put()
            except ClientError as error:
                # Another put of that name is under way; S3 asks to try again.
                if error_code(error) != "ConditionalRequestConflict":
                    raise
                sleep(attempt)
        return put()

    with explain_s3_errors(f"write s3://{bucket}/{key}"):
        return within_deadline(put_beside_others)


def _folder_prefix(folder: str) -> str:
    return f"{folder.strip('/')}/" if folder.strip("/") else ""
