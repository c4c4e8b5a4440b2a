"""Training the classifier of irises: the stage as a process, and its gates."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from math import nan
from pathlib import Path
from typing import Any

import pytest
from pandas import DataFrame
from types_boto3_s3 import S3Client

from examples.iris import flowers
from examples.iris.delivery import check_delivery
from examples.iris.train_model import main
from pipeline import aws
from sandbox.flowers import deliver_flowers, make_flowers
from tests.examples.iris.test_serve_model import add_dispatch_model

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[3]
REMEDY = "correct the file and deliver it again under a newer timestamp."
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


def deliver(bucket: str, delivery: DataFrame) -> str:
    return deliver_flowers(delivery, YESTERDAY, bucket, "datasets")


def run_stage(*command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def count_models(bucket: str) -> int:
    return len(aws.list_artefacts_on_s3("pkl", bucket, "models"))


@pytest.mark.process
@pytest.mark.process
def test_the_stage_publishes_a_model_that_tells_held_out_flowers(bucket: str) -> None:
    address = deliver(bucket, make_flowers())
    folder = ROOT / "examples" / "iris"
    process = run_stage("train_model.py", bucket, "0.9", folder=folder)
    assert process.returncode == 0, process.stdout
    assert process.stderr == ""
    assert f"Retrieved dataset from {address} " in process.stdout
    assert "WARNING" not in process.stdout

    model = aws.get_latest_pkl_model_from_s3(bucket, "models")
    assert model.metadata is not None and model.metadata["balanced_accuracy"] >= 0.9
    week = aws.get_latest_csv_dataset_from_s3(bucket, "datasets")
    assert str(model).startswith("name:iris|model_type:DecisionTreeClassifier|")
    assert f"|train_dataset_hash:{week.hash}|" in str(model)


@pytest.mark.process
@pytest.mark.process
def test_what_teaches_nothing_is_not_published(bucket: str) -> None:
    delivery = make_flowers()
    shuffled = delivery[flowers.LABEL].sample(frac=1, random_state=1).to_numpy()
    deliver(bucket, delivery.assign(**{flowers.LABEL: shuffled}))
    process = run_stage("-m", "examples.iris.train_model", bucket, "0.9")
    assert process.returncode == 1
    assert process.stderr == ""
    last = process.stdout.splitlines()[-1]
    assert " - ERROR - " in last and "is below deployment threshold 0.9; " in last
    assert count_models(bucket) == 0


def test_an_accuracy_that_is_no_number_does_not_pass(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "examples.iris.train_model.balanced_accuracy_score", lambda *_: nan
    )
    deliver(bucket, make_flowers())
    with pytest.raises(RuntimeError, match="below deployment threshold 0.9"):
        main(bucket, 0.9)
    assert count_models(bucket) == 0


def test_what_has_been_learnt_already_is_told_and_compared(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    deliver(bucket, make_flowers())
    main(bucket, 0.9)
    assert "There is no champion to compare with." in caplog.text
    assert "Nothing new" not in caplog.text
    # A model of another pipeline is none to compare with.
    add_dispatch_model(bucket, datetime.now(UTC) + timedelta(minutes=1))
    main(bucket, 0.9)
    assert "No champion: Model name:time-to-dispatch|" in caplog.text
    assert "Nothing new has arrived" in caplog.text
    assert "The newest model so far: balanced accuracy=0.967." in caplog.text
    assert count_models(bucket) == 3


def test_models_are_signed(
    bucket: str, s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(aws.KEYS_VARIABLE, "k" * 32)
    deliver(bucket, make_flowers())
    main(bucket, 0.9)
    [artefact] = aws.list_artefacts_on_s3("pkl", bucket, "models")
    head = s3.head_object(Bucket=bucket, Key=artefact.key)
    assert aws.is_signed(head["Metadata"])
    assert aws.get_latest_pkl_model_from_s3(bucket, "models")


def check(delivery: DataFrame, bucket: str) -> DataFrame:
    deliver(bucket, delivery)
    return check_delivery(aws.get_latest_csv_dataset_from_s3(bucket, "datasets"))


def test_columns_are_chosen_by_name(bucket: str) -> None:
    delivery = make_flowers()
    # Ten of each species are enough.
    delivery = delivery.groupby(flowers.LABEL).head(10).reset_index(drop=True)
    other = delivery[delivery.columns[::-1]].assign(collector="Anderson")
    checked = check(other, bucket)
    assert checked[delivery.columns].equals(delivery)
    assert len(checked.columns) == 5


@pytest.mark.parametrize(
    "column, value, reason",
    [
        ("petal_width", "broad", "should be a valid number"),
        ("petal_width", None, "should be a finite number"),
        ("petal_width", float("inf"), "should be a finite number"),
        ("petal_width", -0.2, "should be greater than 0"),
        ("petal_width", 0.0, "should be greater than 0"),
        ("petal_width", 101.0, "should be less than or equal to 100"),
        ("species", "rose", "should be 'setosa', 'versicolor' or 'virginica'"),
        ("species", None, "should be 'setosa', 'versicolor' or 'virginica'"),
    ],
)
def test_a_value_that_is_none_is_refused_by_column_and_line(
    bucket: str, column: str, value: Any, reason: str
) -> None:
    delivery = make_flowers().astype(object)
    delivery.loc[15, column] = value
    with pytest.raises(ValueError) as refusal:
        check(delivery, bucket)
    sentence = str(refusal.value)
    assert sentence.startswith(f"Delivery s3://{bucket}/datasets/iris_")
    assert f" refused: column {column}, line 17: Input {reason}" in sentence
    assert sentence.endswith(f"; {REMEDY}")


@pytest.mark.parametrize("column", [*flowers.MEASUREMENTS, flowers.LABEL])
def test_a_missing_column_is_named(s3: S3Client, bucket: str, column: str) -> None:
    with pytest.raises(ValueError, match=f"column {column}, line 2: Field required"):
        check(make_flowers().drop(columns=column), bucket)


@pytest.mark.parametrize("count", [0, 9])
def test_a_species_of_too_few_flowers_is_named(
    bucket: str, count: int
) -> None:
    delivery = make_flowers()[: 100 + count]
    with pytest.raises(ValueError, match=f"column species: virginica has {count} rows"):
        check(delivery, bucket)
