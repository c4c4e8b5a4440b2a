"""Stage 1: train a model on the latest delivery and persist it, if it is good enough.

Usage: python -m pipeline.train_model S3_BUCKET R_SQUARED_ERROR_THRESHOLD \
R_SQUARED_WARNING_THRESHOLD

Takes the newest CSV in s3://S3_BUCKET/datasets/ and puts the model into
s3://S3_BUCKET/models/. Below the error threshold nothing is persisted and the exit code
is 1; below the warning threshold the model is persisted with a WARNING. Both thresholds
are r-squared on the held-out set, above 0 and at most 1.
"""

import logging
import sys
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, Series
from sklearn.base import BaseEstimator
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split

from pipeline import aws
from pipeline.estimator import CURVES, MonotoneTreeRegressor
from pipeline.gates import (
    challenge_champion,
    check_delivery,
    compare_deliveries,
    compare_errors,
    count_falls,
    find_model_faults,
    get_champion,
    warn_if_nothing_new,
)
from pipeline.logs import ending_with_errors, read_arguments
from pipeline.orders import (
    DATASETS_FOLDER,
    FEATURES,
    LABEL,
    MODELS_FOLDER,
    ORDERS_PLACED,
    PRODUCT_CODE,
    PRODUCT_CODE_MAP,
)
from pipeline.search import DecisionTreeSearchCV

__all__ = [
    "HYPERPARAM_GRID",
    "PRODUCT_CODE_MAP",
    "FeatureAndLabels",
    "TaskMetrics",
    "main",
    "persist_model",
    "prepare_data",
    "preprocess",
    "train_model",
    "validate_trained_model_logic",
]

MODEL_NAME = "time-to-dispatch"

RANDOM_STATE = 42
TEST_SIZE = 0.2
FOLDS = 5
HYPERPARAM_GRID: dict[str, list[Any]] = {
    "random_state": [RANDOM_STATE],
    "criterion": ["squared_error", "absolute_error"],
    "max_depth": [*range(2, 11), None],
    "min_samples_split": [*range(2, 11)],
    "min_samples_leaf": [*range(2, 11)],
}

log = logging.getLogger("pipeline")


class FeatureAndLabels(NamedTuple):
    """Features (orders_placed, product_code) and labels (hours) of both splits."""

    X_train: DataFrame
    X_test: DataFrame
    y_train: "Series[float]"
    y_test: "Series[float]"


class TaskMetrics(NamedTuple):
    """How good the model is on the held-out set.

    Attributes:
        mean_absolute_error: In hours.
    """

    r_squared: float
    mean_absolute_error: float


def main(
    s3_bucket: str,
    metric_error_threshold: float,
    metric_warning_threshold: float,
    hyperparam_grid: dict[str, Any],
) -> None:
    """Train on the latest delivery and persist the model, if it is good enough.

    Raises:
        ValueError: The delivery is refused.
        RuntimeError: The model failed a check or is worse than its predecessor, or S3
            could not be used.
    """
    log.info("Starting train-model stage.")
    if metric_warning_threshold < metric_error_threshold:
        log.warning(
            f"Warning threshold {metric_warning_threshold} is below error threshold "
            f"{metric_error_threshold}, so the warning can never fire."
        )
    dataset = aws.get_latest_csv_dataset_from_s3(s3_bucket, DATASETS_FOLDER)
    log.info(f"Retrieved dataset from {dataset.address} (SHA-256 {dataset.hash}).")
    delivery = check_delivery(dataset.data, dataset.address)
    log.info(f"Checked delivery: {len(delivery)} orders.")

    champion = get_champion(s3_bucket)
    warn_if_nothing_new(dataset, champion)
    drift = compare_deliveries(delivery, champion, s3_bucket)

    feature_and_labels = prepare_data(delivery)
    model, metrics = train_model(feature_and_labels, hyperparam_grid)
    log.info(
        f"Trained model: r-squared={metrics.r_squared:.3f}, "
        f"MAE={metrics.mean_absolute_error:.3f} hours."
    )
    validate_trained_model_logic(model, feature_and_labels)
    projection = assess_projection(model, feature_and_labels)

    if metrics.r_squared < metric_error_threshold:
        raise RuntimeError(
            f"r-squared metric ({metrics.r_squared:.3f}) is below deployment threshold "
            f"{metric_error_threshold}; the model was not persisted and the one in "
            f"service stays: look at {dataset.address}."
        )
    if metrics.r_squared < metric_warning_threshold:
        log.warning(
            f"r-squared metric ({metrics.r_squared:.3f}) breached warning threshold "
            f"{metric_warning_threshold} - check for drift."
        )
    held_out = preprocess(feature_and_labels.X_test), feature_and_labels.y_test
    comparison = challenge_champion(champion, model, *held_out)
    evaluation = {**projection, "champion": comparison, "drift": drift}
    s3_location = persist_model(s3_bucket, model, dataset, metrics, evaluation)
    log.info(f"Model serialised and persisted to s3://{s3_location}")


def prepare_data(data: DataFrame) -> FeatureAndLabels:
    """Split a delivery into a training and a held-out set, stratified by product."""
    return FeatureAndLabels(
        *train_test_split(
            data[FEATURES],
            data[LABEL],
            test_size=TEST_SIZE,
            stratify=data[PRODUCT_CODE],
            random_state=RANDOM_STATE,
        )
    )


def train_model(
    data: FeatureAndLabels, hyperparam_grid: dict[str, Any]
) -> tuple[BaseEstimator, TaskMetrics]:
    """Search the whole grid on the training set, and project and score the best tree.

    Args:
        hyperparam_grid: Parameters of `DecisionTreeRegressor` and values to try.

    Returns:
        The best tree, refitted on the training set and projected onto estimates that
        never fall with orders placed, and its metrics on the held-out set.
    """
    search = DecisionTreeSearchCV(hyperparam_grid, scoring="r2", cv=FOLDS)
    search.fit(preprocess(data.X_train), data.y_train)
    log.info(
        f"Searched {len(search.cv_results_['params'])} candidates: best "
        f"cross-validated r-squared={search.best_score_:.3f} "
        f"with {search.best_params_}."
    )
    model = MonotoneTreeRegressor.from_fitted(
        search.best_estimator_, preprocess(data.X_train)
    )
    return model, score(model, data)


def score(model: BaseEstimator, data: FeatureAndLabels) -> TaskMetrics:
    """Score a model on the held-out set."""
    predictions = model.predict(preprocess(data.X_test))
    return TaskMetrics(
        float(r2_score(data.y_test, predictions)),
        float(mean_absolute_error(data.y_test, predictions)),
    )


def validate_trained_model_logic(model: BaseEstimator, data: FeatureAndLabels) -> None:
    """Check that a trained model makes sense on the held-out set.

    Raises:
        RuntimeError: Names everything that is wrong.
    """
    faults = find_model_faults(model, preprocess(data.X_test), data.y_test)
    if faults:
        raise RuntimeError(f"Trained model failed verification: {', '.join(faults)}.")


def assess_projection(
    model: MonotoneTreeRegressor, data: FeatureAndLabels
) -> dict[str, Any]:
    """Report what the projection did to the tree; warn if it made it worse.

    Returns:
        For the metadata: the tree's own metrics and how many falls were removed.
    """
    features, tree = preprocess(data.X_test), model.estimator_
    falls = count_falls(tree, features)
    metrics = score(tree, data)
    log.info(
        f"Projection removed {falls} falls; the tree alone has "
        f"r-squared={metrics.r_squared:.3f}, MAE={metrics.mean_absolute_error:.3f}."
    )
    comparison = compare_errors(
        data.y_test, tree.predict(features), model.predict(features)
    )
    if comparison.is_worse:
        log.warning(f"The projection made it worse by more than chance: {comparison}.")
    return {"falls_removed": falls, "tree": metrics._asdict()}


def preprocess(df: DataFrame) -> NDArray[np.float64]:
    """Make the features of a model from orders.

    Returns:
        Shape (orders, 2): orders placed and product index.
    """
    products = df[PRODUCT_CODE].map(PRODUCT_CODE_MAP)
    return np.column_stack([df[ORDERS_PLACED], products]).astype(float)


def persist_model(
    bucket: str,
    model: BaseEstimator,
    dataset: aws.Dataset,
    metrics: TaskMetrics,
    evaluation: dict[str, Any] | None = None,
) -> str:
    """Put the model and its metadata into S3; returns bucket/folder/filename.

    Raises:
        RuntimeError: It could not be loaded again, or S3 could not be written to.
    """
    metadata = {
        **metrics._asdict(),
        "hyperparameters": model.get_params(deep=False),
        **(evaluation or {}),
    }
    if isinstance(model, MonotoneTreeRegressor):
        metadata["hyperparameters"] = model.estimator.get_params()
        metadata[CURVES] = {
            code: asdict(model.curves_[index])
            for code, index in PRODUCT_CODE_MAP.items()
        }
    wrapped_model = aws.Model(MODEL_NAME, model, dataset, metadata)
    aws.check_loadable(wrapped_model)
    return wrapped_model.put_model_to_s3(bucket, MODELS_FOLDER)


def parse_arguments(arguments: list[str]) -> tuple[str, float, float]:
    """Read the bucket and the error and warning thresholds."""
    s3_bucket, error_threshold, warning_threshold = read_arguments(
        __doc__, arguments, "R_SQUARED_ERROR_THRESHOLD", "R_SQUARED_WARNING_THRESHOLD"
    )
    return s3_bucket, error_threshold, warning_threshold


if __name__ == "__main__":
    with ending_with_errors("training model"):
        main(*parse_arguments(sys.argv[1:]), HYPERPARAM_GRID)
