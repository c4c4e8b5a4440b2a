"""What lies in a folder on S3, and which of it may be taken."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from pipeline.aws.client import explain_s3_errors, s3_client, within_deadline
from pipeline.aws.formats import TABLE_FORMATS, find_format
from pipeline.logs import printable

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import ObjectTypeDef

# Of the objects beside another one that prove where it comes from.
SIGNATURE_ENDING = ".sig"
# And of those that withdraw it.
WITHDRAWAL_ENDINGS = find_format("withdrawn").endings
PARQUET_ENDINGS = find_format("parquet").endings
# What Spark adds to a folder when all parts are there.
COMPLETE = "_SUCCESS"
# What else Spark and others keep beside the parts begins so.
NO_PARTS = ("_", ".")
# What is dated further ahead is wrong, and would hide what is added until then.
LARGEST_CLOCK_ERROR = timedelta(minutes=5)

TIMESTAMP = re.compile(
    r"(?<!\d)(\d{4}-\d{2}-\d{2})"
    r"(?:[T _:|-](\d{2})[:|_-](\d{2})[:|_-](\d{2})(?:\.\d+)?Z?)?(?!\d)"
)


@dataclass(frozen=True)
class S3TimestampedArtefact:
    """An object on S3, or a folder of parts of a table, as it was listed.

    Attributes:
        timestamp: What the object's name says, in UTC.
        last_modified: When S3 took the object, or the last of a folder; decides between
            equal timestamps.
        etag: Identifies the listed content, so that no other can be read in its place;
            "" of a folder, whose parts have their own.
        size: In bytes; of a folder, those of all parts.
        parts: Of a folder, in the order of their names; None of an object.
    """

    bucket: str
    key: str
    timestamp: datetime
    last_modified: datetime
    etag: str
    size: int
    parts: "tuple[S3TimestampedArtefact, ...] | None" = None

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


def survey_folder(file_format: str, bucket: str, folder: str) -> Survey:
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
    items = _list_objects(bucket, folder)
    return _survey(items, (file_format,), bucket, folder)


def survey_tables(bucket: str, folder: str) -> Survey:
    """Find the tables that may be taken: CSV, Parquet, and folders of parts in Parquet.

    Such a folder lies directly in the other, is named as a Parquet file is, and holds
    the object `_SUCCESS`, which says that all parts are there. Objects in it whose
    names begin with "_" or "." are no parts.

    Raises:
        S3Failure: The folder could not be listed.
    """
    items: list[ObjectTypeDef] = []
    folders: dict[str, list[ObjectTypeDef]] = {}
    prefix = folder_prefix(folder)
    for item in _list_objects(bucket, folder):
        name, _, part = item["Key"].removeprefix(prefix).partition("/")
        if part and name.lower().endswith(PARQUET_ENDINGS):
            folders.setdefault(prefix + name, []).append(item)
        else:
            items.append(item)
    usable, passed_over = _survey(items, TABLE_FORMATS, bucket, folder)
    for key, inside in folders.items():
        found = _look_into_folder(key, inside, bucket)
        if isinstance(found, PassedOver):
            passed_over.append(found)
        else:
            usable.append(found)
    return Survey(sorted(usable, key=_age, reverse=True), passed_over)


def _look_into_folder(
    key: str, items: "list[ObjectTypeDef]", bucket: str
) -> S3TimestampedArtefact | PassedOver:
    """Put the parts of a table together, or say why nobody takes it."""
    timestamp = parse_timestamp(key)
    last_modified = max(item["LastModified"] for item in items)
    names = {item["Key"].removeprefix(f"{key}/"): item for item in items}
    parts = {
        name: item
        for name, item in names.items()
        if not name.startswith(NO_PARTS) and name.lower().endswith(PARQUET_ENDINGS)
    }
    reason = tell_future(timestamp) if timestamp else tell_no_timestamp("parquet")
    if not reason and COMPLETE not in names:
        reason = f"has no {COMPLETE} in it, so that parts may be missing"
    if not reason and any("/" in name for name in parts):
        reason = "has parts in subfolders"
    if timestamp is None or reason:
        address = printable(f"s3://{bucket}/{key}/")
        return PassedOver(address, timestamp or last_modified, reason)
    listed = tuple(
        _make_artefact(parts[name], bucket, timestamp) for name in sorted(parts)
    )
    size = sum(part.size for part in listed)
    return S3TimestampedArtefact(
        bucket, key, timestamp, last_modified, "", size, listed
    )


def _survey(
    items: "Sequence[ObjectTypeDef]",
    file_formats: Sequence[str],
    bucket: str,
    folder: str,
) -> Survey:
    """Sort out objects as `survey_folder` does, of several formats."""
    formats = [*map(find_format, file_formats)]
    endings = tuple(ending for each in formats for ending in each.endings)
    usable, passed_over = [], []
    for item in items:
        key, timestamp = item["Key"], parse_timestamp(item["Key"])
        if key.endswith(("/", SIGNATURE_ENDING, *WITHDRAWAL_ENDINGS)):
            continue
        reason = find_reason_to_pass_over(key, timestamp, folder)
        if not key.lower().endswith(endings):
            ending = PurePosixPath(key).suffix or "without an ending"
            wanted = " or ".join(each.endings[0] for each in formats)
            reason = f"is {printable(ending)}, not {wanted}"
        elif timestamp is None:
            reason = reason or tell_no_timestamp(file_formats[0])
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


def tell_no_timestamp(file_format: str) -> str:
    named = make_timestamped_filename("...", datetime(2021, 7, 3), file_format)
    return f"has no timestamp like {named} in its name"


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
    file_formats: Sequence[str], bucket: str, folder: str
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
