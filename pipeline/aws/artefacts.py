"""Timestamped objects on S3: find the latest, get it, put a new one."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import PurePosixPath
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pipeline.aws.client import (
    S3Failure,
    deadline_seconds,
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
# How long reads may fail altogether, in deadlines of one read, before it is S3 that
# fails and not some objects: one that hangs is passed over, two are too many.
MOST_DEADLINES = 2
SHA256 = "sha256"
# Of the objects beside another one that prove where it comes from.
SIGNATURE_ENDING = ".sig"
# What is dated further ahead is wrong, and would hide what is added until then.
LARGEST_CLOCK_ERROR = timedelta(minutes=5)

TIMESTAMP = re.compile(
    r"(?<!\d)(\d{4}-\d{2}-\d{2})"
    r"(?:[T _:|-](\d{2})[:|_-](\d{2})[:|_-](\d{2})(?:\.\d+)?Z?)?(?!\d)"
)

Result = TypeVar("Result")

log = logging.getLogger("pipeline")


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


class PassedOver(NamedTuple):
    """An object in or below a folder that is not taken.

    Attributes:
        when: What its name says or, where it says nothing, when S3 took it; in UTC.
        reason: Follows the address to make a sentence of both.
    """

    address: str
    when: datetime
    reason: str


class Survey(NamedTuple):
    """What lies in a folder and below it.

    Attributes:
        usable: The newest first.
    """

    usable: list[S3TimestampedArtefact]
    passed_over: list[PassedOver]


class TooLarge(RuntimeError):
    """There is more in an object than is taken, so that none exhausts the memory."""

    def __init__(self, address: str, found: str, most: int, remedy: str):
        super().__init__(
            f"{address} is too large: it has {found}, and at most {most:,} are taken; "
            f"{remedy}."
        )


class NothingFound(RuntimeError):
    """There is no object that may be taken."""


class Replaced(RuntimeError):
    """An object was replaced or deleted after it was listed."""


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


def survey_folder(file_format: str, bucket: str, folder: str = "") -> Survey:
    """Find the objects that may be taken, and say of all others why they may not.

    Taken is what lies directly in the folder, has the ending of the format and a
    timestamp in its name, and is not newer than now by more than a clock may be wrong.

    Args:
        file_format: One of csv (which includes csv.gz), parquet, pkl.
        folder: Folder to search; "" for the whole bucket, in which any place will do.

    Raises:
        ValueError: The format is not supported.
        S3Failure: The folder could not be listed.
    """
    endings = find_format(file_format).endings
    usable, passed_over = [], []
    for item in _list_objects(bucket, folder):
        key, timestamp = item["Key"], parse_timestamp(item["Key"])
        if key.endswith(("/", SIGNATURE_ENDING)):
            continue
        reason = find_reason_to_pass_over(key, timestamp, folder)
        if not key.lower().endswith(endings):
            ending = PurePosixPath(key).suffix or "without an ending"
            reason = f"is {printable(ending)}, not {endings[0]}"
        elif timestamp is None:
            named = make_timestamped_filename("...", datetime(2021, 7, 3), file_format)
            reason = reason or f"has no timestamp like {named} in its name"
        elif not reason:
            usable.append(_make_artefact(item, bucket, timestamp))
            continue
        address = printable(f"s3://{bucket}/{key}")
        when = timestamp or item["LastModified"]
        passed_over.append(PassedOver(address, when, reason))
    return Survey(sorted(usable, key=_age, reverse=True), passed_over)


def find_reason_to_pass_over(key: str, timestamp: datetime | None, folder: str) -> str:
    """Say why nobody takes an object of a folder, as `PassedOver` does; "" if none."""
    if is_in_subfolder(key, folder):
        return "is in a subfolder"
    return tell_future(timestamp) if timestamp else ""


def is_in_subfolder(key: str, folder: str) -> bool:
    prefix = _folder_prefix(folder)
    return bool(prefix) and "/" in key.removeprefix(prefix)


def latest_taken() -> datetime:
    """The newest timestamp that anybody takes now."""
    return datetime.now(UTC) + LARGEST_CLOCK_ERROR


def tell_future(timestamp: datetime) -> str:
    """Say that an object is dated in the future; "" if it is not."""
    if timestamp <= latest_taken():
        return ""
    return f"is dated in the future ({timestamp:%Y-%m-%dT%H:%M:%SZ})"


def list_artefacts_on_s3(
    file_format: str, bucket: str, folder: str = ""
) -> list[S3TimestampedArtefact]:
    """List the timestamped objects of one format, the newest first.

    Objects without a timestamp in their name, or of another format, are passed over;
    those that nobody takes, of the future or in a subfolder, are listed as well.

    Args:
        file_format: One of csv (which includes csv.gz), parquet, pkl.
        folder: Folder to search, with all below it; "" for the whole bucket.

    Raises:
        ValueError: The format is not supported.
        S3Failure: The folder could not be listed.
    """
    endings = find_format(file_format).endings
    found = []
    for item in _list_objects(bucket, folder):
        timestamp = parse_timestamp(item["Key"])
        if timestamp is not None and item["Key"].lower().endswith(endings):
            found.append(_make_artefact(item, bucket, timestamp))
    return sorted(found, key=_age, reverse=True)


def find_format(file_format: str) -> FileFormat:
    """Find what is known of a format.

    Raises:
        ValueError: The format is not supported.
    """
    chosen = FILE_FORMATS.get(file_format.lower())
    if chosen is None:
        raise ValueError(
            f"{file_format} is not a supported file format; "
            f"choose one of {', '.join(FILE_FORMATS)}."
        )
    return chosen


def _list_objects(bucket: str, folder: str) -> list["ObjectTypeDef"]:
    prefix = _folder_prefix(folder)

    def list_objects() -> list["ObjectTypeDef"]:
        pages = s3_client().get_paginator("list_objects_v2")
        answers = pages.paginate(Bucket=bucket, Prefix=prefix)
        return [item for page in answers for item in page.get("Contents", [])]

    with explain_s3_errors(f"list s3://{bucket}/{prefix}"):
        return within_deadline(list_objects)


def _make_artefact(
    item: "ObjectTypeDef", bucket: str, timestamp: datetime
) -> S3TimestampedArtefact:
    return S3TimestampedArtefact(
        bucket, item["Key"], timestamp, item["LastModified"], item["ETag"], item["Size"]
    )


def _age(artefact: S3TimestampedArtefact) -> tuple[datetime, datetime]:
    return artefact.timestamp, artefact.last_modified


def exists_on_s3(bucket: str, key: str) -> bool:
    """Whether there is an object of this name.

    It is looked for in the listing, which the stages may read; of a single object S3
    says that access is denied where there is none.

    Raises:
        S3Failure: S3 could not be asked.
    """

    def list_one() -> bool:
        listed = s3_client().list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
        return any(item["Key"] == key for item in listed.get("Contents", []))

    with explain_s3_errors(f"look for {printable(f's3://{bucket}/{key}')}"):
        return within_deadline(list_one)


def find_latest_artefact_on_s3(
    file_format: str, bucket: str, folder: str = ""
) -> S3TimestampedArtefact:
    """Find the object with the newest timestamp in its name, of those to be taken.

    Raises:
        NothingFound: There is none.
        S3Failure: The folder could not be listed.
        ValueError: The format is not supported.
    """
    return _find_usable(file_format, bucket, folder)[0]


def _find_usable(
    file_format: str, bucket: str, folder: str
) -> list[S3TimestampedArtefact]:
    """Find what may be taken, the newest first.

    Raises:
        NothingFound: There is nothing.
        S3Failure: The folder could not be listed.
    """
    usable, passed_over = survey_folder(file_format, bucket, folder)
    if usable:
        return usable
    others = "".join(f"; {each.address} {each.reason}" for each in passed_over[:3])
    raise NothingFound(
        f"No {file_format} object with a timestamp in its name found in "
        f"s3://{bucket}/{_folder_prefix(folder)}; deliver one named like "
        f"{make_timestamped_filename('name', datetime(2021, 7, 3), file_format)}"
        f"{others}."
    )


def read_each(
    artefacts: Iterable[S3TimestampedArtefact],
    read: Callable[[S3TimestampedArtefact], Result],
) -> Iterator[tuple[S3TimestampedArtefact, Result | S3Failure]]:
    """Read objects one by one: a failure of one is told in its place, and no obstacle.

    Raises:
        S3Failure: None could be read, or all failures together took longer than
            MOST_DEADLINES: it is not the objects that fail, but S3.
        Exception: Whatever reading raises that is not S3's.
    """
    first: S3Failure | None = None
    seconds = 0.0
    is_any_read = False
    for artefact in artefacts:
        start = monotonic()
        try:
            result = read(artefact)
        except S3Failure as failure:
            seconds += monotonic() - start
            first = first or failure
            if seconds > MOST_DEADLINES * deadline_seconds():
                raise first from None
            yield artefact, failure
        else:
            is_any_read = True
            yield artefact, result
    if first is not None and not is_any_read:
        raise first


def get_latest_object_from_s3(
    file_format: str, bucket: str, folder: str = ""
) -> S3Object:
    """Read the newest object, and look again if it is replaced or gone meanwhile.

    One that cannot be read is passed over, with a WARNING, for the next.

    Raises:
        RuntimeError: There is none, it keeps changing, or S3 could not be read.
        TooLarge: It is larger than what is taken of its format.
    """
    for attempt in range(1, ATTEMPTS + 1):
        refusals: list[str] = []
        usable = _find_usable(file_format, bucket, folder)
        for artefact, found in read_each(usable, get_object_from_s3):
            if isinstance(found, S3Object):
                for refusal in refusals:
                    log.warning(f"Passed over: {refusal}")
                return found
            if found is None and attempt < ATTEMPTS:
                break
            refusals.append(
                str(found)
                if found is not None
                else f"Could not read {artefact.address}: it was replaced {ATTEMPTS} "
                "times between listing and reading; wait until its delivery is "
                "complete, then retry."
            )
    raise RuntimeError(refusals[0])


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
