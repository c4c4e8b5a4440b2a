"""The models in a folder: which are ours and can be used, and which one is taken."""

import logging
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pipeline.aws.artefacts import (
    S3Object,
    exists_on_s3,
    find_latest_artefact_on_s3,
    get_latest_object_from_s3,
    get_object_from_s3,
    read_each,
)
from pipeline.aws.client import S3Failure
from pipeline.aws.formats import TooLarge
from pipeline.aws.listing import (
    S3TimestampedArtefact,
    is_in_subfolder,
    list_formats_on_s3,
    tell_future,
)
from pipeline.aws.models import Model, quote
from pipeline.aws.pickling import unpickle_model
from pipeline.aws.signing import (
    NotProved,
    OfAnotherBucket,
    Proof,
    prove,
    signing_keys,
)
from pipeline.aws.withdrawals import (
    FORMAT as WITHDRAWN,
    Withdrawal,
    find_withdrawal,
    group_by_model,
)
from pipeline.logs import printable

log = logging.getLogger("pipeline")


def get_latest_pkl_model_from_s3(bucket: str, folder: str = "") -> Model:
    """Get the newest model.

    Raises:
        RuntimeError: There is none, it cannot be loaded, or S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    return load_model(get_latest_object_from_s3("pkl", bucket, folder))


class Candidate(NamedTuple):
    """An object in a folder of models, and the model in it if there is one.

    Attributes:
        refusal: Why the model cannot be used; "" if it can.
        found: What was read; None if nothing could be.
        proof: How it was shown to be ours; None if it was not.
        content: The model in it, also where that is refused: to be looked at only.
        is_of_another_bucket: Whether it is ours, and signed for another bucket.
        withdrawal: That nobody is to take it, though it could be used.
    """

    artefact: S3TimestampedArtefact
    refusal: str = ""
    found: S3Object | None = None
    proof: Proof | None = None
    content: Model | None = None
    is_of_another_bucket: bool = False
    withdrawal: Withdrawal | None = None

    @property
    def name(self) -> str:
        return printable(self.artefact.key.rpartition("/")[2])

    @property
    def model(self) -> Model | None:
        """The model, if it is to be taken."""
        return None if self.reason_to_pass_over else self.content

    @property
    def reason_to_pass_over(self) -> str:
        """Why nobody takes it, in a sentence; "" if it is to be taken."""
        if self.refusal or self.withdrawal is None:
            return self.refusal
        return (
            f"Model {quote(self.artefact.address)} was withdrawn at "
            f"{self.withdrawal.at:%Y-%m-%dT%H:%M:%SZ}: {self.withdrawal.reason}"
        )

    @property
    def s3_metadata(self) -> dict[str, str]:
        """What was put with the object: hash, signature, where it came from."""
        return self.found.metadata if self.found else {}


def read_models_from_s3(
    bucket: str, folder: str, check: Callable[[Model], object]
) -> Iterator[Candidate]:
    """Read the models directly in a folder one by one, the newest first.

    Args:
        check: Raises for a model that is of no use; a RuntimeError in a sentence.

    Raises:
        S3Failure: The folder could not be listed, or none of the models be read.
        ValueError: The signing key is too short, or empty.
    """
    signing_keys()
    listed, withdrawals = list_formats_on_s3(("pkl", WITHDRAWN), bucket, folder)
    artefacts = [each for each in listed if not is_in_subfolder(each.key, folder)]
    withdrawn = group_by_model(withdrawals)

    def read_one(artefact: S3TimestampedArtefact) -> Candidate:
        return read_model(artefact, withdrawn.get(artefact.key, []), check)

    for artefact, read in read_each(artefacts, read_one):
        if isinstance(read, S3Failure):
            yield Candidate(artefact, str(read))
        else:
            yield read


def read_model(
    artefact: S3TimestampedArtefact,
    withdrawals: Iterable[S3TimestampedArtefact],
    check: Callable[[Model], object],
) -> Candidate:
    """Read one model, and find the first reason why it cannot be used.

    Args:
        withdrawals: What lies beside it and says that it withdraws it.

    Raises:
        S3Failure: S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    address = quote(artefact.address)
    try:
        found = get_object_from_s3(artefact)
    except TooLarge as error:
        return Candidate(artefact, str(error))
    if found is None:
        return Candidate(artefact, f"{address} was replaced while it was read.")
    return examine_model(found, check, find_withdrawal(found, withdrawals))


def examine_model(
    found: S3Object,
    check: Callable[[Model], object],
    withdrawal: Withdrawal | None = None,
    exists: Callable[[str, str], bool] = exists_on_s3,
) -> Candidate:
    """Find the first reason why a model that was read cannot be used.

    Args:
        withdrawal: That it is withdrawn, if it is.
        exists: As for `prove`.

    Raises:
        S3Failure: S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    artefact, address = found.artefact, quote(found.artefact.address)
    refusals = []
    future = tell_future(artefact.timestamp)
    if future:
        refusals.append(f"Model {address} {future}; remove it, and train again.")
    proof = content = None
    is_of_another_bucket = False
    try:
        proof = prove(found, exists)
    except NotProved as error:
        is_of_another_bucket = isinstance(error, OfAnotherBucket)
        refusals.append(tell_unproved(found, error))
    try:
        content = unpickle(found)
        apply(check, content)
    except RuntimeError as error:
        refusals.append(str(error))
    refusal = next(iter(refusals), "")
    return Candidate(
        artefact, refusal, found, proof, content, is_of_another_bucket, withdrawal
    )


def apply(check: Callable[[Model], object], model: Model) -> None:
    """Check a model; whatever the check stumbles over, no newer or older one suffers.

    Raises:
        RuntimeError: It is of no use.
    """
    try:
        check(model)
    except RuntimeError:
        raise
    except Exception as error:
        raise RuntimeError(
            f"Model {quote(model)} cannot be used ({quote(error)}); train a new one."
        ) from error


def get_newest_good_model_from_s3(
    bucket: str, folder: str, check: Callable[[Model], object]
) -> tuple[Model, list[str]]:
    """Get the newest model that can be loaded and passes a check.

    Args:
        check: Raises for a model that is of no use; a RuntimeError in a sentence.

    Returns:
        The model, and why each newer one was passed over.

    Raises:
        NothingFound: There is none.
        RuntimeError: None can be used, or S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    candidate, refusals = find_newest_good_model_on_s3(bucket, folder, check)
    assert candidate.model is not None
    return candidate.model, refusals


def find_newest_good_model_on_s3(
    bucket: str, folder: str, check: Callable[[Model], object]
) -> tuple[Candidate, list[str]]:
    """Find the newest model that can be loaded and passes a check, and how it lies.

    Each newer one that is refused is an ERROR in the log, one that was withdrawn a
    WARNING.

    Args, Returns, Raises: As get_newest_good_model_from_s3.
    """
    refusals: list[str] = []
    for candidate in read_models_from_s3(bucket, folder, check):
        if candidate.model is not None:
            warn_of_old_signature(candidate.artefact, candidate.proof)
            return candidate, refusals
        reason = candidate.reason_to_pass_over
        if candidate.refusal:
            log.error(f"Refused: {reason}")
        else:
            log.warning(f"Passed over: {reason}")
        refusals.append(reason)
    if not refusals:
        # Says that there is none.
        find_latest_artefact_on_s3("pkl", bucket, folder)
    raise RuntimeError(
        f"None of the {len(refusals)} models in s3://{bucket}/{folder}/ can be used, "
        f"the newest because: {refusals[0] if refusals else 'it was just added'}"
    )


def get_champion_from_s3(
    bucket: str, folder: str, check: Callable[[Model], object]
) -> Model | None:
    """Get the model that a new one is to replace: what a service would take now.

    Each newer one that is of no use is a WARNING in the log.

    Args:
        check: Raises for a model that is of no use; a RuntimeError in a sentence.

    Returns:
        The model; None if there is none to compare with.

    Raises:
        S3Failure: S3 could not be read. What is there may be better than any new one.
        ValueError: The signing key is too short.
    """
    for candidate in read_models_from_s3(bucket, folder, check):
        if candidate.model is not None:
            return candidate.model
        log.warning(f"No champion: {candidate.reason_to_pass_over}")
    log.info("There is no champion to compare with.")
    return None


def load_model(found: S3Object) -> Model:
    """Load a model from its bytes on S3, if they are ours.

    Raises:
        RuntimeError: The bytes do not verify, cannot be unpickled, or are not of a
            `Model`.
        ValueError: The signing key is too short, or empty.
    """
    try:
        proof = prove(found)
    except NotProved as error:
        raise RuntimeError(tell_unproved(found, error)) from error
    model = unpickle(found)
    warn_of_old_signature(found.artefact, proof)
    return model


def tell_unproved(found: S3Object, error: NotProved) -> str:
    """Say in a sentence what was not proved, and what to do."""
    remedy = "train a new model with this release of the pipeline"
    if isinstance(error, OfAnotherBucket):
        remedy = f"to let it serve here: {tell_resign(found.artefact)}"
    address = quote(found.artefact.address)
    return f"Model {address} does not verify: {quote(error)}; {remedy}."


def tell_resign(artefact: S3TimestampedArtefact) -> str:
    """The command that signs a model anew."""
    name = shlex.quote(quote(artefact.key))
    return f"python -m pipeline.models {artefact.bucket} resign {name}"


def warn_of_old_signature(
    artefact: S3TimestampedArtefact, proof: Proof | None
) -> None:
    """Warn of a model whose signature would be as good in any other bucket."""
    if proof is Proof.SIGNED_BEFORE:
        log.warning(
            f"Model {quote(artefact.address)} has a signature of the old form, which "
            f"does not bind it to its bucket; sign all anew: python -m pipeline.models "
            f"{artefact.bucket} resign"
        )


def unpickle(found: S3Object) -> Model:
    """Read the model in an object, whosever it is.

    Raises:
        RuntimeError: The bytes cannot be unpickled, or are not of a `Model`.
    """
    address = quote(found.artefact.address)
    remedy = "train a new model with this release of the pipeline"
    try:
        model = unpickle_model(found.content)
    except Exception as error:
        raise RuntimeError(
            f"Model {address} could not be unpickled: {quote(error)}; {remedy}."
        ) from error
    if not isinstance(model, Model):
        raise RuntimeError(
            f"Object {address} is not type Model but {type(model).__name__}; {remedy}."
        )
    return model
