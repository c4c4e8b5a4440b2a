"""The runs week by week."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.pages import find_friday, sort_into_weeks
from pipeline.records import Outcome, StoredRecord
from tests.pages.history import LAST_RUN, NOW, make_record

FRIDAY = datetime(2026, 11, 20, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    "moment, friday",
    [
        (FRIDAY, FRIDAY),
        (FRIDAY - timedelta(microseconds=1), FRIDAY - timedelta(weeks=1)),
        (FRIDAY + timedelta(minutes=45), FRIDAY),
        (FRIDAY + timedelta(days=6, hours=23), FRIDAY),
    ],
)
def test_a_week_begins_with_the_delivery_of_friday(
    moment: datetime, friday: datetime
) -> None:
    assert find_friday(moment) == friday


def test_each_week_has_its_runs_and_those_without_any_are_shown() -> None:
    late = make_record(1.8, Outcome.REFUSED)
    early = make_record(2)
    forged = StoredRecord("runs/x_2026-10-31.json", LAST_RUN - 3 * WEEK, None, "forged")
    weeks = sort_into_weeks([early, late, forged, make_record(0)], NOW)
    assert [week.friday for week in weeks] == [FRIDAY - k * WEEK for k in range(4)]
    stored = [[run.stored for run in week.runs] for week in weeks]
    assert stored == [[make_record(0)], [], [late, early], []]
    assert weeks[3].unreadable == [forged]
    assert [week.is_missed(NOW) for week in weeks] == [False, True, False, False]


def test_no_more_than_52_weeks_are_shown() -> None:
    weeks = sort_into_weeks([make_record(0), make_record(51), make_record(52)], NOW)
    assert len(weeks) == 52
    assert weeks[-1].runs[0].stored == make_record(51)


def test_without_a_record_there_is_this_week() -> None:
    [week] = sort_into_weeks([], NOW)
    assert week.friday == FRIDAY and not week.runs


WEEK = timedelta(weeks=1)
