"""A trained model, and where it came from."""

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from json import JSONEncoder
from math import isfinite
from os import environ
from typing import Any

from pipeline.aws.datasets import Dataset
from pipeline.aws.pickling import (
    MAX_BYTES,
    pickle_model,
    unpickle_estimator,
    unpickle_model,
)
from pipeline.aws.signed_objects import add_signed_object_to_s3
from pipeline.logs import printable

# As long as the longest key on S3.
MAX_TEXT = 1024


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


def quote(found: object) -> str:
    """What an error or a name says, made safe: none must write lines of its own."""
    text = str(found).rstrip(".") or type(found).__name__
    return printable(text[:MAX_TEXT])
