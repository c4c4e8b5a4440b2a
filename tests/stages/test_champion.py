"""A new model must earn its place, and what moved since the last one is told."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pandas import DataFrame
from sklearn.tree import DecisionTreeRegressor
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.train_model import main
from sandbox.orders import make_week

pytestmark = [pytest.mark.once, pytest.mark.process]

GRID = {"random_state": [42], "max_depth": [8], "min_samples_leaf": [2]}
COARSE_GRID = {"random_state": [42], "max_depth": [5]}
NOW = datetime.now(UTC)


def deliver(bucket: str, week: DataFrame, days_ago: int) -> aws.Dataset:
    at = NOW - timedelta(days=days_ago)
    aws.put_csv_dataset_to_s3(week, "time_to_dispatch", at, bucket, "datasets")
    return aws.get_latest_csv_dataset_from_s3(bucket, "datasets")


def newest_model(bucket: str) -> aws.Model:
    return aws.get_latest_pkl_model_from_s3(bucket, "models")


def test_a_worse_challenger_is_refused_and_the_champion_stays(bucket: str) -> None:
    deliver(bucket, make_week(1000, seed=1), days_ago=7)
    main(bucket, 0.5, 0.6, GRID)
    champion = newest_model(bucket)

    deliver(bucket, make_week(1000, seed=2), days_ago=0)
    with pytest.raises(RuntimeError, match="is worse than the one in service") as error:
        main(bucket, 0.5, 0.6, COARSE_GRID, fresh=True)
    assert str(champion) in str(error.value)
    assert newest_model(bucket) == champion
    assert len(aws.list_artefacts_on_s3("pkl", bucket, "models")) == 1


def test_a_better_challenger_replaces_the_champion_and_says_so(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    deliver(bucket, make_week(1000, seed=1), days_ago=7)
    main(bucket, 0.5, 0.6, COARSE_GRID)
    champion = newest_model(bucket)

    deliver(bucket, make_week(1000, seed=2), days_ago=0)
    main(bucket, 0.5, 0.6, GRID)
    metadata = newest_model(bucket).metadata
    assert metadata is not None
    comparison = metadata["champion"]
    assert comparison["model"] == str(champion)
    assert comparison["rows"] == 200
    assert comparison["upper"] < 0
    assert "Compared with the champion: -" in caplog.text
    assert len(metadata["drift"]) == 10
    assert "WARNING" not in caplog.text


@pytest.mark.parametrize("content", [b"torn", None], ids=["torn", "other features"])
def test_a_champion_that_cannot_be_used_is_no_obstacle(
    s3: S3Client,
    bucket: str,
    caplog: pytest.LogCaptureFixture,
    content: bytes | None,
) -> None:
    week = deliver(bucket, make_week(500, seed=1), days_ago=0)
    if content is not None:
        s3.put_object(Bucket=bucket, Key="models/m_2021-07-03.pkl", Body=content)
    else:
        one_feature = DecisionTreeRegressor().fit([[1], [2]], [1, 2])
        champion = aws.Model("m", one_feature, week)
        champion._creation_time = NOW - timedelta(days=7)
        champion.put_model_to_s3(bucket, "models")
    main(bucket, 0.5, 0.6, GRID)
    metadata = newest_model(bucket).metadata
    assert metadata is not None and metadata["champion"] is None
    expected = "could not be unpickled" if content else "cannot estimate every product"
    warnings = [line for line in caplog.text.splitlines() if "WARNING" in line]
    assert any(expected in warning for warning in warnings)


def test_the_same_delivery_twice_is_told_and_trained_on(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(bucket, make_week(500, seed=1), days_ago=7)
    main(bucket, 0.5, 0.6, GRID)
    assert "Nothing new has arrived" not in caplog.text
    main(bucket, 0.5, 0.6, GRID)
    (warning,) = [each for each in caplog.records if "was trained on" in each.message]
    assert warning.levelname == "WARNING" and "Nothing new has" in warning.message
    assert len(aws.list_artefacts_on_s3("pkl", bucket, "models")) == 2


def test_the_same_delivery_by_new_code_is_no_reason_to_warn(
    bucket: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    deliver(bucket, make_week(500, seed=1), days_ago=1)
    monkeypatch.setenv("GIT_COMMIT_HASH", "1f2e3d4")
    main(bucket, 0.5, 0.6, GRID)
    monkeypatch.setenv("GIT_COMMIT_HASH", "5b6c7d8")
    main(bucket, 0.5, 0.6, GRID)
    assert "Only the code is new: " in caplog.text
    assert "by commit 1f2e3d4" in caplog.text
    assert "WARNING" not in caplog.text


def test_an_old_delivery_is_told_and_trained_on(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(bucket, make_week(500, seed=1), days_ago=9)
    main(bucket, 0.5, 0.6, GRID)
    assert "is 9 days old; ask the data engineers" in caplog.text


def test_what_is_dated_in_the_future_is_told_and_not_taken(
    s3: S3Client, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    week = deliver(bucket, make_week(500, seed=1), days_ago=0)
    aws.put_csv_dataset_to_s3(
        make_week(500, seed=2), "w", NOW + timedelta(hours=23), bucket, "datasets"
    )
    s3.put_object(Bucket=bucket, Key="models/m_2999-01-01.pkl", Body=b"torn")
    main(bucket, 0.5, 0.6, GRID)
    assert newest_model(bucket).train_dataset_key == week.key
    assert "models/m_2999-01-01.pkl is dated in the future" in caplog.text


def test_where_the_newest_model_is_archived_the_next_is_the_champion(
    s3: S3Client, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(bucket, make_week(1000, seed=1), days_ago=7)
    main(bucket, 0.5, 0.6, GRID)
    champion = newest_model(bucket)
    [listed] = aws.list_artefacts_on_s3("pkl", bucket, "models")
    later = listed.timestamp + timedelta(minutes=1)
    archived = f"models/m_{later:%Y-%m-%dT%H:%M:%S}.pkl"
    s3.put_object(Bucket=bucket, Key=archived, Body=b"", StorageClass="GLACIER")

    deliver(bucket, make_week(1000, seed=2), days_ago=0)
    main(bucket, 0.5, 0.6, GRID)
    metadata = newest_model(bucket).metadata
    assert metadata is not None and metadata["champion"]["model"] == str(champion)
    assert f"Could not read s3://{bucket}/{archived}: InvalidObject" in caplog.text


def test_large_drift_is_told_and_no_refusal(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(bucket, make_week(1000, seed=1), days_ago=7)
    main(bucket, 0.5, 0.6, GRID)
    week = make_week(1000, seed=2)
    deliver(bucket, week.assign(hours_to_dispatch=week.hours_to_dispatch + 9), 0)
    main(bucket, 0.5, 0.6, GRID)
    assert "Large drift in 5 of 10 distributions: SKU001 hours_to_dispatch" in (
        caplog.text
    )
    metadata = newest_model(bucket).metadata
    assert metadata is not None
    assert sum(entry["is_large"] for entry in metadata["drift"]) == 5


def test_a_champion_whose_delivery_is_gone_is_compared_without_drift(
    s3: S3Client, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = deliver(bucket, make_week(1000, seed=1), days_ago=7)
    main(bucket, 0.5, 0.6, GRID)
    s3.delete_object(Bucket=bucket, Key=first.key)
    deliver(bucket, make_week(1000, seed=2), days_ago=0)
    main(bucket, 0.5, 0.6, GRID)
    assert "Drift was not measured" in caplog.text
    metadata = newest_model(bucket).metadata
    assert metadata is not None and metadata["drift"] is None
    assert np.isfinite(metadata["champion"]["loss"])
