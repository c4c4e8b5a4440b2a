"""A trained model, and where it came from."""

import logging
import shlex
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from json import JSONEncoder
from math import isfinite
from os import environ
from typing import Any, NamedTuple

from pipeline.aws.artefacts import (
    S3Object,
    exists_on_s3,
    find_latest_artefact_on_s3,
    get_latest_object_from_s3,
    get_object_from_s3,
    read_each,
)
from pipeline.aws.formats import TooLarge
from pipeline.aws.listing import (
    S3TimestampedArtefact,
    is_in_subfolder,
    list_formats_on_s3,
    tell_future,
)
from pipeline.aws.client import S3Failure
from pipeline.aws.datasets import Dataset
from pipeline.aws.pickling import (
    MAX_BYTES,
    pickle_model,
    unpickle_estimator,
    unpickle_model,
)
from pipeline.aws.signing import (
    NotProved,
    OfAnotherBucket,
    Proof,
    prove,
    signing_keys,
)
from pipeline.aws.signed_objects import add_signed_object_to_s3
from pipeline.aws.withdrawals import (
    FORMAT as WITHDRAWN,
    Withdrawal,
    find_withdrawal,
    group_by_model,
)
from pipeline.logs import printable

# As long as the longest key on S3.
MAX_TEXT = 1024

log = logging.getLogger("pipeline")


class Model:
    """A trained estimator with its lineage and metadata.

    The estimator is pickled when the model is made. Its hash is of those bytes, and
    they are stored as they are within the pickled model, so that what was hashed is
    what is loaded, and the release of scikit-learn is known before they are read. They
    are unpickled when the estimator is first asked for: who only needs the metadata,
    as the service does, imports no scikit-learn (nor pandas, which it imports).
    """

    def __init__(
        self,
        name: str,
        model: Any,
        train_dataset: Dataset,
        metadata: dict[str, Any] | None = None,
    ):
        """Wrap a trained estimator.

        Args:
            name: First part of the file name on S3.
            model: The trained estimator.
            train_dataset: What it was trained on.
            metadata: Anything worth keeping, of plain Python types.

        Raises:
            RuntimeError: The estimator cannot be pickled.
        """
        try:
            self._model_pickle = pickle_model(model)
        except Exception as error:
            raise RuntimeError(f"Could not pickle model {name}: {error}.") from error
        self._name = name
        self._model = model
        self._model_type = type(model).__name__
        self._model_hash = sha256(self._model_pickle).hexdigest()
        self._creation_time = datetime.now(UTC)
        self._train_dataset_key = train_dataset.key
        self._train_dataset_hash = train_dataset.hash
        self._pipeline_git_commit_hash = deployed_commit()
        self._scikit_learn_version = version("scikit-learn")
        self._metadata = metadata

    @property
    def model(self) -> Any:
        """The trained estimator.

        Raises:
            RuntimeError: It was made with another release of scikit-learn.
            UnpicklingError: It holds what is not declared as part of a model.
        """
        if self._model is None:
            installed = version("scikit-learn")
            if self._scikit_learn_version != installed:
                raise RuntimeError(
                    f"The estimator of model {self} was made with scikit-learn "
                    f"{self._scikit_learn_version} and {installed} is installed; "
                    "install that release to use it, or train a new model."
                )
            self._model = unpickle_estimator(self._model_pickle)
        return self._model

    @property
    def name(self) -> str:
        return self._name

    @property
    def pipeline_git_commit_hash(self) -> str:
        """The commit that it was trained by; "NA" where that is not known."""
        return self._pipeline_git_commit_hash

    @property
    def creation_time(self) -> str:
        """When it was made, in UTC and ISO 8601."""
        return self._creation_time.isoformat()

    @property
    def hash(self) -> str:
        """SHA-256 of the pickled estimator, hexadecimal."""
        return self._model_hash

    @property
    def train_dataset_key(self) -> str:
        return self._train_dataset_key

    @property
    def train_dataset_hash(self) -> str:
        """SHA-256 of the dataset's bytes, hexadecimal."""
        return self._train_dataset_hash

    @property
    def commit(self) -> str:
        """Of the code that made it, short; "NA" if that was not deployed."""
        return self._pipeline_git_commit_hash

    @property
    def metadata(self) -> dict[str, Any] | None:
        return self._metadata

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return "|".join(f"{key}:{value}" for key, value in self._identity().items())

    def __repr__(self) -> str:
        return "\n".join(f"{key}: {value}" for key, value in self._identity().items())

    def __getstate__(self) -> dict[str, Any]:
        state = {key: val for key, val in self.__dict__.items() if key != "_model"}
        return state | {"_creation_time": self._creation_time.isoformat()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if {name: type(value) for name, value in state.items()} not in STATES:
            raise RuntimeError("its parts are not those of a model")
        for name, value in state.items():
            if isinstance(value, str) and not is_short_line(value):
                raise RuntimeError(
                    f"its {name.strip('_')} is not one line of printable text of at "
                    f"most {MAX_TEXT:,} characters"
                )
        check_metadata(state["_metadata"])
        if sha256(state["_model_pickle"]).hexdigest() != state["_model_hash"]:
            raise RuntimeError("its estimator has another hash than it says")
        self.__dict__.update(state)
        self._creation_time = datetime.fromisoformat(state["_creation_time"])
        self._model = None

    def put_model_to_s3(self, bucket: str, folder: str = "") -> str:
        """Add the model to S3, named after the second in which it was made.

        If another model has that name already, the next free second is taken.

        Returns:
            The location, as `bucket/folder/filename`.

        Raises:
            RuntimeError: Its metadata are not what JSON holds, or S3 could not be
                written to.
        """
        refuse_metadata(self)
        return add_model_to_s3(
            pickle_model(self), self._name, self._creation_time, bucket, folder
        )

    def _identity(self) -> dict[str, str]:
        return {
            "name": self._name,
            "model_type": self._model_type,
            "model_timestamp": self._creation_time.isoformat(),
            "model_hash": self._model_hash,
            "train_dataset_key": self._train_dataset_key,
            "train_dataset_hash": self._train_dataset_hash,
            "pipeline_git_commit_hash": self._pipeline_git_commit_hash,
        }


def deployed_commit() -> str:
    """The commit of the code that runs, as Bodywork tells it; "NA" elsewhere."""
    return environ.get("GIT_COMMIT_HASH", "NA")


# What a pickled model holds: the types of its parts, with metadata or without.
STATES = [
    {
        "_model_pickle": bytes,
        "_name": str,
        "_model_type": str,
        "_model_hash": str,
        "_creation_time": str,
        "_train_dataset_key": str,
        "_train_dataset_hash": str,
        "_pipeline_git_commit_hash": str,
        "_scikit_learn_version": str,
        "_metadata": metadata,
    }
    for metadata in (dict, type(None))
]


def is_short_line(text: str) -> bool:
    """Whether a text can stand in logs and answers: no control or half characters."""
    return len(text) <= MAX_TEXT and text.isprintable()


def check_metadata(metadata: dict[str, Any] | None) -> None:
    """Make sure that metadata are what JSON holds, and not more than a model needs.

    Raises:
        RuntimeError: They are not.
    """
    length = 0
    try:
        for name in metadata or {}:
            if not isinstance(name, str) or not is_short_line(name):
                raise ValueError("a name is not one line of text")
        # Piece by piece: a small pickle can refer to one long text a million times.
        for piece in JSONEncoder(allow_nan=False).iterencode(metadata):
            length += len(piece)
            if length > MAX_BYTES:
                raise ValueError("they are too long")
    except (RecursionError, TypeError, ValueError) as error:
        reason = str(error)
        if reason.startswith("Out of range float"):
            reason = find_no_number("", metadata) or reason
        raise RuntimeError(f"its metadata are not plain: {reason}") from error


def find_no_number(path: str, value: object) -> str:
    """Find the first NaN or infinity in metadata.

    Returns:
        Where it is and which it is; "" if there is none.
    """
    if isinstance(value, float) and not isfinite(value):
        return f"{path} is {value}"
    entries: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list | tuple):
        entries = enumerate(value)
    found = (
        find_no_number(f"{path}.{name}".lstrip(".")[:MAX_TEXT], entry)
        for name, entry in entries
    )
    return next(filter(None, found), "")


def refuse_metadata(model: Model) -> None:
    """Refuse to publish a model whose metadata would be refused when it is read.

    Raises:
        RuntimeError: Says what is wrong with them.
    """
    try:
        check_metadata(model.metadata)
    except RuntimeError as error:
        raise RuntimeError(f"Model {model} was not published: {error}.") from error


def check_loadable(model: Model) -> None:
    """Make sure that a model will be loaded where it is published.

    Raises:
        RuntimeError: It would be refused.
    """
    refuse_metadata(model)
    try:
        loaded = unpickle_model(pickle_model(model))
        assert isinstance(loaded, Model) and loaded.model is not None
    except Exception as error:
        raise RuntimeError(
            f"Model {model} could not be loaded again: {quote(error)}; declare what it "
            "is made of with pipeline.aws.declare."
        ) from error


def add_model_to_s3(
    content: bytes,
    name: str,
    timestamp: datetime,
    bucket: str,
    folder: str,
    **metadata: str,
) -> str:
    """Add a pickled model to S3 under the next free second, signed if a key is set.

    Returns:
        The location, as `bucket/folder/filename`.

    Raises:
        RuntimeError: S3 could not be written to.
        ValueError: The signing key is too short, or empty.
    """
    return add_signed_object_to_s3(
        content, name, timestamp, "pkl", bucket, folder, **metadata
    )


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


def quote(found: object) -> str:
    """What an error or a name says, made safe: none must write lines of its own."""
    text = str(found).rstrip(".") or type(found).__name__
    return printable(text[:MAX_TEXT])


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
