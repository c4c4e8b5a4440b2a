"""A trained model, and where it came from."""

import pickle
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from os import environ
from typing import Any

from pipeline.aws.artefacts import (
    S3Object,
    get_latest_object_from_s3,
    make_timestamped_filename,
    put_object_to_s3,
)
from pipeline.aws.datasets import Dataset

PICKLE_PROTOCOL = 5
PUT_ATTEMPTS = 60


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
            self._model_pickle = pickle.dumps(model, protocol=PICKLE_PROTOCOL)
        except Exception as error:
            raise RuntimeError(f"Could not pickle model {name}: {error}.") from error
        self._name = name
        self._model = model
        self._model_type = type(model).__name__
        self._model_hash = sha256(self._model_pickle).hexdigest()
        self._creation_time = datetime.now(UTC)
        self._train_dataset_key = train_dataset.key
        self._train_dataset_hash = train_dataset.hash
        self._pipeline_git_commit_hash = environ.get("GIT_COMMIT_HASH", "NA")
        self._scikit_learn_version = version("scikit-learn")
        self._metadata = metadata

    @property
    def model(self) -> Any:
        """The trained estimator."""
        if self._model is None:
            self._model = unpickle(self._model_pickle)
        return self._model

    @property
    def train_dataset_key(self) -> str:
        return self._train_dataset_key

    @property
    def train_dataset_hash(self) -> str:
        """SHA-256 of the dataset's bytes, hexadecimal."""
        return self._train_dataset_hash

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
        return {key: val for key, val in self.__dict__.items() if key != "_model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        installed = version("scikit-learn")
        if state["_scikit_learn_version"] != installed:
            raise RuntimeError(
                f"it was made with scikit-learn {state['_scikit_learn_version']} and "
                f"{installed} is installed"
            )
        self.__dict__.update(state)
        self._model = None

    def put_model_to_s3(self, bucket: str, folder: str = "") -> str:
        """Add the model to S3, named after the second in which it was made.

        If another model has that name already, the next free second is taken.

        Returns:
            The location, as `bucket/folder/filename`.

        Raises:
            RuntimeError: S3 could not be written to.
        """
        content = pickle.dumps(self, protocol=PICKLE_PROTOCOL)
        for seconds in range(PUT_ATTEMPTS):
            timestamp = self._creation_time + timedelta(seconds=seconds)
            filename = make_timestamped_filename(self._name, timestamp, "pkl")
            if put_object_to_s3(content, bucket, folder, filename):
                return "/".join(filter(None, [bucket, folder.strip("/"), filename]))
        raise RuntimeError(
            f"Could not write {filename} to s3://{bucket}/{folder}: the names of "
            f"{PUT_ATTEMPTS} seconds are taken; train again."
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


def get_latest_pkl_model_from_s3(bucket: str, folder: str = "") -> Model:
    """Get the newest model.

    Raises:
        RuntimeError: There is none, it cannot be loaded, or S3 could not be read.
    """
    return load_model(get_latest_object_from_s3("pkl", bucket, folder))


def load_model(found: S3Object) -> Model:
    """Load a model from its bytes on S3: the one place that decides what is loaded.

    Raises:
        RuntimeError: The bytes cannot be unpickled, are not of a `Model`, or were
            made with another release of scikit-learn.
    """
    address = found.artefact.address
    remedy = "train a new model with this release of the pipeline"
    try:
        model = unpickle(found.content)
    except Exception as error:
        raise RuntimeError(
            f"Model {address} could not be unpickled: "
            f"{str(error).rstrip('.') or type(error).__name__}; {remedy}."
        ) from error
    if not isinstance(model, Model):
        raise RuntimeError(
            f"Object {address} is not type Model but {type(model).__name__}; {remedy}."
        )
    return model


def unpickle(content: bytes) -> object:
    """Unpickle bytes that come from the pipeline's own bucket."""
    return pickle.loads(content)
