"""The models in a bucket: look at them, verify them, put an earlier one back.

Nothing is deleted: an earlier model is put back by adding it again, as the newest.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline import aws
from pipeline.estimator import CURVES, read_curves
from pipeline.orders import MODELS_FOLDER

ROLLED_BACK_FROM = "rolled-back-from"
COLUMNS = ("model", "made", "r-squared", "MAE (hours)", "delivery", "state")


def read_entries(bucket: str) -> list[aws.Candidate]:
    """Read every object in the models folder, the newest first.

    Raises:
        RuntimeError: There is none, or S3 could not be read.
    """
    aws.find_latest_artefact_on_s3("pkl", bucket, MODELS_FOLDER)
    return list(aws.read_models_from_s3(bucket, MODELS_FOLDER, check=read_curves))


def choose(entries: list[aws.Candidate], name: str) -> aws.Candidate:
    """Find a model by its file name or key.

    Raises:
        RuntimeError: There is none of that name.
    """
    for entry in entries:
        if name in (entry.name, entry.artefact.key):
            return entry
    raise RuntimeError(f"There is no model {name}; choose one that list shows.")


def describe(entry: aws.Candidate, serving: aws.Candidate | None) -> dict[str, Any]:
    """What is known of a model, in plain types; its curves are left out."""
    metadata = dict((entry.model and entry.model.metadata) or {})
    metadata.pop(CURVES, None)
    return {
        "model": entry.name,
        "made": entry.artefact.timestamp.isoformat(),
        "serving": entry is serving,
        "verified": not entry.refusal,
        "refusal": entry.refusal,
        "rolled_back_from": entry.s3_metadata.get(ROLLED_BACK_FROM, ""),
        "model_version": str(entry.model) if entry.model else "",
        "train_dataset_key": entry.model.train_dataset_key if entry.model else "",
        "metadata": metadata,
    }


def list_models(entries: list[aws.Candidate], chosen: Namespace) -> int:
    serving = find_serving(entries)
    known = [describe(entry, serving) for entry in entries]
    if chosen.json:
        print(json.dumps(known, indent=2))
        return 0
    rows = [COLUMNS]
    for each in known:
        metadata = each["metadata"]
        state = "refused" if each["refusal"] else "verified"
        rows.append(
            (
                each["model"],
                each["made"].removesuffix("+00:00"),
                format_metric(metadata.get("r_squared")),
                format_metric(metadata.get("mean_absolute_error")),
                each["train_dataset_key"] or "-",
                "serving" if each["serving"] else state,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return 0


def format_metric(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-"


def show(entries: list[aws.Candidate], chosen: Namespace) -> int:
    entry = choose(entries, chosen.model) if chosen.model else entries[0]
    known = describe(entry, find_serving(entries))
    if chosen.json:
        print(json.dumps(known, indent=2))
        return 0
    for name, value in known.items():
        if name != "metadata":
            print(f"{name}: {value}")
    for name, value in known["metadata"].items():
        print(f"{name}: {json.dumps(value)}")
    return 0


def verify(entries: list[aws.Candidate], chosen: Namespace) -> int:
    checked = [choose(entries, chosen.model)] if chosen.model else entries
    if chosen.json:
        serving = find_serving(entries)
        print(json.dumps([describe(entry, serving) for entry in checked], indent=2))
    else:
        for entry in checked:
            print(f"{entry.name}: {entry.refusal or 'verified'}")
    return int(any(entry.refusal for entry in checked))


def rollback(entries: list[aws.Candidate], chosen: Namespace) -> int:
    """Add an earlier model again, as the newest.

    Raises:
        RuntimeError: There is none, it does not verify, the copy of a signed model
            would not be signed, or no name can be newer.
    """
    if chosen.model:
        entry = choose(entries, chosen.model)
    else:
        entry = find_predecessor(entries)
    if entry.found is None or entry.model is None:
        raise RuntimeError(f"Nothing was put back: {entry.refusal}")
    if aws.SIGNATURE in entry.s3_metadata and not aws.signing_keys():
        raise RuntimeError(
            f"Nothing was put back: {entry.name} is signed, and services refuse a copy "
            f"that is not; set {aws.KEYS_VARIABLE} to the key that both stages have."
        )
    try:
        newest = entries[0].artefact.timestamp + timedelta(seconds=1)
    except OverflowError as error:
        raise RuntimeError(
            f"Nothing was put back: no name can be newer than {entries[0].name}; "
            "remove it first."
        ) from error
    location = aws.add_model_to_s3(
        entry.found.content,
        entry.name.rpartition("_")[0],
        max(datetime.now(UTC), newest),
        chosen.bucket,
        MODELS_FOLDER,
        **{ROLLED_BACK_FROM: entry.artefact.key},
    )
    result = {"added": f"s3://{location}", ROLLED_BACK_FROM: entry.name}
    if chosen.json:
        print(json.dumps(result, indent=2))
    else:
        print(
            f"Put {entry.name} back as s3://{location}; restart the service to use it."
        )
    return 0


def find_predecessor(entries: list[aws.Candidate]) -> aws.Candidate:
    """The newest model that verifies and is older than every copy of the serving one.

    Raises:
        RuntimeError: There is none.
    """
    serving = find_serving(entries)
    copies = [
        place
        for place, entry in enumerate(entries)
        if serving is not None and entry.model == serving.model
    ]
    for entry in entries[copies[-1] + 1 :] if copies else []:
        if entry.model is not None:
            return entry
    raise RuntimeError("There is no earlier model that verifies to go back to.")


def find_serving(entries: list[aws.Candidate]) -> aws.Candidate | None:
    """The newest that verifies: what a service that starts now would take."""
    return next((entry for entry in entries if entry.model), None)


COMMANDS = {
    "list": (list_models, "a table of all models, the newest first"),
    "show": (show, "all that is known of one model, by default of the newest"),
    "verify": (verify, "check that models are unchanged, signed and loadable"),
    "rollback": (rollback, "put an earlier model back, by default the one before"),
}


def parse(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(prog="python -m pipeline.models", description=__doc__)
    parser.add_argument("bucket", metavar="BUCKET")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, explanation) in COMMANDS.items():
        command = commands.add_parser(name, help=explanation, description=explanation)
        if name != "list":
            command.add_argument(
                "model", metavar="MODEL", nargs="?", help="file name or key"
            )
        command.add_argument("--json", action="store_true", help="for programs")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code.

    Raises:
        RuntimeError: It could not be done.
        ValueError: The signing key is none.
    """
    chosen = parse(arguments)
    run, _ = COMMANDS[chosen.command]
    return run(read_entries(chosen.bucket), chosen)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))
