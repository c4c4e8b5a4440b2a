"""The models folder: what lies in it, which is next, and what became of the others."""

from pipeline import aws
from pipeline.estimator import read_curves
from pipeline.orders import MODELS_FOLDER, ROLLED_BACK_FROM

# What a service that starts now takes.
NEXT = "next"


def read_entries(bucket: str) -> list[aws.Candidate]:
    """Read every object in the models folder, the newest first.

    Raises:
        RuntimeError: There is none, or S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    entries = list(aws.read_models_from_s3(bucket, MODELS_FOLDER, check=read_curves))
    if not entries:
        # Says that there is none.
        aws.find_latest_artefact_on_s3("pkl", bucket, MODELS_FOLDER)
    return entries


def choose(entries: list[aws.Candidate], name: str) -> aws.Candidate:
    """Find a model by its file name or key.

    Raises:
        RuntimeError: There is none of that name.
    """
    for entry in entries:
        if name in (entry.name, entry.artefact.key):
            return entry
    raise RuntimeError(f"There is no model {name}; choose one that list shows.")


def find_next(entries: list[aws.Candidate]) -> aws.Candidate | None:
    """The newest that verifies: what a service that starts now would take."""
    return next((entry for entry in entries if entry.model), None)


def find_predecessor(entries: list[aws.Candidate]) -> aws.Candidate:
    """The newest model that verifies and is older than every copy of the serving one.

    Raises:
        RuntimeError: There is none.
    """
    serving = find_next(entries)
    copies = [
        place
        for place, entry in enumerate(entries)
        if serving is not None and entry.model == serving.model
    ]
    for entry in entries[copies[-1] + 1 :] if copies else []:
        if entry.model is not None:
            return entry
    raise RuntimeError("There is no earlier model that verifies to go back to.")


def tell_states(entries: list[aws.Candidate]) -> dict[str, str]:
    """Say of each model what it is, by its key.

    What serves now is known to the service alone: NEXT is what one that starts takes.
    """
    following = find_next(entries)
    rolled_back = find_rolled_back(entries)
    states = {}
    for entry in entries:
        key = entry.artefact.key
        is_checked = entry.proof is not aws.Proof.UNCHECKED
        if entry.refusal:
            states[key] = "refused"
        elif entry.withdrawal:
            states[key] = "withdrawn"
        elif entry is following:
            states[key] = NEXT
        elif key in rolled_back:
            states[key] = "rolled back"
        else:
            states[key] = "verified" if is_checked else "unchecked"
    return states


def find_rolled_back(entries: list[aws.Candidate]) -> set[str]:
    """The keys of models that were given up by putting an earlier one back."""
    origins = {entry.artefact.key: entry.artefact.timestamp for entry in entries}
    found: set[str] = set()
    for entry in entries:
        origin = origins.get(entry.s3_metadata.get(ROLLED_BACK_FROM, ""))
        if origin is not None:
            given_up = (
                key
                for key, timestamp in origins.items()
                if origin < timestamp < entry.artefact.timestamp
            )
            found.update(given_up)
    return found
