"""Proof that a model on S3 is one that we put there, in that bucket, under that name.

MODEL_SIGNING_KEY holds one or more secret keys, separated by commas: the first one
signs, all of them verify. To rotate, put the new key first, sign anew with it what is
to be kept, and drop the old one.

A signature stands in the metadata of its object, which S3 takes once and for all. One
that is made later is an object of its own, empty, beside the model: its name says all,
so that it is found by listing, has nothing to be read and overwrites nothing.
"""

import hmac
from collections.abc import Callable
from enum import StrEnum
from hashlib import sha256
from os import environ

from pipeline.aws.artefacts import SHA256, S3Object, exists_on_s3, put_object_to_s3
from pipeline.aws.listing import SIGNATURE_ENDING

KEYS_VARIABLE = "MODEL_SIGNING_KEY"
SIGNATURE = "hmac-sha256-v2"
# Which bucket a signature is for, so that one for another bucket can be told.
BUCKET = "signed-for-bucket"
# Of earlier code: over the name and the bytes alone, the same in every bucket.
OLD_SIGNATURE = "hmac-sha256"
MIN_KEY_LENGTH = 32


class Proof(StrEnum):
    """How it was shown that a model is ours."""

    SIGNED = "verified"
    SIGNED_BEFORE = "verified, by a signature of the old form"
    UNCHECKED = "signature not checked"


class NotProved(RuntimeError):
    """It could not be shown that a model is ours, and why."""


class OfAnotherBucket(NotProved):
    """A model is ours, and was signed for another bucket."""


def signing_keys() -> list[bytes]:
    """Read the configured keys; empty if there are none.

    Raises:
        ValueError: The variable is set but empty, or one of the keys is too short to be
            a secret.
    """
    configured = environ.get(KEYS_VARIABLE)
    if configured is None:
        return []
    if not configured.strip():
        raise ValueError(
            f"{KEYS_VARIABLE} is set but empty; set it to the key that both stages "
            "have, or unset it to do without signatures."
        )
    keys = [key.strip() for key in configured.split(",")]
    if any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise ValueError(
            f"{KEYS_VARIABLE} holds a key of fewer than {MIN_KEY_LENGTH} characters; "
            "make each with: openssl rand -hex 32"
        )
    return [key.encode() for key in keys]


def sign(content: bytes, bucket: str, key_on_s3: str) -> dict[str, str]:
    """Sign bytes for the place that they will have on S3.

    Returns:
        Metadata to put with them; empty if no key is configured.
    """
    keys = signing_keys()
    if not keys:
        return {}
    signature = make_signature(keys[0], content, bucket, key_on_s3)
    return {SIGNATURE: signature, BUCKET: bucket}


def is_signed(metadata: dict[str, str]) -> bool:
    """Whether an object was put with a signature, by whomever."""
    return SIGNATURE in metadata or OLD_SIGNATURE in metadata


def sign_anew(found: S3Object) -> None:
    """Put a signature by the first key beside an object, unless it has one already.

    The caller has made sure that the object is ours.

    Raises:
        RuntimeError: No key is configured, or S3 could not be written to.
        ValueError: The signing key is too short, or empty.
    """
    signed = sign(found.content, found.artefact.bucket, found.artefact.key)
    if not signed:
        raise RuntimeError(
            f"Nothing was signed: set {KEYS_VARIABLE} to the key that both stages have."
        )
    if found.metadata.get(SIGNATURE) != signed[SIGNATURE]:
        name = name_signature(found.artefact.key, signed[SIGNATURE])
        folder, _, filename = name.rpartition("/")
        put_object_to_s3(b"", found.artefact.bucket, folder, filename)


def prove(
    found: S3Object, exists: Callable[[str, str], bool] = exists_on_s3
) -> Proof:
    """Check what was read from S3 against what was put.

    Args:
        exists: Tells whether a bucket has an object of a name. Only where the signature
            in the metadata is not by these keys for this bucket is it asked whether
            there is one beside the object.

    Raises:
        NotProved: It is not what was put, or not signed.
        S3Failure: S3 could not be asked.
        ValueError: The signing key is too short, or empty.
    """
    digest = found.metadata.get(SHA256)
    if digest is not None and digest != found.hash:
        raise NotProved("its bytes are not those that were put (SHA-256 differs)")
    keys = signing_keys()
    if not keys:
        return Proof.UNCHECKED
    content, place = found.content, found.artefact
    signature = found.metadata.get(SIGNATURE, "")
    old_signature = found.metadata.get(OLD_SIGNATURE, "")
    if not is_signed(found.metadata):
        raise NotProved(f"it is not signed, and {KEYS_VARIABLE} is set")
    expected = [make_signature(key, content, place.bucket, place.key) for key in keys]
    if is_one_of(signature, expected):
        return Proof.SIGNED
    names = [name_signature(place.key, one) for one in expected]
    if any(exists(place.bucket, name) for name in names):
        return Proof.SIGNED
    if is_one_of(
        old_signature, [make_old_signature(key, content, place.key) for key in keys]
    ):
        return Proof.SIGNED_BEFORE
    other = found.metadata.get(BUCKET, place.bucket)
    if other == place.bucket:
        raise NotProved(f"its signature is by none of the keys of {KEYS_VARIABLE}")
    if is_one_of(
        signature, [make_signature(key, content, other, place.key) for key in keys]
    ):
        raise OfAnotherBucket(f"it was signed for the bucket {other}")
    raise NotProved(
        f"its signature is by none of the keys of {KEYS_VARIABLE}, and says that it is "
        f"for the bucket {other}"
    )


def is_one_of(signature: str, expected: list[str]) -> bool:
    """Compare in a time that tells nothing of what was expected."""
    given = signature.encode()
    return any([hmac.compare_digest(given, one.encode()) for one in expected])


def make_signature(
    secret: bytes, content: bytes, bucket: str, key_on_s3: str
) -> str:
    """HMAC-SHA256 over bucket and name, framed by their lengths, and the bytes."""
    place = b"".join(
        b"%d:%b:" % (len(part), part) for part in (bucket.encode(), key_on_s3.encode())
    )
    return hmac.new(secret, b"v2:" + place + content, sha256).hexdigest()


def make_old_signature(secret: bytes, content: bytes, key_on_s3: str) -> str:
    """What earlier code signed with."""
    name = key_on_s3.encode()
    return hmac.new(secret, b"%d:%b:" % (len(name), name) + content, sha256).hexdigest()


def name_signature(key_on_s3: str, signature: str) -> str:
    """The name of a signature that stands beside its object."""
    return f"{key_on_s3}.{signature}{SIGNATURE_ENDING}"
