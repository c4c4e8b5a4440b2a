"""Training: as what Bodywork and engineers run, and step by step."""

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pandas import DataFrame
from sklearn.dummy import DummyRegressor
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.utils.validation import check_is_fitted
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.estimator.piecewise_linear import PiecewiseLinear
from pipeline.train_model import (
    HYPERPARAM_GRID,
    FeatureAndLabels,
    assess_projection,
    main,
    persist_model,
    prepare_data,
    preprocess,
    train_model,
    validate_trained_model_logic,
)
from sandbox.orders import make_week
from tests.programs import run_here

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
LAST_WEEK = datetime.now(UTC) - timedelta(days=7)
SMALL_GRID = {"random_state": [42], "max_depth": [4, 8], "min_samples_leaf": [2, 5]}


def deliver(bucket: str, week: DataFrame, at: datetime = LAST_WEEK) -> str:
    location = aws.put_csv_dataset_to_s3(
        week, "time_to_dispatch", at, bucket, "datasets"
    )
    return f"s3://{location}"


def run_stage(
    *arguments: str, as_bodywork: bool = False
) -> subprocess.CompletedProcess[str]:
    program = ["train_model.py"] if as_bodywork else ["-m", "pipeline.train_model"]
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=ROOT / "pipeline" if as_bodywork else ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def count_models(bucket: str) -> int:
    return len(aws.list_artefacts_on_s3("pkl", bucket, "models"))


@pytest.mark.parametrize(
    "as_bodywork", [pytest.param(False, marks=pytest.mark.once), True]
)
def test_the_stage_trains_on_the_whole_grid_and_persists(
    bucket: str, as_bodywork: bool
) -> None:
    address = deliver(bucket, make_week(rows=1000, seed=1))
    process = run_stage(bucket, "0.8", "0.9", as_bodywork=as_bodywork)
    assert process.returncode == 0, process.stdout
    assert process.stderr == ""
    assert f"Retrieved dataset from {address}" in process.stdout
    assert "WARNING" not in process.stdout

    assert count_models(bucket) == 1
    model = aws.get_latest_pkl_model_from_s3(bucket, "models")
    assert model.metadata is not None and model.metadata["r_squared"] > 0.9
    assert set(HYPERPARAM_GRID) <= set(model.metadata["hyperparameters"])
    assert model.metadata["falls_removed"] > 0
    assert model.metadata["tree"]["r_squared"] > 0.9
    assert model.metadata["champion"] is None
    week = aws.get_latest_csv_dataset_from_s3(bucket, "datasets")
    assert f"|train_dataset_hash:{week.hash}|" in str(model)


def test_below_the_error_threshold_nothing_is_persisted(bucket: str) -> None:
    deliver(bucket, make_week(rows=200, seed=1))
    process = run_here("pipeline.train_model", bucket, "1", "1")
    assert process.returncode == 1
    assert "ERROR" in process.stdout and "Traceback" not in process.stdout
    assert ") is below deployment threshold 1.0" in process.stdout
    assert "r-squared metric (0." in process.stdout
    assert count_models(bucket) == 0


def test_a_missing_bucket_ends_in_one_sentence() -> None:
    process = run_here("pipeline.train_model", "no-such-bucket", "0.8", "0.9")
    assert process.returncode == 1
    assert process.stderr == ""
    assert "ERROR" in process.stdout.splitlines()[-1]
    assert "s3://no-such-bucket/datasets/" in process.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["b", "0.8"],
        ["b", "0.8", "0.9", "0.95"],
        ["b", "-1", "0.5"],
        ["b", "0", "0.5"],
        ["b", "0.5", "1.1"],
        ["b", "nan", "0.5"],
        ["b", "0.5", "nan"],
        ["b", "high", "0.5"],
        ["", "0.8", "0.9"],
    ],
    ids=str,
)
def test_invalid_arguments_are_refused_with_the_usage(arguments: list[str]) -> None:
    process = run_here("pipeline.train_model", *arguments)
    assert process.returncode == 1
    assert "ERROR" in process.stdout
    assert "Invalid arguments passed to train_model.py" in process.stdout
    assert "Usage: python -m pipeline.train_model S3_BUCKET" in process.stdout
    assert process.stderr == ""


def test_the_warning_threshold_warns_below_and_not_at_it(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    week = make_week(rows=500, seed=3)
    deliver(bucket, week)
    _, metrics = train_model(prepare_data(week), SMALL_GRID)

    main(bucket, 0.1, metrics.r_squared, SMALL_GRID)
    assert "breached warning threshold" not in caplog.text
    assert "WARNING" not in caplog.text

    main(bucket, metrics.r_squared, np.nextafter(metrics.r_squared, 1), SMALL_GRID)
    assert caplog.text.count("breached warning threshold") == 1
    assert "WARNING" in caplog.text
    assert count_models(bucket) == 2

    above = float(np.nextafter(metrics.r_squared, 1))
    with pytest.raises(RuntimeError, match="is below deployment threshold"):
        main(bucket, above, above, SMALL_GRID)
    assert count_models(bucket) == 2


def test_a_warning_threshold_that_can_never_fire_is_told(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(bucket, make_week(rows=500, seed=3))
    main(bucket, 0.6, 0.5, SMALL_GRID)
    assert "the warning can never fire" in caplog.text
    assert count_models(bucket) == 1


@pytest.mark.parametrize(
    "spoil, fault",
    [
        (lambda week: week.drop(columns="product_code"), "product_code is missing"),
        (lambda week: week[:0], "it has no rows"),
        (lambda week: week[:20], "no product has 10 orders, the fewest to learn from"),
        (lambda week: week.assign(product_code=""), "500 rows are missing"),
        (lambda week: week.assign(orders_placed="x"), "500 rows are not numeric"),
        (lambda week: week.assign(hours_to_dispatch=-1.0), "500 rows are negative"),
    ],
)
def test_refused_deliveries_leave_everything_as_it_was(
    bucket: str, spoil: Callable[[DataFrame], DataFrame], fault: str
) -> None:
    address = deliver(bucket, spoil(make_week(rows=500, seed=3)))
    with pytest.raises(ValueError, match=f"Delivery {address} refused: .*{fault}"):
        main(bucket, 0.5, 0.9, SMALL_GRID)
    assert count_models(bucket) == 0


@pytest.mark.parametrize(
    "key, encode",
    [
        ("w_2021-07-03.csv", lambda week: week.iloc[:, ::-1].to_csv(index=False)),
        ("w_2021-07-03.csv", lambda week: week.assign(extra="x").to_csv(index=False)),
        ("w_2021-07-03.csv", lambda week: week.to_csv(lineterminator="\r\n")),
        ("w_2021-07-03.csv", lambda week: "\ufeff" + week.to_csv(index=False)),
        ("w_2021-07-03.csv.gz", lambda week: week.to_csv(index=False)),
    ],
    ids=["column order", "extra column", "CRLF", "byte order mark", "gzip"],
)
def test_deliveries_that_look_different_train_the_same_model(
    s3: S3Client, bucket: str, key: str, encode: Callable[[DataFrame], str]
) -> None:
    week = make_week(rows=500, seed=3)
    expected, _ = train_model(prepare_data(week), SMALL_GRID)

    content = encode(week).encode()
    if key.endswith(".gz"):
        content = gzip.compress(content)
    s3.put_object(Bucket=bucket, Key=f"datasets/{key}", Body=content)
    main(bucket, 0.5, 0.6, SMALL_GRID)
    trained = aws.get_latest_pkl_model_from_s3(bucket, "models").model
    features = preprocess(week)
    assert np.array_equal(trained.predict(features), expected.predict(features))


def test_prepare_data_splits_by_product() -> None:
    week = make_week(rows=1000, seed=1)
    data = prepare_data(week)
    assert list(data.X_train) == list(data.X_test) == ["orders_placed", "product_code"]
    assert data.y_train.name == data.y_test.name == "hours_to_dispatch"
    assert (len(data.X_train), len(data.X_test)) == (800, 200)
    assert not set(data.X_train.index) & set(data.X_test.index)
    shares = data.X_test["product_code"].value_counts() / 200
    assert np.allclose(shares, week["product_code"].value_counts() / 1000, atol=0.01)


def test_preprocess_chooses_features_by_name() -> None:
    orders = DataFrame({"product_code": ["B", "A"], "orders_placed": [30, 7]})
    assert preprocess(orders).tolist() == [[30.0, 1.0], [7.0, 0.0]]
    numbers = {"A": 5, "B": 3}
    assert preprocess(orders, numbers).tolist() == [[30.0, 3.0], [7.0, 5.0]]


def test_train_model_yields_a_fitted_model_and_its_held_out_metrics() -> None:
    data = prepare_data(make_week(rows=1000, seed=1))
    model, metrics = train_model(data, {"random_state": [42]})
    check_is_fitted(model)
    predictions = model.predict(preprocess(data.X_test))
    assert metrics.r_squared == r2_score(data.y_test, predictions) > 0.9
    assert metrics.mean_absolute_error == mean_absolute_error(data.y_test, predictions)


def test_all_faults_of_a_model_are_told() -> None:
    data = prepare_data(make_week(rows=200, seed=1))
    model = DummyRegressor(strategy="constant", constant=-1.0)
    model.fit(preprocess(data.X_train), data.y_train)
    with pytest.raises(RuntimeError) as failure:
        validate_trained_model_logic(model, data)
    assert str(failure.value) == (
        "Trained model failed verification: "
        "hours_to_dispatch predictions do not increase with orders_placed, "
        "negative hours_to_dispatch predictions found for test set."
    )


def test_a_model_that_fails_verification_is_not_persisted(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    week = make_week(rows=1000, seed=3)
    falling = np.maximum(0, 60 - 0.15 * week["orders_placed"])
    noise = np.random.default_rng(0).normal(0, 0.1, len(week))
    deliver(bucket, week.assign(hours_to_dispatch=np.abs(falling + noise)))
    with pytest.raises(RuntimeError, match="Trained model failed verification: "):
        main(bucket, 0.01, 0.9, SMALL_GRID)
    assert count_models(bucket) == 0


def test_a_projection_that_makes_the_tree_worse_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = prepare_data(make_week(rows=500, seed=3))
    model, _ = train_model(data, SMALL_GRID)
    assess_projection(model, data)
    assert "WARNING" not in caplog.text
    model.curves_ = dict.fromkeys(range(5), PiecewiseLinear([0.0, 200.0], [9.0, 9.1]))
    assess_projection(model, data)
    assert "The projection made it worse by more than chance: +" in caplog.text


def test_a_model_that_could_not_be_loaded_again_is_not_persisted(bucket: str) -> None:
    data = prepare_data(make_week(rows=200, seed=1))
    model, metrics = train_model(data, {"random_state": [42]})
    dataset = aws.Dataset(data.X_train, LAST_WEEK, bucket, "datasets/w.csv", "c0ffee")
    with pytest.raises(RuntimeError, match="could not be loaded again: it holds"):
        persist_model(bucket, model, dataset, metrics, {"falls": np.float64(1)})
    assert count_models(bucket) == 0


def test_split_containers_name_their_parts() -> None:
    assert FeatureAndLabels._fields == ("X_train", "X_test", "y_train", "y_test")
