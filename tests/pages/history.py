"""Records of runs, as training would have left them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.records import (
    NewModel,
    Outcome,
    RunRecord,
    StoredRecord,
    Thresholds,
)

# A Saturday; the weekly run was the evening before.
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LAST_RUN = datetime(2026, 11, 20, 23, 45, tzinfo=UTC)


def make_record(
    weeks_ago: float, outcome: Outcome = Outcome.PUBLISHED, **facts: Any
) -> StoredRecord:
    """Make the record of a run.

    Args:
        weeks_ago: Before the last one that was due.
        facts: Fields of `RunRecord`.
    """
    started = LAST_RUN - weeks_ago * timedelta(weeks=1)
    name = f"time-to-dispatch_{started:%Y-%m-%dT%H:%M:%S}"
    if outcome is Outcome.PUBLISHED:
        facts.setdefault("model", NewModel(key=f"models/{name}.pkl", version=name))
    record = RunRecord(
        pipeline="time-to-dispatch",
        outcome=outcome,
        started=started,
        thresholds=Thresholds(error=0.8, warning=0.9),
        **facts,
    )
    return StoredRecord(f"runs/{name}.json", started, record)
