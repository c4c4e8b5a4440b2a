"""Objects that are added signed, each under its own second, and read with proof."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from pipeline.aws.artefacts import (
    S3Object,
    get_object_from_s3,
    put_object_to_s3,
    read_each,
)
from pipeline.aws.client import S3Failure
from pipeline.aws.formats import TooLarge
from pipeline.aws.listing import (
    S3TimestampedArtefact,
    make_timestamped_filename,
    survey_folder,
)
from pipeline.aws.signing import NotProved, Proof, prove, sign, signing_keys

PUT_ATTEMPTS = 60


class SignedObject(NamedTuple):
    """An object of a folder, and whether it can be believed.

    Attributes:
        content: Its bytes; None if they cannot be believed.
        proof: How it was shown to be ours; None if it was not.
        refusal: Why it cannot be believed, one sentence; "" if it can.
    """

    artefact: S3TimestampedArtefact
    content: bytes | None
    proof: Proof | None = None
    refusal: str = ""


def add_signed_object_to_s3(
    content: bytes,
    name: str,
    timestamp: datetime,
    file_format: str,
    bucket: str,
    folder: str,
    **metadata: str,
) -> str:
    """Add an object to S3 under the next free second, signed if a key is set.

    Args:
        name: First part of its file name.
        metadata: Kept with the object.

    Returns:
        The location, as `bucket/folder/filename`.

    Raises:
        RuntimeError: S3 could not be written to.
        ValueError: The signing key is too short, or empty.
    """
    for seconds in range(PUT_ATTEMPTS):
        filename = make_timestamped_filename(
            name, timestamp + timedelta(seconds=seconds), file_format
        )
        key = "/".join(filter(None, [folder.strip("/"), filename]))
        if put_object_to_s3(
            content, bucket, folder, filename, **sign(content, bucket, key), **metadata
        ):
            return f"{bucket}/{key}"
    raise RuntimeError(
        f"Could not write {filename} to s3://{bucket}/{folder}: the names of "
        f"{PUT_ATTEMPTS} seconds are taken; try again."
    )


def read_signed_objects_from_s3(
    file_format: str, bucket: str, folder: str
) -> Iterator[SignedObject]:
    """Read what lies directly in a folder one by one, the newest first.

    Raises:
        S3Failure: The folder could not be listed, or nothing in it be read.
        ValueError: The signing key is too short, or empty.
    """
    signing_keys()
    usable = survey_folder(file_format, bucket, folder).usable
    for artefact, read in read_each(usable, read_signed_object):
        if isinstance(read, S3Failure):
            yield SignedObject(artefact, None, refusal=str(read))
        else:
            yield read


def read_signed_object(artefact: S3TimestampedArtefact) -> SignedObject:
    """Read an object that was listed, and check that it is ours.

    Raises:
        S3Failure: S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    address = artefact.address
    try:
        found = get_object_from_s3(artefact)
        if isinstance(found, S3Object):
            return SignedObject(artefact, found.content, prove(found))
    except TooLarge as error:
        return SignedObject(artefact, None, refusal=str(error))
    except NotProved as error:
        refusal = f"{address} does not verify: {error}; do not rely on it."
        return SignedObject(artefact, None, refusal=refusal)
    refusal = f"{address} was replaced while it was read; read it again."
    return SignedObject(artefact, None, refusal=refusal)
