"""Commands that add to the models folder: rollback, withdraw, resign."""

from argparse import Namespace
from datetime import UTC, datetime, timedelta

from pipeline import aws
from pipeline.models.answer import Answer
from pipeline.models.entries import choose, find_predecessor
from pipeline.orders import MODELS_FOLDER, ROLLED_BACK_FROM

# Of the short hash of a commit; what is shorter may be of many.
MIN_COMMIT = 7


def rollback(entries: list[aws.Candidate], chosen: Namespace) -> Answer:
    """Add an earlier model again, as the newest; a withdrawn one only if it is named.

    Raises:
        RuntimeError: There is none, it does not verify, the copy of a signed model
            would not be signed, or the copy would be dated in the future.
    """
    if chosen.model:
        entry = choose(entries, chosen.model)
    else:
        entry = find_predecessor(entries)
    if entry.found is None or entry.refusal:
        raise RuntimeError(f"Nothing was put back: {entry.refusal}")
    if aws.is_signed(entry.s3_metadata) and not aws.signing_keys():
        raise RuntimeError(
            f"Nothing was put back: {entry.name} is signed, and services refuse a copy "
            f"that is not; set {aws.KEYS_VARIABLE} to the key that both stages have."
        )
    timestamp = find_next_timestamp(entries)
    location = aws.add_model_to_s3(
        entry.found.content,
        entry.name.rpartition("_")[0],
        timestamp,
        chosen.bucket,
        MODELS_FOLDER,
        **{ROLLED_BACK_FROM: entry.artefact.key},
    )
    return Answer(
        {"added": f"s3://{location}", ROLLED_BACK_FROM: entry.name},
        [f"Put {entry.name} back as s3://{location}; restart the service to use it."],
    )


def find_next_timestamp(entries: list[aws.Candidate]) -> datetime:
    """Find a time that makes a model the newest, whatever is dated in the future.

    Raises:
        RuntimeError: It would be in the future as well, for a moment.
    """
    latest = aws.latest_taken()
    taken = [each.artefact.timestamp for each in entries]
    later = [each + timedelta(seconds=1) for each in taken if each <= latest]
    timestamp = max([datetime.now(UTC), *later])
    if timestamp > latest:
        raise RuntimeError(
            f"Nothing was put back: the newest model is dated {max(later):%H:%M:%S}, "
            "minutes ahead of this clock; try again in a minute."
        )
    return timestamp


def withdraw(entries: list[aws.Candidate], chosen: Namespace) -> Answer:
    """Withdraw one model, or all that the code of a commit has made since a time.

    Raises:
        RuntimeError: There is none of that name, the withdrawal of a signed model would
            not be signed, no model would be left, or S3 could not be written to.
        ValueError: The signing key is too short, or empty.
    """
    if chosen.model:
        named = [choose(entries, chosen.model)]
    else:
        named = [each for each in entries if is_made_by(each, chosen)]
    considered = [each for each in named if not each.withdrawal]
    for entry in considered:
        if entry.found is None:
            raise RuntimeError(f"Nothing was withdrawn: {entry.refusal}")
        if aws.is_signed(entry.s3_metadata) and not aws.signing_keys():
            raise RuntimeError(
                f"Nothing was withdrawn: {entry.name} is signed, and services ignore a "
                f"withdrawal that is not; set {aws.KEYS_VARIABLE} to the key that both "
                "stages have."
            )
    taken = [each for each in entries if each.model]
    if taken and all(each in considered for each in taken):
        raise RuntimeError(
            "Nothing was withdrawn: no model would be left for services to take; train "
            "another one, or put one back, first."
        )
    for entry in considered:
        assert entry.found is not None
        aws.withdraw(entry.found, chosen.reason)
    names = [entry.name for entry in considered]
    lines = [f"Withdrew {name}; services that start pass over it." for name in names]
    nothing = "There is no such model that is not withdrawn already."
    return Answer({"withdrawn": names}, lines or [nothing])


def is_made_by(entry: aws.Candidate, chosen: Namespace) -> bool:
    """Whether the code of the chosen commit has made a model, since the chosen time."""
    if entry.content is None:
        return False
    commit = entry.content.commit
    is_commit = len(commit) >= MIN_COMMIT and chosen.commit.startswith(commit)
    made = datetime.fromisoformat(entry.content.creation_time)
    return is_commit and made >= chosen.since


def resign(entries: list[aws.Candidate], chosen: Namespace) -> Answer:
    """Sign models anew with the first key, for this bucket.

    Only what is ours is signed: what verifies by one of the keys. A model that was
    signed for another bucket is signed for this one if it is named.

    Raises:
        RuntimeError: No key is set, nothing verifies, or S3 could not be written to.
    """
    if chosen.model:
        entry = choose(entries, chosen.model)
        proved = [entry] if entry.proof or entry.is_of_another_bucket else []
        refusal = entry.refusal
    else:
        considered = entries[: chosen.last]
        proved = [entry for entry in considered if entry.proof]
        refusal = considered[0].refusal
    if not proved:
        raise RuntimeError(f"Nothing was signed: {refusal}")
    for entry in proved:
        assert entry.found is not None
        # First, so that the model is never without it.
        if entry.withdrawal:
            aws.sign_anew(entry.withdrawal.found)
        aws.sign_anew(entry.found)
    names = [entry.name for entry in proved]
    return Answer(
        {"signed": names},
        [f"{name}: signed with the first key, for {chosen.bucket}" for name in names],
    )
