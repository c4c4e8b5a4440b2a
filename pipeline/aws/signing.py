"""Proof that a model on S3 is one that we put there, under the name it has.

MODEL_SIGNING_KEY holds one or more secret keys, separated by commas: the first one
signs, all of them verify. To rotate, put the new key first and drop the old one when no
model that it signed is needed any more.
"""

import hmac
from hashlib import sha256
from os import environ

from pipeline.aws.artefacts import SHA256, S3Object

KEYS_VARIABLE = "MODEL_SIGNING_KEY"
SIGNATURE = "hmac-sha256"
MIN_KEY_LENGTH = 32


def signing_keys() -> list[bytes]:
    """Read the configured keys; empty if there are none.

    Raises:
        ValueError: One of them is too short to be a secret.
    """
    configured = environ.get(KEYS_VARIABLE, "")
    if configured == "":
        return []
    keys = [key.strip() for key in configured.split(",")]
    if any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise ValueError(
            f"{KEYS_VARIABLE} holds a key of fewer than {MIN_KEY_LENGTH} characters; "
            "make each with: openssl rand -hex 32"
        )
    return [key.encode() for key in keys]


def sign(content: bytes, key_on_s3: str) -> dict[str, str]:
    """Sign bytes and the name that they will have on S3.

    Returns:
        Metadata to put with them; empty if no key is configured.
    """
    keys = signing_keys()
    return {SIGNATURE: make_signature(keys[0], content, key_on_s3)} if keys else {}


def find_forgery(found: S3Object) -> str | None:
    """Check what was read from S3 against what was put.

    Returns:
        What is wrong with it; None if it verifies.
    """
    digest = found.metadata.get(SHA256)
    if digest is not None and digest != found.hash:
        return "its bytes are not those that were put (SHA-256 differs)"
    keys = signing_keys()
    if not keys:
        return None
    signature = found.metadata.get(SIGNATURE)
    if signature is None:
        return f"it is not signed, and {KEYS_VARIABLE} is set"
    if not any(
        hmac.compare_digest(
            signature.encode(),
            make_signature(key, found.content, found.artefact.key).encode(),
        )
        for key in keys
    ):
        return f"its signature is by none of the keys of {KEYS_VARIABLE}"
    return None


def make_signature(secret: bytes, content: bytes, key_on_s3: str) -> str:
    """HMAC-SHA256 over the name, framed by its length, and the bytes; hexadecimal."""
    name = key_on_s3.encode()
    return hmac.new(secret, b"%d:%b:" % (len(name), name) + content, sha256).hexdigest()
