"""What can be made again from other objects: this alone is ever overwritten."""

from hashlib import sha256

from pipeline.aws.client import (
    error_code,
    explain_s3_errors,
    s3_client,
    within_deadline,
)

MADE_FROM = "made-from"
# The first for a request without a body, which is what is asked with.
NOT_THERE = {"404", "NoSuchKey"}


def fingerprint(*parts: bytes) -> str:
    """Of what a derived object is made from, hexadecimal."""
    return sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()


def read_made_from(bucket: str, key: str) -> str:
    """Read the fingerprint of what a derived object was made from; "" if there is no
    such object, or it does not say.

    Raises:
        S3Failure: S3 could not be asked.
    """
    from botocore.exceptions import ClientError

    def ask() -> str:
        try:
            found = s3_client().head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error_code(error) in NOT_THERE:
                return ""
            raise
        return found["Metadata"].get(MADE_FROM, "")

    with explain_s3_errors(f"look at s3://{bucket}/{key}"):
        return within_deadline(ask)


def put_derived_object_to_s3(
    content: bytes, bucket: str, key: str, content_type: str, made_from: str = ""
) -> None:
    """Put a derived object in the place of the one before.

    Args:
        made_from: Its fingerprint, for `read_made_from`.

    Raises:
        S3Failure: S3 could not be written to.
    """
    metadata = {MADE_FROM: made_from} if made_from else {}
    with explain_s3_errors(f"write s3://{bucket}/{key}"):
        within_deadline(
            lambda: s3_client().put_object(
                Bucket=bucket,
                Key=key,
                Body=content,
                ContentType=content_type,
                Metadata=metadata,
            )
        )
