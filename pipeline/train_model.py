"""Stage 1: train a model on the latest delivery and persist it, if it is good enough.

Usage: python -m pipeline.train_model S3_BUCKET R_SQUARED_ERROR_THRESHOLD \
R_SQUARED_WARNING_THRESHOLD [--accept-shift KEY] [--only-if-new] [--dry-run] [--fresh]

Takes the newest delivery in s3://S3_BUCKET/datasets/ and puts the model into
s3://S3_BUCKET/models/. A delivery or a model that fails a check is refused: nothing is
persisted, the model in service stays, and the exit code is 1. Whatever comes out, a
record of the run is put into s3://S3_BUCKET/runs/, and the channels in ALERT_URLS are
told of what somebody should know. Both thresholds are r-squared, above 0 and at most 1,
of the cross-validation and on the held-out set: below the first a model is refused,
below the second there is a WARNING.

  --accept-shift KEY  take the delivery of that key though its hours are far from what
                      the model in service says: the world did change
  --only-if-new       do nothing, and exit with 0, if a model was trained on the newest
                      delivery already
  --dry-run           do everything but persist the model
  --fresh             learn from this week alone, and forget what the model in service
                      knows
"""

import logging
import signal
import sys
from datetime import UTC, datetime, timedelta
from os import environ
from typing import Any, NamedTuple

from pipeline.logs import StageParser, ending_with_errors

if __name__ == "__main__":
    parser = StageParser(
        "pipeline.train_model",
        __doc__,
        error_threshold="R_SQUARED_ERROR_THRESHOLD",
        warning_threshold="R_SQUARED_WARNING_THRESHOLD",
    )
    parser.add_argument("--accept-shift", metavar="KEY", default="")
    parser.add_argument("--only-if-new", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    chosen = parser.parse_args()

from sklearn.base import BaseEstimator
from sklearn.metrics import mean_absolute_error, r2_score

from pipeline import aws
from pipeline.estimator import (
    CURVES,
    Champion,
    KNOWLEDGE,
    RANGES,
    FeatureAndLabels,
    MonotoneTreeRegressor,
    calibrate,
    describe_curves,
    describe_products,
    learn_on,
    number_products,
    prepare_data,
    preprocess,
    read_champion,
    read_ranges,
    split_into_folds,
    summarize_knowledge,
    training_rows,
)
from pipeline.gates import (
    KEPT,
    TRAINING_ROWS,
    Challenge,
    DeliveryRefused,
    Examined,
    ModelRefused,
    UnreadableDelivery,
    Verdict,
    challenge_champion,
    check_delivery,
    compare_errors,
    count_falls,
    examine_delivery,
    find_delivery,
    find_known,
    find_model_faults,
    list_codes,
    measure_drift,
    summarize_drift,
    write_training_rows,
)
from pipeline.orders import (
    FEATURES,
    LABEL,
    MODELS_FOLDER,
    ORDERS_PLACED,
    PRODUCT_CODE,
)
from pipeline.records import (
    Delivery,
    Outcome,
    Recorder,
    Thresholds,
    describe_challenge,
    describe_champion,
    describe_drift,
    describe_examined,
    describe_found,
    describe_metrics,
    describe_model,
    recording,
)
from pipeline.search import DecisionTreeSearchCV

__all__ = [
    "HYPERPARAM_GRID",
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

# The address of a Dask scheduler whose workers search; without, it is searched here.
CLUSTER_VARIABLE = "DASK_SCHEDULER_ADDRESS"

RANDOM_STATE = 42
HYPERPARAM_GRID: dict[str, list[Any]] = {
    "random_state": [RANDOM_STATE],
    "criterion": ["squared_error", "absolute_error"],
    "max_depth": [*range(2, 11), None],
    "min_samples_split": [*range(2, 11)],
    "min_samples_leaf": [*range(2, 11)],
}
# What is the delivery's or the model's fault, and no fault of the run.
REFUSALS = (DeliveryRefused, UnreadableDelivery, ModelRefused)
# A delivery comes each Friday; a day more for one that is late.
OLDEST_DELIVERY = timedelta(days=8)

log = logging.getLogger("pipeline")


class TaskMetrics(NamedTuple):
    """How good the model is on the held-out set.

    Attributes:
        mean_absolute_error: In hours.
        cross_validated_r_squared: Of the best tree, the mean over the folds of the
            training set; None if it was not cross-validated.
    """

    r_squared: float
    mean_absolute_error: float
    cross_validated_r_squared: float | None = None

    def on_held_out(self) -> dict[str, float]:
        return {
            "r_squared": self.r_squared,
            "mean_absolute_error": self.mean_absolute_error,
        }

    def __str__(self) -> str:
        return (
            f"r-squared={self.r_squared:.3f}, MAE={self.mean_absolute_error:.3f} hours"
        )


def main(
    s3_bucket: str,
    metric_error_threshold: float,
    metric_warning_threshold: float,
    hyperparam_grid: dict[str, Any],
    *,
    accept_shift: str = "",
    only_if_new: bool = False,
    dry_run: bool = False,
    fresh: bool = False,
) -> None:
    """Train on the latest delivery and persist the model, if it is good enough.

    Args:
        accept_shift: Key of a delivery whose hours may be far from what the model in
            service says: an operator says that the world did change.
        only_if_new: Do nothing if a model was trained on the delivery already.
        dry_run: Do everything but persist the model.
        fresh: Learn from this week alone, and forget what the model in service knows.

    Raises:
        DeliveryRefused, UnreadableDelivery, ModelRefused: Nothing is persisted.
        RuntimeError: S3 could not be used.
    """
    log.info("Starting train-model stage.")
    thresholds = Thresholds(
        error=metric_error_threshold, warning=metric_warning_threshold
    )
    with recording(s3_bucket, MODEL_NAME, thresholds, REFUSALS) as run:
        check_features()
        if metric_warning_threshold < metric_error_threshold:
            log.warning(
                f"Warning threshold {metric_warning_threshold} is below error "
                f"threshold {metric_error_threshold}, so the warning can never fire."
            )
        dataset = find(s3_bucket, run)
        address = dataset.address
        if only_if_new and was_trained_on(s3_bucket, dataset):
            sentence = f"Nothing to do: a model was trained on {address} already."
            log.info(sentence)
            run.end(Outcome.NOTHING_NEW, sentence)
            return
        champion = find_champion(s3_bucket)
        run.add(model_in_service=describe_champion(champion))
        run.end_step("read")

        warn_if_nothing_new(dataset, champion)
        delivery = examine(dataset, champion, accept_shift, run)
        drift = report_drift(s3_bucket, delivery, champion, run)
        run.end_step("examine")

        week = find_known(prepare_data(delivery.orders), None if fresh else champion)
        feature_and_labels = week.data
        projection, metrics = train_model(feature_and_labels, hyperparam_grid)
        assessed = assess_projection(projection, feature_and_labels)
        run.end_step("train")

        learnt = learn_on(projection, *week)
        model = learnt.model
        before = read_ranges(champion.model) if champion else None
        ranges, knowledge = calibrate(
            learnt,
            feature_and_labels,
            delivery.orders,
            before.limits if before else {},
        )
        metrics = score(model, feature_and_labels, numbers_of(model))._replace(
            cross_validated_r_squared=metrics.cross_validated_r_squared
        )
        log.info(f"Trained model: {metrics}.")
        log.info(summarize_knowledge(knowledge))
        warn_of_last_week(learnt.doubted)
        log.info(f"Calibrated ranges: {ranges}.")
        run.add(metrics=describe_metrics({**metrics._asdict(), **assessed}))
        run.end_step("learn on")

        validate_trained_model_logic(model, feature_and_labels)
        check_metrics(
            metrics, metric_error_threshold, metric_warning_threshold, address
        )
        check_regularity(metrics, delivery, address)
        challenge = challenge_with(champion, model, feature_and_labels, address, run)
        if challenge is not None and challenge.outcome is Verdict.NOTHING_NEW:
            run.end(Outcome.NOTHING_NEW, challenge.sentence)
            return
        evaluation = {
            **assessed,
            RANGES: ranges.describe(),
            KNOWLEDGE: {code: each.describe() for code, each in knowledge.items()},
            **delivery.describe(),
            "accepted_shift": dataset.key if delivery.shifts else None,
            "champion": describe_comparison(champion, challenge),
            "drift": drift,
            **describe_products(model, delivery.orders, dataset, champion),
            TRAINING_ROWS: write_training_rows(training_rows(feature_and_labels)),
        }
        wrapped_model = wrap_model(model, dataset, metrics, evaluation)
        run.add(model=describe_model(wrapped_model))
        run.end_step("check")

        level = logging.WARNING if run.warnings else logging.INFO
        outcome = f"{metrics}, warnings above: {len(run.warnings)}."
        if dry_run:
            run.end(Outcome.DRY_RUN)
            log.log(
                level, f"Dry run: the model is good, and was not persisted: {outcome}"
            )
            return
        location = wrapped_model.put_model_to_s3(s3_bucket, MODELS_FOLDER)
        run.add(model=describe_model(wrapped_model, location.partition("/")[2]))
        run.end_step("publish")
        run.end(Outcome.PUBLISHED)
        log.log(level, f"Model serialised and persisted to s3://{location}: {outcome}")


def find(s3_bucket: str, run: Recorder) -> aws.Dataset:
    """Read the newest delivery.

    Raises:
        UnreadableDelivery: It cannot be read.
        RuntimeError: There is none, or S3 could not be read.
    """
    try:
        dataset = find_delivery(s3_bucket)
    except UnreadableDelivery as error:
        run.add(delivery=Delivery(key=error.key))
        raise
    run.add(delivery=describe_found(dataset))
    log.info(f"Retrieved dataset from {dataset.address} (SHA-256 {dataset.hash}).")
    return dataset


def check_features() -> None:
    """Fail where a feature was added that would not be learnt from.

    Raises:
        RuntimeError: What is learnt is a curve per product, and nothing else.
    """
    if FEATURES != [ORDERS_PLACED, PRODUCT_CODE]:
        raise RuntimeError(
            f"FEATURES in pipeline/orders.py is {FEATURES}, and a curve of "
            f"{ORDERS_PLACED} per {PRODUCT_CODE} is all that is learnt; "
            "docs/engineer.md says what else another feature needs."
        )


def was_trained_on(s3_bucket: str, dataset: aws.Dataset) -> bool:
    """Whether a model in the bucket was trained on a delivery, even if it is not the
    one in service any more."""
    for candidate in aws.read_models_from_s3(s3_bucket, MODELS_FOLDER, read_champion):
        if candidate.artefact.timestamp < dataset.datetime:
            return False
        model = candidate.model
        if model is not None and model.train_dataset_hash == dataset.hash:
            return True
    return False


def find_champion(s3_bucket: str) -> Champion | None:
    """Find the model that a service would take now; None, and why, if there is none."""
    model = aws.get_champion_from_s3(s3_bucket, MODELS_FOLDER, check=read_champion)
    return read_champion(model) if model else None


def warn_if_nothing_new(dataset: aws.Dataset, champion: Champion | None) -> None:
    """Warn where training goes on without a new delivery, and without new code."""
    if champion and champion.model.train_dataset_hash == dataset.hash:
        trained = f"the newest model was trained on {dataset.address} already"
        commit = champion.model.commit
        if commit == aws.deployed_commit():
            log.warning(f"Nothing new has arrived: {trained}.")
        else:
            log.info(f"Only the code is new: {trained}, by commit {commit}.")
    age = datetime.now(UTC) - dataset.datetime
    if age > OLDEST_DELIVERY:
        log.warning(
            f"Nothing new has arrived: {dataset.address} is {age.days} days old; "
            "ask the data engineers for this week's delivery."
        )


def examine(
    dataset: aws.Dataset, champion: Champion | None, accept_shift: str, run: Recorder
) -> Examined:
    """Check a delivery, and choose the rows to learn from.

    Raises:
        ValueError: It is refused.
    """
    accepts = accept_shift in (dataset.key, dataset.address)
    if accept_shift and not accepts:
        log.warning(
            f"--accept-shift names {aws.quote(accept_shift)}, and the newest delivery "
            f"is {dataset.key}: no shift of it is accepted."
        )
    delivery = examine_delivery(dataset.data, dataset.address, champion, accepts)
    run.add(
        delivery=describe_examined(describe_found(dataset), delivery),
        model_in_service=describe_champion(champion, delivery),
    )
    log.info(f"Checked delivery: {len(delivery.orders)} orders.")
    if delivery.service_error:
        log.info(f"Scored the model in service: {delivery.service_error}.")
    for note in delivery.notes:
        log.info(note)
    for warning in delivery.warnings:
        log.warning(warning)
    return delivery


def report_drift(
    s3_bucket: str, delivery: Examined, champion: Champion | None, run: Recorder
) -> list[dict[str, Any]] | None:
    """Report how far the orders have moved since the champion was trained.

    Returns:
        For the metadata: one entry for each product and column, the largest first, None
        if the champion's delivery cannot be had.
    """
    if champion is None:
        return None
    try:
        reference = aws.get_dataset_from_s3(
            s3_bucket, champion.model.train_dataset_key
        )
        checked = check_delivery(reference.data, reference.address)
    except (RuntimeError, ValueError) as error:
        log.warning(f"Drift was not measured: {error}")
        return None
    drifts = measure_drift(checked, delivery.orders)
    run.add(drift=describe_drift(drifts))
    large = any(drift.is_large for drift in drifts)
    log.log(logging.WARNING if large else logging.INFO, summarize_drift(drifts))
    return [
        {**drift._asdict(), "is_large": drift.is_large} for drift in drifts[:KEPT]
    ]


def train_model(
    data: FeatureAndLabels, hyperparam_grid: dict[str, Any]
) -> tuple[MonotoneTreeRegressor, TaskMetrics]:
    """Search the whole grid on the training set, and project and score the best tree.

    Args:
        hyperparam_grid: Parameters of `DecisionTreeRegressor` and values to try.

    Returns:
        The best tree, refitted on the training set and projected onto estimates that
        never fall with orders placed, and its metrics on the held-out set.
    """
    numbers = number_products(data.X_train, data.y_train)
    features = preprocess(data.X_train, numbers)
    search = DecisionTreeSearchCV(
        hyperparam_grid,
        scoring="r2",
        cv=list(split_into_folds(data)),
        cluster=environ.get(CLUSTER_VARIABLE),
    )
    search.fit(features, data.y_train)
    log.info(
        f"Searched {len(search.cv_results_['params'])} candidates: best "
        f"cross-validated r-squared={search.best_score_:.3f} "
        f"with {search.best_params_}."
    )
    model = MonotoneTreeRegressor.from_fitted(search.best_estimator_, features)
    model.product_numbers_ = numbers
    metrics = score(model, data, numbers)
    return model, metrics._replace(cross_validated_r_squared=float(search.best_score_))


def warn_of_last_week(doubted: list[str]) -> None:
    """Warn where this week is like those before last week, and unlike last week."""
    if doubted:
        log.warning(
            f"Last week was likely a bad one for {list_codes(doubted)}: this week is "
            "like the weeks before it, so that nothing of it is kept; look at its "
            "delivery."
        )


def score(
    model: BaseEstimator, data: FeatureAndLabels, numbers: dict[str, int] | None
) -> TaskMetrics:
    """Score a model on the held-out set."""
    predictions = model.predict(preprocess(data.X_test, numbers))
    return TaskMetrics(
        float(r2_score(data.y_test, predictions)),
        float(mean_absolute_error(data.y_test, predictions)),
    )


def check_metrics(
    metrics: TaskMetrics, error_threshold: float, warning_threshold: float, source: str
) -> None:
    """Hold both scores against the thresholds; warn of what is between them.

    Raises:
        ModelRefused: One is below the first threshold, or is no number.
    """
    scores = {
        "r-squared metric": metrics.r_squared,
        "cross-validated r-squared metric": metrics.cross_validated_r_squared,
    }
    for name, value in scores.items():
        if value is None or not value >= error_threshold:
            raise ModelRefused(
                f"{name} ({value:.3f}) is below deployment threshold "
                f"{error_threshold}; the model was not persisted and the one in "
                f"service stays: look at {source}."
            )
        if not value >= warning_threshold:
            log.warning(
                f"{name} ({value:.3f}) breached warning threshold "
                f"{warning_threshold} - check for drift."
            )


def check_regularity(metrics: TaskMetrics, delivery: Examined, source: str) -> None:
    """Make sure that the orders are about as regular as those of the champion.

    Raises:
        ModelRefused: They are not: what belongs together was likely torn apart.
    """
    if delivery.is_mixed_up(metrics.mean_absolute_error):
        raise ModelRefused(
            f"MAE ({metrics.mean_absolute_error:.3f} hours) is too far above that of "
            f"the model in service ({delivery.service_error}): rows or products of "
            f"{source} are likely mixed up; the model was not persisted and the one in "
            "service stays."
        )


def validate_trained_model_logic(model: BaseEstimator, data: FeatureAndLabels) -> None:
    """Check that a trained model makes sense on the held-out set.

    Raises:
        ModelRefused: Names everything that is wrong.
    """
    features = preprocess(data.X_test, numbers_of(model))
    faults = find_model_faults(model, features, data.y_test)
    if faults:
        raise ModelRefused(f"Trained model failed verification: {', '.join(faults)}.")


def assess_projection(
    model: MonotoneTreeRegressor, data: FeatureAndLabels
) -> dict[str, Any]:
    """Report what the projection did to the tree; warn if it made it worse.

    Returns:
        For the metadata: how many falls were removed, and the metrics of tree and
        projection on the held-out set.
    """
    numbers, tree = numbers_of(model), model.estimator_
    features = preprocess(data.X_test, numbers)
    falls = count_falls(tree, features)
    of_tree, of_projection = (score(each, data, numbers) for each in (tree, model))
    log.info(
        f"Projection removed {falls} falls: {of_projection}; the tree alone has "
        f"{of_tree}."
    )
    comparison = compare_errors(
        data.y_test, tree.predict(features), model.predict(features)
    )
    if comparison.is_worse:
        log.warning(f"The projection made it worse by more than chance: {comparison}.")
    return {
        "falls_removed": falls,
        "tree": of_tree.on_held_out(),
        "projection": of_projection.on_held_out(),
    }


def challenge_with(
    champion: Champion | None,
    model: MonotoneTreeRegressor,
    data: FeatureAndLabels,
    source: str,
    run: Recorder,
) -> Challenge | None:
    """Compare with the champion on held-out orders that neither was trained on.

    Returns:
        None without a champion.

    Raises:
        ModelRefused: The new model is worse by more than chance, or there are too few
            orders to judge by.
    """
    if champion is None:
        return None
    held_out = data.X_test.assign(**{LABEL: data.y_test})
    numbers = numbers_of(model)
    found = challenge_champion(
        champion,
        held_out,
        lambda orders: model.predict(preprocess(orders, numbers)),
        source,
    )
    run.add(comparison=describe_challenge(found))
    if found.outcome in (Verdict.WORSE, Verdict.TOO_FEW_ORDERS):
        raise ModelRefused(found.sentence)
    passed = found.outcome is Verdict.PASSED
    log.log(logging.INFO if passed else logging.WARNING, found.sentence)
    return found


def describe_comparison(
    champion: Champion | None, challenge: Challenge | None
) -> dict[str, Any] | None:
    """What stands of the comparison in the metadata of the model."""
    if champion is None or challenge is None:
        return None
    return {
        "model": str(champion.model),
        "outcome": challenge.outcome.value,
        **challenge.comparison._asdict(),
    }


def numbers_of(model: BaseEstimator) -> dict[str, int] | None:
    """The product numbers that a model was trained with; None if it has none."""
    return getattr(model, "product_numbers_", None)


def wrap_model(
    model: BaseEstimator,
    dataset: aws.Dataset,
    metrics: TaskMetrics,
    evaluation: dict[str, Any] | None,
) -> aws.Model:
    """Put a model and its metadata together, and make sure that they can be read.

    Raises:
        RuntimeError: They could not be loaded again.
    """
    metadata = {**metrics._asdict(), "hyperparameters": model.get_params(deep=False)}
    if isinstance(model, MonotoneTreeRegressor):
        metadata["hyperparameters"] = model.estimator.get_params()
        metadata[CURVES] = describe_curves(model)
    wrapped_model = aws.Model(
        MODEL_NAME, model, dataset, {**metadata, **(evaluation or {})}
    )
    aws.check_loadable(wrapped_model)
    return wrapped_model


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
    wrapped_model = wrap_model(model, dataset, metrics, evaluation)
    return wrapped_model.put_model_to_s3(bucket, MODELS_FOLDER)


def end_run(*_: object) -> None:
    """End as a shell says of a process that SIGTERM ended; the run is recorded."""
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end_run)
    with ending_with_errors("training model"):
        main(
            chosen.s3_bucket,
            chosen.error_threshold,
            chosen.warning_threshold,
            HYPERPARAM_GRID,
            accept_shift=chosen.accept_shift,
            only_if_new=chosen.only_if_new,
            dry_run=chosen.dry_run,
            fresh=chosen.fresh,
        )
