"""The page of a run: what came, what was learnt or why not, and how to go back."""

from shlex import quote
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from pandas import DataFrame

from pipeline import aws
from pipeline.estimator import Champion, read_ranges, recall_knowledge
from pipeline.gates import CONFIDENCE_LEVEL, TRAINING_ROWS, find_unseen
from pipeline.orders import HOURS_TO_DISPATCH, ORDERS_PLACED, PRODUCT_CODE
from pipeline.pages.evidence import Evidence, KnownModel, Observations
from pipeline.pages.run_charts import (
    BAND_LEVEL,
    DOTS_SHOWN,
    RESIDUALS_SHOWN,
    draw_comparison,
    draw_curves,
    draw_distribution,
    draw_residuals,
)
from pipeline.pages.index import find_tone
from pipeline.pages.model_charts import tell_behind
from pipeline.pages.templating import render
from pipeline.pages.weeks import Run
from pipeline.records import RunRecord

PANELS_SHOWN = 24
ROWS_SHOWN = 50
PRODUCTS_NAMED = 50


class Panel(NamedTuple):
    """A product's curves.

    Attributes:
        behind: How many orders of how many weeks stand behind them; "" if not known.
    """

    code: str
    picture: Markup
    orders: int
    is_kept: bool
    behind: str


class Residuals(NamedTuple):
    """How far the estimates were from what was observed.

    Attributes:
        half, most: Half and nine tenths of the orders are within so many hours.
        are_held_out: Whether the model was not trained on these orders.
    """

    pictures: list[Markup]
    orders: int
    half: float
    most: float
    are_held_out: bool


class RunPage(NamedTuple):
    """A page, and whether everything that it shows could be read."""

    content: bytes
    is_complete: bool


def make_run_page(bucket: str, run: Run, evidence: Evidence) -> RunPage:
    """Make the page of a run.

    What is gone or cannot be read is told in its place.

    Raises:
        ValueError: The signing key is too short, or empty.
    """
    record = run.record
    observations = evidence.read_observations(record.delivery)
    new, old = read_models(record, evidence)
    missing = [each.missing for each in (observations, new, old) if each.missing]
    shown = new.champion or old.champion
    content = render(
        "run.html",
        bucket=bucket,
        run=run,
        record=record,
        tone=find_tone(record),
        missing=missing,
        panels=make_panels(record, observations, new.champion, old.champion),
        products=len(choose_products(record, new.champion, old.champion)),
        dots_shown=DOTS_SHOWN,
        band_level=f"{BAND_LEVEL:.0%}",
        has_band=shown is not None and read_ranges(shown.model) is not None,
        has_new=new.champion is not None,
        has_old=old.champion is not None,
        observations=observations.orders,
        residuals=measure_residuals(record, observations, shown),
        residuals_shown=RESIDUALS_SHOWN,
        comparison=record.comparison and draw_comparison(record.comparison),
        confidence=f"{CONFIDENCE_LEVEL:.0%}",
        rows_shown=ROWS_SHOWN,
        products_named=PRODUCTS_NAMED,
        ranges=tell_ranges(observations),
        is_signed=bool(aws.signing_keys()),
        new=new,
        old=old,
        back_to_this=tell_rollback(bucket, new),
        back_to_old=tell_rollback(bucket, old),
    )
    return RunPage(content, not missing)


def read_models(
    record: RunRecord, evidence: Evidence
) -> tuple[KnownModel, KnownModel]:
    """Read the model that a run has published, and the one in service before."""
    new = old = KnownModel(None)
    if record.model is not None and record.model.key:
        new = evidence.read_new(record.model)
    if record.model_in_service is not None:
        old = evidence.read_in_service(record.model_in_service)
    return new, old


def tell_rollback(bucket: str, model: KnownModel) -> str:
    """The command that puts a model back; "" where there is none."""
    if not model.key:
        return ""
    name = aws.quote(model.key.rpartition("/")[2])
    return f"python -m pipeline.models {quote(bucket)} rollback {quote(name)}"


def choose_products(
    record: RunRecord, *champions: Champion | None
) -> list[str]:
    """The products of a run, those with the most orders first."""
    counts = dict(record.delivery.orders_by_product) if record.delivery else {}
    for champion in champions:
        counts = {**dict.fromkeys(champion.curves if champion else (), 0), **counts}
    return sorted(counts, key=lambda code: (-counts[code], code))


def make_panels(
    record: RunRecord,
    observations: Observations,
    new: Champion | None,
    old: Champion | None,
) -> list[Panel]:
    orders = observations.orders
    if orders is None and new is None and old is None:
        return []
    codes = choose_products(record, new, old)[:PANELS_SHOWN]
    delivery = record.delivery
    set_aside = delivery.set_aside if delivery else []
    lines = [row.line for row in set_aside]
    good = None if orders is None else orders[~orders.index.isin(lines)]
    shown = new or old
    ranges = read_ranges(shown.model) if shown else None
    known = (recall_knowledge(shown.model) if shown else None) or {}
    panels = []
    for code in sorted(codes):
        own = None if good is None else good[good[PRODUCT_CODE] == code]
        picture = draw_curves(
            code,
            own,
            new.curves.get(code) if new else None,
            old.curves.get(code) if old else None,
            [row for row in set_aside if row.product_code == code],
            ranges,
        )
        count = 0 if own is None else len(own)
        is_kept = delivery is not None and code in delivery.kept_products
        behind = tell_behind(known[code]) if code in known else ""
        panels.append(Panel(code, picture, count, is_kept, behind))
    return panels


def measure_residuals(
    record: RunRecord, observations: Observations, champion: Champion | None
) -> Residuals | None:
    """Compare the estimates of a model with the orders of the delivery.

    On those alone that it was not trained on, where it says which these are.
    """
    if champion is None or observations.orders is None:
        return None
    set_aside = record.delivery.set_aside if record.delivery else []
    orders = observations.orders
    orders = orders[~orders.index.isin([row.line for row in set_aside])]
    orders = orders[orders[PRODUCT_CODE].isin(list(champion.curves))]
    training_rows = (champion.model.metadata or {}).get(TRAINING_ROWS)
    if isinstance(training_rows, str):
        # Of those that took no time, it cannot be told.
        is_known = orders[HOURS_TO_DISPATCH].to_numpy() > 0
        orders = orders[is_known & find_unseen(orders, training_rows)]
    if orders.empty:
        return None
    residuals: NDArray[np.float64] = orders[
        HOURS_TO_DISPATCH
    ].to_numpy() - champion.estimate(orders)
    half, most = np.quantile(np.abs(residuals), [0.5, 0.9]).tolist()
    return Residuals(
        [draw_residuals(orders, residuals), draw_distribution(residuals)],
        len(orders),
        half,
        most,
        isinstance(training_rows, str),
    )


def tell_ranges(observations: Observations) -> str:
    """The orders placed that were observed; "" if that is not known."""
    orders: DataFrame | None = observations.orders
    if orders is None or orders.empty:
        return ""
    placed = orders[ORDERS_PLACED]
    return f"{placed.min():g} to {placed.max():g}"
