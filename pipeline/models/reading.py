"""Commands that look at models: list, show, verify."""

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

from pipeline import aws
from pipeline.estimator import PRODUCTS
from pipeline.models.answer import Answer
from pipeline.models.description import describe, tell_product
from pipeline.models.entries import choose, tell_states
from pipeline.orders import ROLLED_BACK_FROM

COLUMNS = ("model", "r²", "MAE h", "delivery", "state")
WIDTH = 80


def list_models(entries: list[aws.Candidate], chosen: Namespace) -> Answer:
    states = tell_states(entries)
    known = [describe(entry, states) for entry in entries]
    return Answer(known, tell_table(entries, known))


def tell_table(
    entries: list[aws.Candidate], known: list[dict[str, Any]]
) -> Iterator[str]:
    """A line for each model, and below it what else there is to say."""
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
        yield "  ".join(padded).rstrip()
        yield from (f"  {line}" for line in wrap(note, WIDTH - 2))
    if any(entry.proof is aws.Proof.UNCHECKED for entry in entries):
        yield f"No signature was checked, for {aws.KEYS_VARIABLE} is not set."


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


def show(entries: list[aws.Candidate], chosen: Namespace) -> Answer:
    entry = choose(entries, chosen.model) if chosen.model else entries[0]
    known = describe(entry, tell_states(entries))
    return Answer(known, tell_known(known))


def tell_known(known: dict[str, Any]) -> Iterator[str]:
    """What `describe` does, a line each."""
    for name, value in known.items():
        if name not in (PRODUCTS, "metadata"):
            yield f"{name}: {value}"
    for code, product in known[PRODUCTS].items():
        yield f"{code}: {tell_product(product)}"
    for name, value in known["metadata"].items():
        yield f"{name}: {json.dumps(value)}"


def verify(entries: list[aws.Candidate], chosen: Namespace) -> Answer:
    checked = [choose(entries, chosen.model)] if chosen.model else entries
    states = tell_states(entries)
    return Answer(
        # What is damaged is told of, and may have no description.
        [describe(entry, states) for entry in checked] if chosen.json else None,
        (f"{entry.name}: {tell_check(entry)}" for entry in checked),
        int(any(entry.refusal for entry in checked)),
    )


def tell_check(entry: aws.Candidate) -> str:
    told = entry.refusal or tell_proof(entry)
    return f"{told}; withdrawn: {entry.withdrawal.reason}" if entry.withdrawal else told


def tell_proof(entry: aws.Candidate) -> str:
    if entry.proof is aws.Proof.SIGNED_BEFORE:
        return f"{entry.proof}; sign it anew: {aws.tell_resign(entry.artefact)}"
    return str(entry.proof)
