"""The runs week by week, those weeks included in which nothing ran."""

from calendar import FRIDAY
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from pipeline.records import RunRecord, StoredRecord, name_page

WEEK = timedelta(weeks=1)
WEEKS_SHOWN = 52
# A week ends on Friday with its delivery, and a new one begins.
DELIVERY_HOUR = 23
# The weekly run waits for a late delivery until Monday 06:00 UTC.
LONGEST_WAIT = timedelta(days=2, hours=7)


class Run(NamedTuple):
    """A run whose record can be believed."""

    stored: StoredRecord
    record: RunRecord

    @property
    def page(self) -> str:
        """The file name of its page."""
        return name_page(self.stored.key)


class Week(NamedTuple):
    """The runs from one Friday's delivery to the next, the newest first.

    Attributes:
        friday: Its delivery is expected, in UTC.
        unreadable: Records that cannot be believed.
    """

    friday: datetime
    runs: list[Run]
    unreadable: list[StoredRecord]

    @property
    def end(self) -> datetime:
        return self.friday + WEEK

    def is_missed(self, now: datetime) -> bool:
        """Whether it has no run, and should have."""
        return not (self.runs or self.unreadable) and now > self.friday + LONGEST_WAIT


def find_friday(moment: datetime) -> datetime:
    """Find the delivery that was due last, at a time in UTC."""
    day = moment - timedelta(hours=DELIVERY_HOUR)
    day -= timedelta(days=(day.weekday() - FRIDAY) % 7)
    return day.replace(hour=DELIVERY_HOUR, minute=0, second=0, microsecond=0)


def sort_into_weeks(records: Iterable[StoredRecord], now: datetime) -> list[Week]:
    """Sort records into the last 52 weeks, the newest first, from the first record on.

    Args:
        records: In any order.
        now: In UTC.
    """
    last = find_friday(now)
    by_friday: dict[datetime, list[StoredRecord]] = {last: []}
    for stored in sorted(records, key=lambda each: each.timestamp, reverse=True):
        by_friday.setdefault(find_friday(stored.timestamp), []).append(stored)
    # What a clock ahead of ours has written a moment before the week began.
    last = max(by_friday)
    count = min(round((last - min(by_friday)) / WEEK) + 1, WEEKS_SHOWN)
    weeks = []
    for friday in (last - number * WEEK for number in range(count)):
        found = by_friday.get(friday, [])
        runs = [Run(each, each.record) for each in found if each.record is not None]
        weeks.append(Week(friday, runs, [each for each in found if not each.record]))
    return weeks
