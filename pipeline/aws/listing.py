"""What lies in a folder on S3, and which of it may be taken."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from pipeline.aws.client import explain_s3_errors, s3_client, within_deadline
from pipeline.aws.formats import find_format
from pipeline.logs import printable

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import ObjectTypeDef

# Of the objects beside another one that prove where it comes from.
SIGNATURE_ENDING = ".sig"
# And of those that withdraw it.
WITHDRAWAL_ENDINGS = find_format("withdrawn").endings
# What is dated further ahead is wrong, and would hide what is added until then.
LARGEST_CLOCK_ERROR = timedelta(minutes=5)

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
        file_format: One of csv (which includes csv.gz), parquet, table (either of
            them), pkl, json.
        folder: Folder to search; "" for the whole bucket, in which any place will do.

    Raises:
        ValueError: The format is not supported.
        S3Failure: The folder could not be listed.
    """
    endings = find_format(file_format).endings
    usable, passed_over = [], []
    for item in _list_objects(bucket, folder):
        key, timestamp = item["Key"], parse_timestamp(item["Key"])
        if key.endswith(("/", SIGNATURE_ENDING, *WITHDRAWAL_ENDINGS)):
            continue
        reason = find_reason_to_pass_over(key, timestamp, folder)
        if not key.lower().endswith(endings):
            ending = PurePosixPath(key).suffix or "without an ending"
            reason = f"is {printable(ending)}, not {endings[0]}"
        elif timestamp is None:
            named = make_timestamped_filename(
                "...", datetime(2021, 7, 3), endings[0].lstrip(".")
            )
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
    prefix = folder_prefix(folder)
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
        file_format: One of csv (which includes csv.gz), parquet, pkl, json.
        folder: Folder to search, with all below it; "" for the whole bucket.

    Raises:
        ValueError: The format is not supported.
        S3Failure: The folder could not be listed.
    """
    [found] = list_formats_on_s3([file_format], bucket, folder)
    return found


def list_formats_on_s3(
    file_formats: Sequence[str], bucket: str, folder: str = ""
) -> list[list[S3TimestampedArtefact]]:
    """List as `list_artefacts_on_s3` does, several formats at the price of one.

    Raises:
        ValueError: A format is not supported.
        S3Failure: The folder could not be listed.
    """
    found: list[list[S3TimestampedArtefact]] = [[] for _ in file_formats]
    endings = [find_format(file_format).endings for file_format in file_formats]
    for item in _list_objects(bucket, folder):
        timestamp = parse_timestamp(item["Key"])
        for listed, ending in zip(found, endings, strict=True):
            if timestamp is not None and item["Key"].lower().endswith(ending):
                listed.append(_make_artefact(item, bucket, timestamp))
    return [sorted(listed, key=_age, reverse=True) for listed in found]


def _list_objects(bucket: str, folder: str) -> list["ObjectTypeDef"]:
    prefix = folder_prefix(folder)

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


def folder_prefix(folder: str) -> str:
    return f"{folder.strip('/')}/" if folder.strip("/") else ""
