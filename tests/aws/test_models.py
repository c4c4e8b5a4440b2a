"""A model comes back as it was made, knows its lineage, and never replaces another."""

import pickle
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import numpy as np
import pytest
from pandas import DataFrame
from sklearn.tree import DecisionTreeRegressor
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.aws.models import Model
from pipeline.aws.pickling import pickle_model
from pipeline.estimator import MonotoneTreeRegressor, PiecewiseLinear

TODAY = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
MOMENT = datetime(2021, 7, 3, 23, 5, 32, tzinfo=UTC)
DATASET = aws.Dataset(DataFrame(), MOMENT, "b", "datasets/week.csv", "c0ffee")
TREE = DecisionTreeRegressor(random_state=42).fit([[1], [2]], [1, 2])


def test_models_round_trip_with_lineage_and_metadata(bucket: str) -> None:
    model = Model("time-to-dispatch", TREE, DATASET, {"r_squared": 0.9})
    location = model.put_model_to_s3(bucket, "models")
    assert location.startswith(f"{bucket}/models/time-to-dispatch_20")

    loaded = aws.get_latest_pkl_model_from_s3(bucket, "models")
    assert loaded == model
    assert str(loaded) == str(model)
    assert loaded.metadata == {"r_squared": 0.9}
    assert np.array_equal(loaded.model.predict([[1], [2]]), [1, 2])


def test_str_and_repr_name_the_lineage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMIT_HASH", "1f2e3d4")
    before = datetime.now(UTC)
    model_version = str(Model("m", TREE, DATASET))
    fields = dict(part.split(":", 1) for part in model_version.split("|"))
    assert before <= datetime.fromisoformat(fields.pop("model_timestamp"))
    assert fields == {
        "name": "m",
        "model_type": "DecisionTreeRegressor",
        "model_hash": sha256(pickle_model(TREE)).hexdigest(),
        "train_dataset_key": "datasets/week.csv",
        "train_dataset_hash": "c0ffee",
        "pipeline_git_commit_hash": "1f2e3d4",
    }
    lines = repr(Model("m", TREE, DATASET)).splitlines()
    assert len(lines) == 7 and lines[0] == "name: m"


def test_models_are_equal_only_to_themselves() -> None:
    model = Model("m", TREE, DATASET)
    assert model == pickle.loads(pickle.dumps(model))
    assert hash(model) == hash(pickle.loads(pickle.dumps(model)))
    assert model != Model("m", TREE, DATASET)
    assert model != "m"


def test_an_estimator_that_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(RuntimeError, match="Could not pickle model m: "):
        Model("m", lambda: None, DATASET)


def test_two_models_of_the_same_second_both_survive(bucket: str) -> None:
    first, second = Model("m", TREE, DATASET), Model("m", TREE, DATASET)
    first._creation_time, second._creation_time = MOMENT, MOMENT + timedelta(
        milliseconds=1
    )
    first.put_model_to_s3(bucket)
    assert aws.get_latest_pkl_model_from_s3(bucket) == first
    assert second.put_model_to_s3(bucket) == f"{bucket}/m_2021-07-03T23:05:33.pkl"
    assert len(aws.list_artefacts_on_s3("pkl", bucket)) == 2
    assert aws.get_latest_pkl_model_from_s3(bucket) == second


def test_names_are_not_sought_for_ever(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = "pipeline.aws.signed_objects.put_object_to_s3"
    monkeypatch.setattr(put, lambda *_: False)
    with pytest.raises(RuntimeError, match="the names of 60 seconds are taken"):
        Model("m", TREE, DATASET).put_model_to_s3(bucket)


@pytest.mark.parametrize(
    "content, message",
    [
        (pickle.dumps({"not": "a model"}), "is not type Model but dict"),
        (b"", "could not be unpickled"),
        (b"no pickle", "could not be unpickled"),
        (pickle.dumps(Model("m", TREE, DATASET))[:-10], "could not be unpickled"),
    ],
    ids=["another type", "empty", "no pickle", "torn"],
)
def test_what_is_no_model_is_refused_by_name(
    s3: S3Client, bucket: str, content: bytes, message: str
) -> None:
    s3.put_object(Bucket=bucket, Key="models/m_2021-07-03.pkl", Body=content)
    with pytest.raises(RuntimeError) as refusal:
        aws.get_latest_pkl_model_from_s3(bucket, "models")
    assert f"s3://{bucket}/models/m_2021-07-03.pkl {message}" in str(refusal.value)
    assert "train a new model" in str(refusal.value)


@pytest.mark.parametrize(
    "part, value, message",
    [
        ("_model_hash", "0" * 64, "its estimator has another hash than it says"),
        ("_name", 7, "its parts are not those of a model"),
        ("_metadata", [1], "its parts are not those of a model"),
    ],
)
def test_a_model_whose_parts_do_not_fit_is_refused(
    s3: S3Client, bucket: str, part: str, value: object, message: str
) -> None:
    model = Model("m", TREE, DATASET)
    setattr(model, part, value)
    content = pickle_model(model)
    s3.put_object(Bucket=bucket, Key="models/m_2021-07-03.pkl", Body=content)
    with pytest.raises(RuntimeError, match=message):
        aws.get_latest_pkl_model_from_s3(bucket, "models")


def test_a_model_that_is_too_large_is_passed_over(
    s3: S3Client, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = Model("m", TREE, DATASET)
    good._creation_time = MOMENT
    good.put_model_to_s3(bucket, "models")
    s3.put_object(Bucket=bucket, Key=f"models/m_{TODAY}.pkl", Body=bytes(2**24 + 1))
    model, refusals = aws.get_newest_good_model_from_s3(bucket, "models", check=str)
    assert model == good
    [refusal] = refusals
    assert f"/models/m_{TODAY}.pkl is too large: it has 16,777,217 bytes" in refusal
    assert f"Refused: {refusal}" in caplog.text


def test_a_model_that_is_replaced_while_it_is_read_is_told(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, newer = Model("m", TREE, DATASET), Model("n", TREE, DATASET)
    newer._creation_time += timedelta(seconds=1)
    good.put_model_to_s3(bucket, "models")
    newer.put_model_to_s3(bucket, "models")

    def read(artefact: aws.S3TimestampedArtefact) -> aws.S3Object | None:
        replaced = "/n_" in artefact.key
        return None if replaced else aws.get_object_from_s3(artefact)

    monkeypatch.setattr("pipeline.aws.published_models.get_object_from_s3", read)
    model, refusals = aws.get_newest_good_model_from_s3(bucket, "models", check=str)
    assert model == good
    [refusal] = refusals
    assert "/models/n_" in refusal and "was replaced while it was read" in refusal


def test_an_estimator_of_another_scikit_learn_is_refused_before_it_is_unpickled(
    bucket: str,
) -> None:
    model = Model("m", TREE, DATASET, {"r_squared": 0.9})
    model._scikit_learn_version = "0.24.1"
    model._model_pickle = b"of another format"
    model._model_hash = sha256(model._model_pickle).hexdigest()
    model.put_model_to_s3(bucket)
    loaded = aws.get_latest_pkl_model_from_s3(bucket)
    assert loaded == model
    assert loaded.metadata == {"r_squared": 0.9}
    with pytest.raises(RuntimeError, match="was made with scikit-learn 0.24.1 and"):
        loaded.model


@pytest.mark.parametrize(
    "metadata, found",
    [
        ({"r_squared": float("nan")}, "r_squared is nan"),
        ({"champion": {"rows": 9, "loss": [0.5, float("-inf")]}}, "loss.1 is -inf"),
        ({"a": object()}, "is not JSON serializable"),
    ],
)
def test_metadata_that_are_no_numbers_are_not_written(
    bucket: str, metadata: dict[str, object], found: str
) -> None:
    model = Model("m", TREE, DATASET, metadata)
    for publish in (aws.check_loadable, lambda each: each.put_model_to_s3(bucket)):
        with pytest.raises(RuntimeError, match="Model .*not published.*") as refusal:
            publish(model)
        assert found in str(refusal.value)
    assert aws.list_artefacts_on_s3("pkl", bucket) == []


@pytest.mark.once
@pytest.mark.thorough
def test_a_model_of_five_thousand_products_can_be_read() -> None:
    codes = [f"SKU{number:04}" for number in range(5000)]
    rows = [[0.0, 0.0], [1.0, 1.0]]
    tree = DecisionTreeRegressor().fit(rows, [1, 2])
    estimator = MonotoneTreeRegressor.from_fitted(tree, rows)
    for number in range(5000):
        estimator.curves_[number] = PiecewiseLinear(*make_knots())
    metadata = {
        "products": {code: {"orders": 20, "learnt_from": "d" * 99} for code in codes},
        "curves": {
            code: dict(zip(("orders_placed", "hours"), make_knots(), strict=True))
            for code in codes
        },
        "training_rows": "x" * 1_000_000,
    }
    aws.check_loadable(Model("m", estimator, DATASET, metadata))


def make_knots() -> tuple[list[float], list[float]]:
    """Make the knots of a curve that is as long as training makes any."""
    return [number / 7 for number in range(16)], [number / 9 for number in range(16)]
