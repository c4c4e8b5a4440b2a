"""How things are, in a sentence: what serves, and whether anybody has to act."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pipeline import aws
from pipeline.pages.serving import ModelsFolder, Serving
from pipeline.pages.weeks import Run, Week
from pipeline.records import Outcome, RunRecord


class Colour(StrEnum):
    """Of a traffic light."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


class State(NamedTuple):
    """How things are.

    Attributes:
        sentence: What happened, what serves, and what has to be done.
        reasons: Sentences of those who found it, as they said it.
    """

    colour: Colour
    sentence: str
    reasons: list[str]


def find_state(weeks: list[Week], folder: ModelsFolder, now: datetime) -> State:
    """Find how things are.

    Args:
        weeks: The newest first.
        now: In UTC.
    """
    serving = folder.serving
    serves = tell_serving(serving)
    runs = [run for week in weeks for run in week.runs]
    decided = [run for run in runs if run.record.is_good or run.record.is_bad]
    if serving is None:
        todo = "somebody must see to it that training succeeds"
        if not runs and not folder.refusals:
            return State(Colour.YELLOW, f"Nothing has run yet: {serves}.", [])
        said = folder.refusals + [run.record.reason for run in decided[:1]]
        reasons = [reason for reason in said if reason]
        return State(Colour.RED, f"{capital(serves)}; {todo}.", reasons)
    if not runs:
        happened = "No run has left a record that can be believed"
        return State(Colour.YELLOW, f"{happened}; {serves}.", unreadable(weeks))
    if decided and decided[0].record.is_bad:
        record = decided[0].record
        return State(
            Colour.RED,
            f"{tell_failure(record)}; {serves}; {tell_remedy(record)}.",
            [record.reason],
        )
    if weeks[0].is_missed(now):
        happened = f"No run has been made since {day(weeks[0].friday)}"
        todo = "somebody must find out why the weekly run did not start"
        return State(Colour.RED, f"{happened}; {serves}; {todo}.", [])
    return find_state_of_good_run(weeks, folder, serving, decided)


def find_state_of_good_run(
    weeks: list[Week], folder: ModelsFolder, serving: Serving, decided: list[Run]
) -> State:
    """Find how things are where the last run went well."""
    serves = tell_serving(serving)
    if folder.refusals:
        return State(
            Colour.RED,
            f"A newer model cannot be used; {serves}; somebody must find out who put "
            "it there, and train again.",
            folder.refusals,
        )
    if not decided:
        return State(
            Colour.YELLOW, f"No run has published a model yet; {serves}.", []
        )
    record = decided[0].record
    learnt = f"The delivery of {tell_delivery(record)} was learnt"
    model = record.model
    if model is not None and serving.version != model.version:
        withdrawn = folder.withdrawn.get(model.key)
        happened = f"{learnt}, and its model was taken out of service"
        if serving.made > record.started and not serving.original:
            happened = "The newest model has no record that can be believed"
        return State(
            Colour.YELLOW,
            f"{happened}; {serves}; nobody has to do anything if it is known why.",
            [withdrawn.reason] if withdrawn else [],
        )
    doubts = record.warnings + unreadable(weeks[:1])
    if doubts:
        return State(
            Colour.YELLOW,
            f"{learnt}, with warnings; {serves}; somebody should read them.",
            doubts,
        )
    return State(
        Colour.GREEN, f"{learnt}; {serves}; nobody has to do anything.", []
    )


def tell_serving(serving: Serving | None) -> str:
    """Which model serves, and since when; part of a sentence."""
    if serving is None:
        return "no model can serve"
    made = day(serving.made)
    since = f"{day(serving.since)} at {serving.since:%H:%M} UTC"
    if serving.is_again:
        return (
            f"the model of {made} serves again, since a newer one was withdrawn on "
            f"{since}"
        )
    if serving.original:
        return f"the model of {made} serves, which was put back on {since}"
    return f"the model of {made} serves, since {serving.since:%H:%M} UTC of that day"


def tell_failure(record: RunRecord) -> str:
    """What did not go well; the beginning of a sentence."""
    if record.outcome is Outcome.REFUSED:
        return f"The delivery of {tell_delivery(record)} was refused"
    return f"The run of {day(record.started)} failed"


def tell_remedy(record: RunRecord) -> str:
    if record.outcome is Outcome.REFUSED:
        return "somebody must read why, and have it delivered again or accept it"
    return "somebody must remove the cause, and run it again"


def tell_delivery(record: RunRecord) -> str:
    """The day of a delivery, as its name says; else that of the run."""
    key = record.delivery.key if record.delivery else ""
    return day(aws.parse_timestamp(key) or record.started)


def unreadable(weeks: list[Week]) -> list[str]:
    return [each.refusal for week in weeks for each in week.unreadable]


def day(moment: datetime) -> str:
    return f"{moment:%A} {moment.day} {moment:%B %Y}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
