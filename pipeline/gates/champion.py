"""The newest model in the bucket, and what its successor must prove against it."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pandas import DataFrame

from pipeline import aws
from pipeline.gates.comparison import compare_errors
from pipeline.gates.delivery import check_delivery
from pipeline.gates.drift import measure_drift
from pipeline.orders import MODELS_FOLDER

# A delivery comes each Friday; a day more for one that is late.
OLDEST_DELIVERY = timedelta(days=8)
LARGEST_CLOCK_ERROR = timedelta(days=1)

log = logging.getLogger("pipeline")


def get_champion(s3_bucket: str) -> aws.Model | None:
    """Get the newest model; None, with the reason in the log, if it is of no use.

    Raises:
        S3Failure: It could not be read. It may be better than any new one.
    """
    models = aws.list_artefacts_on_s3("pkl", s3_bucket, MODELS_FOLDER)
    if not models:
        log.info("No champion to compare with: this is the first model.")
        return None
    warn_if_dated_ahead(models[0].address, models[0].timestamp)
    try:
        return aws.get_latest_pkl_model_from_s3(s3_bucket, MODELS_FOLDER)
    except aws.S3Failure:
        raise
    except RuntimeError as error:
        log.warning(f"No champion to compare with: {error}")
        return None


def warn_if_nothing_new(dataset: aws.Dataset, champion: aws.Model | None) -> None:
    """Warn where training goes on without a new delivery."""
    if champion is not None and champion.train_dataset_hash == dataset.hash:
        log.warning(
            f"Nothing new has arrived: the newest model was trained on "
            f"{dataset.address} already."
        )
    warn_if_dated_ahead(dataset.address, dataset.datetime)
    age = datetime.now(UTC) - dataset.datetime
    if age > OLDEST_DELIVERY:
        log.warning(
            f"Nothing new has arrived: {dataset.address} is {age.days} days old; "
            "ask the data engineers for this week's delivery."
        )


def warn_if_dated_ahead(address: str, timestamp: datetime) -> None:
    """Warn of an object that hides others: its name stays the newest for long."""
    if timestamp > datetime.now(UTC) + LARGEST_CLOCK_ERROR:
        log.warning(
            f"{address} is dated in the future: whatever is added beside it until then "
            "is passed over; remove it, and add it again under its own time."
        )


def compare_deliveries(
    delivery: DataFrame, champion: aws.Model | None, s3_bucket: str
) -> list[dict[str, Any]] | None:
    """Report how far the orders have moved since the champion was trained.

    Returns:
        For the metadata: one entry for each product and column, None if the champion's
        delivery cannot be had.
    """
    if champion is None:
        return None
    try:
        reference = aws.get_csv_dataset_from_s3(s3_bucket, champion.train_dataset_key)
        checked = check_delivery(reference.data, reference.address)
    except (RuntimeError, ValueError) as error:
        log.warning(f"Drift was not measured: {error}")
        return None
    drifts = measure_drift(checked, delivery)
    for drift in drifts:
        level = logging.WARNING if drift.is_large else logging.INFO
        log.log(level, f"{'Large drift' if drift.is_large else 'Drift'}: {drift}")
    return [{**drift._asdict(), "is_large": drift.is_large} for drift in drifts]


def challenge_champion(
    champion: aws.Model | None,
    challenger: Any,
    features: NDArray[np.float64],
    hours: ArrayLike,
) -> dict[str, Any] | None:
    """Score champion and challenger on the same held-out orders.

    Args:
        challenger: The fitted estimator that wants to replace the champion.
        features: The held-out set, shape (orders, 2): orders placed and product index.
        hours: Its observed hours to dispatch, shape (orders,).

    Returns:
        For the metadata: which champion, and the comparison; None without a champion.

    Raises:
        RuntimeError: The challenger is worse by more than chance.
    """
    if champion is None:
        return None
    try:
        predictions = champion.model.predict(features)
    except Exception as error:
        log.warning(f"The champion {champion} was not compared: {error}")
        return None
    comparison = compare_errors(hours, predictions, challenger.predict(features))
    if comparison.is_worse:
        raise RuntimeError(
            f"The new model is worse than the one in service ({champion}) by more than "
            f"chance: {comparison}; it was not persisted: look at the delivery."
        )
    log.info(f"Compared with the champion: {comparison}.")
    return {"model": str(champion), **comparison._asdict()}
