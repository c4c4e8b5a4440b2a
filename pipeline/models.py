"""The models in a bucket: look at them, verify, put one back, withdraw, sign anew.

Nothing is deleted: an earlier model is put back by adding it again, as the newest, and
a model is withdrawn, or signed anew, by adding an object beside it that says so.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from textwrap import wrap
from typing import Any

from pipeline import aws
from pipeline.estimator import (
    CURVES,
    KNOWLEDGE,
    LEVELS,
    PRODUCTS,
    RANGES,
    read_curves,
    read_products,
    read_ranges,
    recall_knowledge,
    tell_count,
)
from pipeline.orders import MODELS_FOLDER, ROLLED_BACK_FROM

# Of the short hash of a commit; what is shorter may be of many.
MIN_COMMIT = 7
COLUMNS = ("model", "r²", "MAE h", "delivery", "state")
WIDTH = 80
# What a service that starts now takes.
NEXT = "next"
# Not for people.
LEFT_OUT = (CURVES, KNOWLEDGE, PRODUCTS, RANGES, "training_rows")
TOLD_LEVEL = 0.9


def read_entries(bucket: str) -> list[aws.Candidate]:
    """Read every object in the models folder, the newest first.

    Raises:
        RuntimeError: There is none, or S3 could not be read.
        ValueError: The signing key is none.
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


def describe(entry: aws.Candidate, states: dict[str, str]) -> dict[str, Any]:
    """What is known of a model, in plain types; what is not for people is left out.

    What a refused model says of itself is told as well, beside its refusal.
    """
    model, withdrawal = entry.content, entry.withdrawal
    metadata = dict((model and model.metadata) or {})
    return {
        "model": entry.name,
        "made": entry.artefact.timestamp.isoformat(),
        "next": states[entry.artefact.key] == NEXT,
        "verified": not entry.refusal and entry.proof is not aws.Proof.UNCHECKED,
        "state": states[entry.artefact.key],
        "refusal": entry.refusal,
        "withdrawn_at": withdrawal.at.isoformat() if withdrawal else "",
        "withdrawn_because": withdrawal.reason if withdrawal else "",
        "rolled_back_from": entry.s3_metadata.get(ROLLED_BACK_FROM, ""),
        "model_version": str(model) if model else "",
        "train_dataset_key": model.train_dataset_key if model else "",
        PRODUCTS: describe_products(model) if model else {},
        "metadata": {
            name: value for name, value in metadata.items() if name not in LEFT_OUT
        },
    }


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


def describe_products(model: aws.Model) -> dict[str, dict[str, Any]]:
    """What each product was learnt from, and what stands behind it; empty for a model
    that does not say."""
    try:
        products = {code: each._asdict() for code, each in read_products(model).items()}
        told_ranges = describe_ranges(model)
    except (RuntimeError, TypeError, ValueError):
        return {}
    for code, told in told_ranges.items():
        products.get(code, {}).update(told)
    for code, known in (recall_knowledge(model) or {}).items():
        products.get(code, {}).update(
            weeks_known=known.weeks,
            orders_known=round(known.orders),
            kept=known.share if known.weeks_before else None,
        )
    return products


def describe_ranges(model: aws.Model) -> dict[str, dict[str, Any]]:
    """By product, the observed orders, and estimate and ranges on a middling day."""
    ranges = read_ranges(model)
    if ranges is None:
        return {}
    curves, described = read_curves(model), {}
    for code in curves.keys() & ranges.limits.keys():
        low, high = ranges.limits[code]
        estimate = curves[code](high / 2)
        described[code] = {
            "observed": [low, high],
            "at": high / 2,
            "estimate": estimate,
            "ranges": {
                str(level): ranges.around(code, estimate, level) for level in LEVELS
            },
        }
    return described


def tell_product(product: dict[str, Any]) -> str:
    """Say in a line what `describe_products` does of one product."""
    told = f"learnt from {aws.quote(product['learnt_from'])}"
    if product["orders"] is not None:
        told = f"{product['orders']} orders, {told}"
    if product["learnt_at"]:
        told += f" of {product['learnt_at']}"
    if product["is_kept"]:
        told += ", kept from an earlier model"
    if "weeks_known" in product:
        told += (
            f"; {tell_count(product['orders_known'], 'order')} of "
            f"{tell_count(product['weeks_known'], 'week')} stand behind it"
        )
        if product["kept"] is not None:
            told += f", {product['kept']:.0%} of what was known was kept"
    if "observed" in product:
        low, high = product["observed"]
        told += f"; observed from {low:g} to {high:g} orders placed"
        around = product["ranges"][str(TOLD_LEVEL)]
        told += f"; at {product['at']:g} of them {product['estimate']:.1f} hours, "
        told += (
            f"{TOLD_LEVEL:.0%} within {around[0]:.1f} to {around[1]:.1f}"
            if around
            else f"too few orders to say where {TOLD_LEVEL:.0%} fall"
        )
    return told


def list_models(entries: list[aws.Candidate], chosen: Namespace) -> int:
    states = tell_states(entries)
    known = [describe(entry, states) for entry in entries]
    if chosen.json:
        print(json.dumps(known, indent=2))
        return 0
    rows: list[tuple[Sequence[str], str]] = [(COLUMNS, "")]
    for entry, each in zip(entries, known, strict=True):
        metadata = each["metadata"]
        delivered = aws.parse_timestamp(each["train_dataset_key"])
        cells: Sequence[str] = (
            each["model"],
            format_metric(metadata.get("r_squared")),
            format_metric(metadata.get("mean_absolute_error")),
            f"{delivered:%Y-%m-%d}" if delivered else "-",
            each["state"],
        )
        rows.append((cells, tell_note(entry)))
    columns = zip(*[cells for cells, _ in rows], strict=True)
    widths = [max(map(len, column)) for column in columns]
    for cells, note in rows:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print("  ".join(padded).rstrip())
        for line in wrap(note, WIDTH - 2):
            print(f"  {line}")
    if any(entry.proof is aws.Proof.UNCHECKED for entry in entries):
        print(f"No signature was checked, for {aws.KEYS_VARIABLE} is not set.")
    return 0


def tell_note(entry: aws.Candidate) -> str:
    """What else there is to say of a model, in a sentence; "" for nothing."""
    if entry.refusal:
        return entry.refusal
    if entry.withdrawal:
        return f"Withdrawn: {entry.withdrawal.reason}"
    origin = entry.s3_metadata.get(ROLLED_BACK_FROM, "")
    return f"Put back from {aws.quote(origin.rpartition('/')[2])}." if origin else ""


def format_metric(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-"


def show(entries: list[aws.Candidate], chosen: Namespace) -> int:
    entry = choose(entries, chosen.model) if chosen.model else entries[0]
    known = describe(entry, tell_states(entries))
    if chosen.json:
        print(json.dumps(known, indent=2))
        return 0
    for name, value in known.items():
        if name not in (PRODUCTS, "metadata"):
            print(f"{name}: {value}")
    for code, product in known[PRODUCTS].items():
        print(f"{code}: {tell_product(product)}")
    for name, value in known["metadata"].items():
        print(f"{name}: {json.dumps(value)}")
    return 0


def verify(entries: list[aws.Candidate], chosen: Namespace) -> int:
    checked = [choose(entries, chosen.model)] if chosen.model else entries
    if chosen.json:
        states = tell_states(entries)
        print(json.dumps([describe(entry, states) for entry in checked], indent=2))
    else:
        for entry in checked:
            told = [entry.refusal or tell_proof(entry)]
            if entry.withdrawal:
                told.append(f"withdrawn: {entry.withdrawal.reason}")
            print(f"{entry.name}: {'; '.join(told)}")
    return int(any(entry.refusal for entry in checked))


def tell_proof(entry: aws.Candidate) -> str:
    if entry.proof is aws.Proof.SIGNED_BEFORE:
        return f"{entry.proof}; sign it anew: {aws.tell_resign(entry.artefact)}"
    return str(entry.proof)


def rollback(entries: list[aws.Candidate], chosen: Namespace) -> int:
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
    result = {"added": f"s3://{location}", ROLLED_BACK_FROM: entry.name}
    if chosen.json:
        print(json.dumps(result, indent=2))
    else:
        print(
            f"Put {entry.name} back as s3://{location}; restart the service to use it."
        )
    return 0


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


def withdraw(entries: list[aws.Candidate], chosen: Namespace) -> int:
    """Withdraw one model, or all that the code of a commit has made since a time.

    Raises:
        RuntimeError: There is none of that name, the withdrawal of a signed model would
            not be signed, no model would be left, or S3 could not be written to.
        ValueError: The signing key is none.
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
    if chosen.json:
        print(json.dumps({"withdrawn": names}, indent=2))
    elif names:
        for name in names:
            print(f"Withdrew {name}; services that start pass over it.")
    else:
        print("There is no such model that is not withdrawn already.")
    return 0


def is_made_by(entry: aws.Candidate, chosen: Namespace) -> bool:
    """Whether the code of the chosen commit has made a model, since the chosen time."""
    if entry.content is None:
        return False
    commit = entry.content.commit
    is_commit = len(commit) >= MIN_COMMIT and chosen.commit.startswith(commit)
    made = datetime.fromisoformat(entry.content.creation_time)
    return is_commit and made >= chosen.since


def resign(entries: list[aws.Candidate], chosen: Namespace) -> int:
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
    if chosen.json:
        print(json.dumps({"signed": names}, indent=2))
    else:
        for name in names:
            print(f"{name}: signed with the first key, for {chosen.bucket}")
    return 0


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


def find_next(entries: list[aws.Candidate]) -> aws.Candidate | None:
    """The newest that verifies: what a service that starts now would take."""
    return next((entry for entry in entries if entry.model), None)


COMMANDS = {
    "list": (list_models, "a table of all models, the newest first"),
    "show": (show, "all that is known of one model, by default of the newest"),
    "verify": (verify, "check that models are unchanged, signed and loadable"),
    "rollback": (rollback, "put an earlier model back, by default the one before"),
    "withdraw": (withdraw, "let services pass over a model, for a reason that is kept"),
    "resign": (resign, "sign what verifies anew, with the first key for this bucket"),
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
        if name == "withdraw":
            command.add_argument(
                "--commit",
                metavar="HASH",
                help="instead of MODEL: all that its code has made since TIME",
            )
            command.add_argument(
                "--since", metavar="TIME", type=read_time, help="in ISO 8601"
            )
            command.add_argument("--reason", metavar="TEXT", required=True)
        if name == "resign":
            command.add_argument(
                "--last", metavar="N", type=count, help="only the N newest"
            )
        command.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_args(arguments)
    if chosen.command == "withdraw":
        by_commit = bool(chosen.commit and chosen.since)
        if bool(chosen.model) == by_commit or bool(chosen.commit) != by_commit:
            parser.error("name what to withdraw: a MODEL, or --commit with --since")
    return chosen


def read_time(text: str) -> datetime:
    """Read a time, in UTC if it names no zone.

    Raises:
        ValueError: It is none, so that argparse says so.
    """
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def count(text: str) -> int:
    """Read a number of models.

    Raises:
        ValueError: It is none, so that argparse says so.
    """
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


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
