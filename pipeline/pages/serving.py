"""Which model serves, since when, and which were put back or withdrawn."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline import aws
from pipeline.estimator import Champion, read_champion
from pipeline.orders import MODELS_FOLDER, ROLLED_BACK_FROM


class Rollback(NamedTuple):
    """A model that was put back.

    Attributes:
        when: In UTC.
        name, original: File names of the copy, and of what it is a copy of.
    """

    when: datetime
    name: str
    original: str


class Withdrawn(NamedTuple):
    """That nobody is to take a model any more.

    Attributes:
        when: In UTC.
        name: Of the model's file.
    """

    when: datetime
    name: str
    reason: str


class Serving(NamedTuple):
    """The model that a service takes when it starts.

    Attributes:
        since: When it came to be the one that is taken, in UTC.
        made: When it was trained, in UTC.
        proof: How it was shown to be ours.
        original: File name of what it is a copy of; "" if it was not put back.
        is_again: Whether it serves because a newer one was withdrawn.
        champion: What it estimates.
    """

    name: str
    since: datetime
    made: datetime
    version: str
    delivery_key: str
    proof: str
    original: str
    is_again: bool = False
    champion: Champion | None = None


class ModelsFolder(NamedTuple):
    """What the folder of models says.

    Attributes:
        serving: None if no model can be used.
        refusals: Why each newer model cannot be used, a sentence each.
        rollbacks: The newest first.
        withdrawn: By the model's key.
    """

    serving: Serving | None
    refusals: list[str]
    rollbacks: list[Rollback]
    withdrawn: dict[str, Withdrawn]


def read_models_folder(
    bucket: str, published: Collection[str], since: datetime
) -> ModelsFolder:
    """Read what serves, what was put back, and what was withdrawn.

    Args:
        published: Keys of the models that runs have published: none of these is a copy.
        since: No older model is looked at, but to find one that serves.

    Raises:
        S3Failure: S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    serving = None
    refusals: list[str] = []
    passed_over: list[datetime] = []
    for candidate in aws.read_models_from_s3(bucket, MODELS_FOLDER, read_champion):
        if candidate.model is not None:
            serving = describe(candidate, candidate.model, passed_over)
            break
        if candidate.refusal:
            refusals.append(candidate.refusal)
        elif candidate.withdrawal:
            passed_over.append(candidate.withdrawal.at)
    usable = aws.survey_folder("pkl", bucket, MODELS_FOLDER).usable
    recent = [each for each in usable if each.timestamp >= since]
    copies = [each for each in recent if each.key not in published]
    read = (each for _, each in aws.read_each(copies, read_rollback))
    rollbacks = [each for each in read if isinstance(each, Rollback)]
    withdrawn = dict(find_withdrawn(bucket, recent))
    return ModelsFolder(serving, refusals, rollbacks, withdrawn)


def read_rollback(artefact: aws.S3TimestampedArtefact) -> Rollback | None:
    """Read what a model says of where it was copied from; None if it says nothing, or
    cannot be used.

    Raises:
        S3Failure: S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    found = aws.get_object_from_s3(artefact)
    original = name_of(found.metadata.get(ROLLED_BACK_FROM, "")) if found else ""
    if found is None or not original:
        return None
    try:
        aws.load_model(found)
    except aws.S3Failure:
        raise
    except RuntimeError:
        return None
    return Rollback(artefact.timestamp, name_of(artefact.key), original)


def find_withdrawn(
    bucket: str, models: list[aws.S3TimestampedArtefact]
) -> Iterator[tuple[str, Withdrawn]]:
    """Find which models were withdrawn; yields their keys.

    Raises:
        S3Failure: S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    listed = aws.list_artefacts_on_s3("withdrawn", bucket, MODELS_FOLDER)
    beside = aws.group_by_model(listed)
    for artefact in models:
        found = artefact.key in beside and aws.get_object_from_s3(artefact)
        withdrawal = found and aws.find_withdrawal(found, beside[artefact.key])
        if withdrawal:
            name = name_of(artefact.key)
            yield artefact.key, Withdrawn(withdrawal.at, name, withdrawal.reason)


def describe(
    candidate: aws.Candidate, model: aws.Model, passed_over: list[datetime]
) -> Serving:
    """Describe what serves.

    Args:
        passed_over: When newer ones were withdrawn.
    """
    added = candidate.artefact.timestamp
    return Serving(
        candidate.name,
        max([added, *passed_over]),
        datetime.fromisoformat(model.creation_time).astimezone(UTC),
        str(model),
        model.train_dataset_key,
        str(candidate.proof),
        name_of(candidate.s3_metadata.get(ROLLED_BACK_FROM, "")),
        bool(passed_over),
        read_champion(model),
    )


def name_of(key: str) -> str:
    """The file name in a key, fit to be shown."""
    return aws.quote(key.rpartition("/")[2]) if key else ""
