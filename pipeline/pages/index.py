"""The index: how things are, and what the runs of the last year came to."""

from datetime import datetime, timedelta
from statistics import mean
from typing import NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from pipeline import aws
from pipeline.estimator import LEVELS
from pipeline.orders import HOURS_TO_DISPATCH, ORDERS_PLACED
from pipeline.pages.index_charts import (
    PRODUCTS_SHOWN,
    Timeline,
    draw_drift,
    draw_error,
    draw_orders,
    draw_r_squared,
    draw_service_error,
)
from pipeline.pages.model_charts import draw_model
from pipeline.pages.serving import (
    ModelsFolder,
    Rollback,
    Serving,
    Withdrawn,
    read_models_folder,
)
from pipeline.pages.state import find_state
from pipeline.pages.templating import render
from pipeline.pages.weeks import Run, Week, find_friday, sort_into_weeks
from pipeline.records import Outcome, RunRecord, StoredRecord

INDEX = "index.html"
# A delivery that comes on Friday evening.
STILL_IN_TIME = timedelta(hours=1)
# So many models are told to be better or worse than as many before them.
COMPARED = 4

TONES = {
    Outcome.PUBLISHED: "good",
    Outcome.REFUSED: "bad",
    Outcome.FAILED: "bad",
    Outcome.NOTHING_NEW: "quiet",
    Outcome.DRY_RUN: "quiet",
}


class Line(NamedTuple):
    """What happened in a week, once.

    Attributes:
        tone: good, warned, bad or quiet.
        page: Of the run, as a link; "" if there is none.
        sentences: Why, and warnings.
        record: None where there was no run, or its record cannot be believed.
        is_missing: Whether nothing happened, which is told.
    """

    when: datetime
    tone: str
    outcome: str
    page: str = ""
    sentences: tuple[str, ...] = ()
    record: RunRecord | None = None
    is_missing: bool = False


class Figure(NamedTuple):
    """A picture and what is said of it.

    Attributes:
        keys: Class in the stylesheet and meaning of what is drawn.
    """

    title: str
    picture: Markup
    keys: list[tuple[str, str]]
    note: str = ""


def make_index(
    bucket: str, records: list[StoredRecord], now: datetime
) -> bytes:
    """Make the index of a bucket's runs.

    Args:
        records: Of the runs; those before the last 52 weeks are left out.
        now: In UTC.

    Raises:
        S3Failure: The models could not be read.
        ValueError: The signing key is too short, or empty.
    """
    weeks = sort_into_weeks(records, now)
    runs = [run for week in weeks for run in week.runs]
    published = {run.record.model.key for run in runs if run.record.model}
    folder = read_models_folder(bucket, published, weeks[-1].friday)
    timeline = Timeline(weeks)
    return render(
        INDEX,
        bucket=bucket,
        now=now,
        state=find_state(weeks, folder, now),
        serving=folder.serving,
        page_of_serving=find_page(folder, runs),
        trend=tell_trend(runs),
        weeks=[(week.friday, make_lines(week, folder, runs, now)) for week in weeks],
        figures=make_figures(timeline) if timeline.runs else [],
        model_figures=make_model_figures(folder.serving),
    )


def link(run: Run) -> str:
    return f"./{quote(run.page)}"


def find_page(folder: ModelsFolder, runs: list[Run]) -> str:
    """Find the page of the run that has made what serves; "" if there is none."""
    for run in runs:
        model = run.record.model
        if folder.serving and model and model.version == folder.serving.version:
            return link(run)
    return ""


def tell_trend(runs: list[Run]) -> str:
    """Say whether the models are getting worse; "" where there are too few to say."""
    errors = [
        run.record.metrics.answer.mean_absolute_error
        for run in runs
        if run.record.is_good and run.record.metrics.answer
    ]
    last, before = errors[:COMPARED], errors[COMPARED : 2 * COMPARED]
    if not before:
        return ""
    change = mean(last) / mean(before) - 1 if mean(before) else 0.0
    number = "one" if len(before) == 1 else str(len(before))
    return (
        f"The last {len(last)} models are wrong by {mean(last):.2f} hours on average, "
        f"the {number} before by {mean(before):.2f} ({change:+.0%})."
    )


def make_lines(
    week: Week, folder: ModelsFolder, runs: list[Run], now: datetime
) -> list[Line]:
    """Tell what happened in a week, the newest first."""
    lines = [make_line(run, find_end(run, folder, runs)) for run in week.runs]
    for withdrawn in folder.withdrawn.values():
        if week.friday <= withdrawn.when < week.end:
            what = f"{withdrawn.name} was withdrawn: {withdrawn.reason}"
            lines.append(Line(withdrawn.when, "warned", "withdrawn", "", (what,)))
    for stored in week.unreadable:
        lines.append(
            Line(stored.timestamp, "warned", "record refused", "", (stored.refusal,))
        )
    for each in folder.rollbacks:
        if week.friday <= each.when < week.end:
            what = f"{each.original} was put back as {each.name}."
            lines.append(Line(each.when, "warned", "put back", "", (what,)))
    if not lines:
        missed = week.is_missed(now)
        outcome = "no run" if missed else "not yet run"
        tone = "bad" if missed else "quiet"
        lines.append(Line(week.friday, tone, outcome, is_missing=True))
    return sorted(lines, key=lambda line: line.when, reverse=True)


def find_tone(record: RunRecord) -> str:
    tone = TONES[record.outcome]
    return "warned" if tone == "good" and record.warnings else tone


def make_line(run: Run, end: Rollback | Withdrawn | None) -> Line:
    record = run.record
    tone = find_tone(record)
    outcome = record.outcome.replace("-", " ")
    if tone == "warned":
        outcome = f"{outcome}, warned"
    if end is not None:
        tone, outcome = "warned", "taken back"
    sentences = filter(None, [record.reason, tell_late(record), *record.warnings])
    return Line(record.started, tone, outcome, link(run), tuple(sentences), record)


def tell_late(record: RunRecord) -> str:
    """Say that a delivery was late; "" if it was not, or if that is not known."""
    key = record.delivery.key if record.delivery else ""
    delivered = aws.parse_timestamp(key)
    if delivered is None or delivered - find_friday(delivered) <= STILL_IN_TIME:
        return ""
    return f"The delivery came late, on {delivered:%A} at {delivered:%H:%M} UTC."


def find_end(
    run: Run, folder: ModelsFolder, runs: list[Run]
) -> Rollback | Withdrawn | None:
    """Find what took a run's model out of service before the next came."""
    model = run.record.model
    if not run.record.is_good or model is None:
        return None
    if model.key in folder.withdrawn:
        return folder.withdrawn[model.key]
    own = model.key.rpartition("/")[2]
    later = [
        each.record.started
        for each in runs
        if each.record.is_good and each.record.started > run.record.started
    ]
    for each in reversed(folder.rollbacks):
        if run.record.started < each.when and each.original != own:
            return each if not later or each.when < min(later) else None
    return None


def make_figures(timeline: Timeline) -> list[Figure]:
    thresholds = timeline.runs[-1].record.thresholds
    orders, products, tallest = draw_orders(timeline)
    shown = ""
    if products > PRODUCTS_SHOWN:
        shown = f" The {PRODUCTS_SHOWN} largest of {products:,} products."
    no_model = ("bad", "× refused or failed")
    shades = [("shade", "0 (as before) to 1 (wholly other)"), ("large", "large")]
    return [
        Figure(
            "How much of the differences in hours the models explain",
            draw_r_squared(timeline),
            [("first", "held-out orders"), ("second", "cross-validated"), no_model],
            f"r² is 1 for a perfect model; below {thresholds.error:g} it is refused, "
            f"below {thresholds.warning:g} there is a warning.",
        ),
        Figure(
            "How far the models are off",
            draw_error(timeline),
            [("first", "mean absolute error on held-out orders"), no_model],
            "What an estimate is wrong by on average; smaller is better.",
        ),
        Figure(
            "How far off last week's model was on this week's orders",
            draw_service_error(timeline),
            [("first", "on this week's orders"), ("second", "at its birth"), no_model],
            "Where the first is well above the second, estimates were off.",
        ),
        Figure(
            "Drift of orders placed",
            draw_drift(timeline, ORDERS_PLACED),
            shades,
            "Kolmogorov-Smirnov distance from the delivery that the model in service "
            "was trained on." + tell_shown(timeline),
        ),
        Figure(
            "Drift of hours to dispatch",
            draw_drift(timeline, HOURS_TO_DISPATCH),
            shades,
            "The same, of the hours." + tell_shown(timeline),
        ),
        Figure(
            "Orders by product",
            orders,
            [("bar", f"orders in a week, the tallest bar {tallest:,}")],
            f"At the right those of the last delivery.{shown}",
        ),
    ]


def make_model_figures(serving: Serving | None) -> list[Figure]:
    """How sure what serves is, and what stands behind it."""
    if serving is None or serving.champion is None:
        return []
    drawn = draw_model(serving.champion)
    more = ""
    if drawn.products > PRODUCTS_SHOWN:
        more = f" The {PRODUCTS_SHOWN} with the most, of {drawn.products:,} products."
    figures = []
    if drawn.ranges:
        levels = ", ".join(f"{level:.0%}" for level in reversed(LEVELS))
        keys = [("first", "estimate"), ("range", f"where {levels} of dispatches fall")]
        note = "On a day of half the most orders placed that were observed; at the "
        note += "right what is estimated, in hours, and at how many orders." + more
        title = "How sure the estimates are"
        figures.append(Figure(title, drawn.ranges, keys, note))
    if drawn.knowledge:
        keys = [("bar", "orders, those of earlier weeks counting less")]
        note = "How many orders of how many weeks in a row it has learnt from." + more
        title = "What stands behind the estimates"
        figures.append(Figure(title, drawn.knowledge, keys, note))
    return figures


def tell_shown(timeline: Timeline) -> str:
    """Say that not all products are drawn; "" if they are."""
    codes = {
        drift.product_code
        for run in timeline.runs
        for drift in run.record.drift or ()
    }
    if len(codes) <= PRODUCTS_SHOWN:
        return ""
    return f" The {PRODUCTS_SHOWN} that moved most of {len(codes):,} products."
