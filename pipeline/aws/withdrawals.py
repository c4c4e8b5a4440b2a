"""Withdrawals: small objects beside models that nobody is to take, which say why.

A model is withdrawn by adding one, for nothing is deleted. It is JSON, signed as models
are, with the model's hash in it. Its name ends with its own, so that nobody can take
the name of another one beforehand, and it is found where models are listed.
"""

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from pipeline.aws.artefacts import S3Object, get_object_from_s3, put_object_to_s3
from pipeline.aws.formats import TooLarge
from pipeline.aws.listing import S3TimestampedArtefact
from pipeline.aws.signing import NotProved, prove, sign
from pipeline.logs import printable

FORMAT = "withdrawn"
MAX_REASON = 1024

log = logging.getLogger("pipeline")


class Withdrawal(NamedTuple):
    """That a model was withdrawn.

    Attributes:
        at: When, in UTC.
        reason: Why, in one line.
        found: The object that says so.
    """

    at: datetime
    reason: str
    found: S3Object


def withdraw(model: S3Object, reason: str) -> None:
    """Withdraw a model; signed, if a key is configured.

    Raises:
        RuntimeError: S3 could not be written to.
        ValueError: The signing key is too short, or empty.
    """
    at = datetime.now(UTC).isoformat()
    said = {"model_sha256": model.hash, "withdrawn_at": at}
    content = json.dumps({**said, "reason": printable(reason)[:MAX_REASON]}).encode()
    bucket, key = model.artefact.bucket, name_withdrawal(model.artefact.key, content)
    folder, _, filename = key.rpartition("/")
    signature = sign(content, bucket, key)
    if not put_object_to_s3(content, bucket, folder, filename, **signature):
        raise RuntimeError(f"s3://{bucket}/{key} is there already; try again.")


def name_withdrawal(model_key: str, content: bytes) -> str:
    return f"{model_key}.{sha256(content).hexdigest()[:16]}.{FORMAT}"


def group_by_model(
    withdrawals: Iterable[S3TimestampedArtefact],
) -> dict[str, list[S3TimestampedArtefact]]:
    """Sort withdrawals as they are listed by the keys of the models that they name."""
    grouped: dict[str, list[S3TimestampedArtefact]] = {}
    for each in withdrawals:
        model_key = each.key.rpartition(".")[0].rpartition(".")[0]
        grouped.setdefault(model_key, []).append(each)
    return grouped


def find_withdrawal(
    model: S3Object, beside: Iterable[S3TimestampedArtefact]
) -> Withdrawal | None:
    """Find a withdrawal of a model that is ours; another one is a WARNING in the log.

    Args:
        beside: What lies beside the model and says that it is one.

    Raises:
        S3Failure: S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    for artefact in beside:
        try:
            return read_withdrawal(artefact, model)
        except (NotProved, TooLarge) as error:
            cause = printable(str(error).rstrip("."))
            log.warning(f"{artefact.address} withdraws nothing: {cause}.")
    return None


def read_withdrawal(artefact: S3TimestampedArtefact, model: S3Object) -> Withdrawal:
    """Read a withdrawal of a model.

    Raises:
        NotProved: It is not ours, or not of these bytes.
        TooLarge: It is larger than any is.
        S3Failure: S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    found = get_object_from_s3(artefact)
    if found is None:
        raise NotProved("it was replaced while it was read")
    prove(found)
    try:
        said = json.loads(found.content)
        at, reason = datetime.fromisoformat(said["withdrawn_at"]), said["reason"]
        is_one = at.tzinfo is not None and isinstance(reason, str)
        is_of_model = said["model_sha256"] == model.hash
    except (ValueError, TypeError, KeyError, RecursionError):
        is_one = is_of_model = False
    if not is_one or not is_of_model:
        raise NotProved("it is not of the model beside it")
    return Withdrawal(at.astimezone(UTC), printable(reason[:MAX_REASON]), found)
