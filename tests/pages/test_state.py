"""How things are, in one sentence: its colour, and who has to do what."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from pipeline.pages.serving import ModelsFolder, Serving, Withdrawn
from pipeline.pages.state import Colour, find_state
from pipeline.pages.weeks import sort_into_weeks
from pipeline.records import Delivery, Outcome, StoredRecord
from tests.pages.history import LAST_RUN, NOW, make_record

DELIVERY = Delivery(key="datasets/time_to_dispatch_2026-11-20T23:00:00.csv")
GOOD = make_record(0, delivery=DELIVERY)
REFUSED = make_record(0, Outcome.REFUSED, reason="It is in minutes.", delivery=DELIVERY)
FAILED = make_record(0, Outcome.FAILED, reason="S3 was away.")


def serve(
    weeks_ago: float, original: str = "", since_days_ago: float | None = None
) -> Serving:
    """A model that was made in the run of a week, and perhaps put back."""
    made = LAST_RUN - weeks_ago * timedelta(weeks=1)
    name = f"time-to-dispatch_{made:%Y-%m-%dT%H:%M:%S}"
    since = made if since_days_ago is None else NOW - timedelta(since_days_ago)
    return Serving(name, since, made, name, "", "verified", original)


@dataclass
class Case:
    records: list[StoredRecord]
    colour: Colour
    said: list[str]
    serving: Serving | None = field(default_factory=lambda: serve(0))
    refusals: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    withdrawn: dict[str, Withdrawn] = field(default_factory=dict)


CASES = {
    "good": Case(
        [GOOD, make_record(1)],
        Colour.GREEN,
        ["The delivery of Friday 20 November 2026 was learnt; the model of Friday 20 "]
        + ["serves, since 23:45 UTC of that day; nobody has to do anything."],
    ),
    "refused": Case(
        [REFUSED, make_record(1)],
        Colour.RED,
        ["The delivery of Friday 20 November 2026 was refused; the model of Friday 13 "]
        + ["serves", "; somebody must read why"],
        serve(1),
        reasons=["It is in minutes."],
    ),
    "refused, and nothing new since": Case(
        [make_record(-0.1, Outcome.NOTHING_NEW), REFUSED, make_record(1)],
        Colour.RED,
        ["was refused"],
        serve(1),
        reasons=["It is in minutes."],
    ),
    "learnt, and nothing new since": Case(
        [make_record(-0.1, Outcome.NOTHING_NEW), GOOD], Colour.GREEN, ["was learnt"]
    ),
    "failed": Case(
        [FAILED, make_record(1)],
        Colour.RED,
        ["The run of Friday 20 November 2026 failed", "somebody must remove the cause"],
        serve(1),
        reasons=["S3 was away."],
    ),
    "warned": Case(
        [make_record(0, warnings=["Large drift."])],
        Colour.YELLOW,
        ["was learnt, with warnings", "somebody should read them"],
        reasons=["Large drift."],
    ),
    "rolled back": Case(
        [GOOD, make_record(1)],
        Colour.YELLOW,
        ["its model was taken out of service", "the model of Friday 13 November 2026 "]
        + ["put back on Saturday 21 November 2026 at 00:00 UTC"],
        serve(1, "time-to-dispatch_2026-11-13T23:45:00", 0.5),
    ),
    "a model without a record": Case(
        [make_record(0), make_record(1)],
        Colour.YELLOW,
        ["The newest model has no record", "the model of Saturday 21 November 2026 "],
        serve(-0.05),
    ),
    "withdrawn": Case(
        [GOOD, make_record(1)],
        Colour.YELLOW,
        ["its model was taken out of service", "the model of Friday 13 November 2026 "]
        + ["serves again, since a newer one was withdrawn on Saturday 21 November"],
        serve(1, since_days_ago=0.5)._replace(is_again=True),
        reasons=["The release failed."],
        withdrawn={
            "models/time-to-dispatch_2026-11-20T23:45:00.pkl": Withdrawn(
                NOW, "time-to-dispatch_2026-11-20T23:45:00.pkl", "The release failed."
            )
        },
    ),
    "a newer model is forged": Case(
        [GOOD],
        Colour.RED,
        ["A newer model cannot be used", "the model of Friday 20 "],
        refusals=["It is not signed."],
        reasons=["It is not signed."],
    ),
    "nothing serves": Case(
        [FAILED],
        Colour.RED,
        ["No model can serve", "somebody must"],
        None,
        reasons=["S3 was away."],
    ),
    "nothing yet": Case([], Colour.YELLOW, ["Nothing has run yet"], None),
    "a record is forged": Case(
        [StoredRecord("runs/r_2026-11-20.json", LAST_RUN, None, "It is forged.")],
        Colour.YELLOW,
        ["No run has left a record that can be believed", "the model of Friday 20 "],
        reasons=["It is forged."],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_state_says_what_happened_what_serves_and_what_to_do(name: str) -> None:
    case = CASES[name]
    weeks = sort_into_weeks(case.records, NOW)
    folder = ModelsFolder(case.serving, case.refusals, [], case.withdrawn)
    colour, sentence, reasons = find_state(weeks, folder, NOW)
    assert colour is case.colour
    for part in case.said:
        assert part in sentence
    assert reasons == case.reasons


def test_a_week_without_a_run_is_red_when_nobody_waits_for_it_any_more() -> None:
    folder = ModelsFolder(serve(1), [], [], {})
    monday = LAST_RUN.replace(day=23, hour=6, minute=0)
    records = [make_record(1)]
    states = [
        find_state(sort_into_weeks(records, now), folder, now)
        for now in (monday, monday + timedelta(minutes=1))
    ]
    assert [state.colour for state in states] == [Colour.GREEN, Colour.RED]
    assert "No run has been made since Friday 20 November" in states[1].sentence
