"""Timestamped objects on S3: get the latest, get one that was listed, put a new one."""

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from hashlib import sha256
from itertools import count
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pipeline.aws.client import (
    S3Failure,
    deadline_seconds,
    error_code,
    explain_s3_errors,
    s3_client,
    within_deadline,
)
from pipeline.aws.formats import FILE_FORMATS, TooLarge, find_format
from pipeline.aws.listing import (
    S3TimestampedArtefact,
    folder_prefix,
    make_timestamped_filename,
    survey_folder,
)
from pipeline.aws.memory import find_memory
from pipeline.logs import printable

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import GetObjectOutputTypeDef

ATTEMPTS = 3
# How long reads may fail altogether, in deadlines of one read, before it is S3 that
# fails and not some objects: one that hangs is passed over, two are too many.
MOST_DEADLINES = 2
SHA256 = "sha256"
# What S3 says where a name is not free; in the second case it asks to try again.
NAME_IS_TAKEN = {"PreconditionFailed", "412"}
NAME_IS_BEING_TAKEN = "ConditionalRequestConflict"

Result = TypeVar("Result")

log = logging.getLogger("pipeline")


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
    ending = find_format(file_format).endings[0].lstrip(".")
    raise NothingFound(
        f"No {file_format} object with a timestamp in its name found in "
        f"s3://{bucket}/{folder_prefix(folder)}; deliver one named like "
        f"{make_timestamped_filename('name', datetime(2021, 7, 3), ending)}"
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
    most = file_format.max_bytes
    if most is None:
        find_memory().refuse_more(artefact.address, 0, artefact.size)
    elif artefact.size > most:
        found = f"{artefact.size:,} bytes, and at most {most:,} are taken"
        raise TooLarge(artefact.address, found, file_format.remedy)
    with explain_s3_errors(f"read {artefact.address}"):
        try:
            return within_deadline(lambda: _read(artefact))
        except ClientError as error:
            if error_code(error) in ("PreconditionFailed", "NoSuchKey"):
                return None
            raise


def _read(artefact: S3TimestampedArtefact) -> S3Object:
    content, response = read_answer(artefact, artefact.size)
    return S3Object(
        artefact,
        content,
        sha256(content).hexdigest(),
        response.get("VersionId", ""),
        response.get("Metadata", {}),
    )


def read_answer(
    artefact: S3TimestampedArtefact, size: int, part: str = ""
) -> tuple[bytes, "GetObjectOutputTypeDef"]:
    """Read an object, again if an answer breaks off or is not what was asked for.

    Botocore repeats requests, but not the reading of an answer.

    Args:
        size: Of what is asked for, in bytes.
        part: As the header Range has it; "" for the whole object.
    """
    from botocore.exceptions import (
        FlexibleChecksumError,
        HTTPClientError,
        IncompleteReadError,
    )

    header: Any = {"Range": part} if part else {}
    for attempt in range(1, ATTEMPTS + 1):
        response = s3_client().get_object(
            Bucket=artefact.bucket,
            Key=artefact.key,
            IfMatch=artefact.etag,
            **header,
        )
        try:
            # At the end of the content, botocore compares it with S3's checksum.
            content = response["Body"].read(size) + response["Body"].read(1)
            if len(content) != size:
                raise IncompleteReadError(
                    actual_bytes=len(content), expected_bytes=size
                )
            break
        except (FlexibleChecksumError, HTTPClientError, IncompleteReadError):
            if attempt == ATTEMPTS:
                raise
    return content, response


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

    key = folder_prefix(folder) + filename
    digest = sha256(content).hexdigest()

    def put() -> bool:
        for attempt in count(1):
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
                code = error_code(error)
                if code in NAME_IS_TAKEN:
                    # A retry of our own put, whose first answer was lost, is as well.
                    existing = s3_client().head_object(Bucket=bucket, Key=key)
                    return existing["Metadata"].get(SHA256) == digest
                if code != NAME_IS_BEING_TAKEN or attempt == ATTEMPTS:
                    raise
            sleep(attempt)
        raise AssertionError("count has no end")

    with explain_s3_errors(f"write s3://{bucket}/{key}"):
        return within_deadline(put)
