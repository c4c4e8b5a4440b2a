"""Only what we signed, under the name it has, is loaded."""

from datetime import UTC, datetime

import pytest
from pandas import DataFrame
from sklearn.tree import DecisionTreeRegressor
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.aws.signing import signing_keys

OLD, NEW = "o" * 32, "n" * 32
DATASET = aws.Dataset(DataFrame(), datetime(2021, 7, 3, tzinfo=UTC), "b", "k", "h")


def put(bucket: str) -> str:
    """Put a model; returns its key."""
    tree = DecisionTreeRegressor().fit([[1], [2]], [1, 2])
    location = aws.Model("m", tree, DATASET).put_model_to_s3(bucket, "models")
    return location.removeprefix(f"{bucket}/")


def load(bucket: str) -> aws.Model:
    return aws.get_latest_pkl_model_from_s3(bucket, "models")


def copy(s3: S3Client, bucket: str, key: str, to: str, **metadata: str) -> None:
    found = s3.get_object(Bucket=bucket, Key=key)
    s3.put_object(
        Bucket=bucket,
        Key=to,
        Body=found["Body"].read(),
        Metadata={**found["Metadata"], **metadata},
    )


def test_a_signed_model_is_loaded_and_an_unsigned_one_refused(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket)
    assert load(bucket)
    monkeypatch.setenv("MODEL_SIGNING_KEY", NEW)
    with pytest.raises(RuntimeError, match="it is not signed, and MODEL_SIGNING_KEY"):
        load(bucket)
    put(bucket)
    assert load(bucket)


def test_keys_are_rotated(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", OLD)
    put(bucket)
    monkeypatch.setenv("MODEL_SIGNING_KEY", f"{NEW}, {OLD}")
    assert load(bucket)
    monkeypatch.setenv("MODEL_SIGNING_KEY", NEW)
    with pytest.raises(RuntimeError, match="by none of the keys"):
        load(bucket)
    monkeypatch.setenv("MODEL_SIGNING_KEY", f"{NEW},{OLD}")
    put(bucket)
    monkeypatch.setenv("MODEL_SIGNING_KEY", NEW)
    assert load(bucket)


def test_a_signed_model_does_not_verify_under_another_name(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", NEW)
    copy(s3, bucket, put(bucket), "models/m_2999-01-01T00:00:00.pkl")
    with pytest.raises(RuntimeError, match="m_2999.*by none of the keys"):
        load(bucket)


def test_changed_bytes_do_not_verify(s3: S3Client, bucket: str) -> None:
    copy(s3, bucket, put(bucket), "models/m_2999-01-01.pkl", sha256="0" * 64)
    with pytest.raises(RuntimeError, match="m_2999-01-01.pkl does not verify.*SHA-256"):
        load(bucket)


def test_a_key_that_is_no_secret_is_refused_without_telling_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", f"{NEW},hunter2")
    with pytest.raises(ValueError, match="fewer than 32 characters") as refusal:
        signing_keys()
    assert "hunter2" not in str(refusal.value)
    monkeypatch.setenv("MODEL_SIGNING_KEY", "\n")
    with pytest.raises(ValueError, match="fewer than 32 characters"):
        signing_keys()
    monkeypatch.setenv("MODEL_SIGNING_KEY", "")
    assert signing_keys() == []


def test_the_newest_good_model_is_found_below_refused_ones(
    s3: S3Client, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(bucket)
    good = load(bucket)
    s3.put_object(Bucket=bucket, Key="models/m_2999-01-01.pkl", Body=b"torn")
    s3.put_object(Bucket=bucket, Key="models/m_2999-01-02.pkl", Body=b"torn")

    model, refusals = aws.get_newest_good_model_from_s3(bucket, "models", check=str)
    assert model == good
    newest, older = refusals
    assert "m_2999-01-02.pkl" in newest and "m_2999-01-01.pkl" in older
    assert caplog.text.count("ERROR") == 2

    def refuse(model: aws.Model) -> None:
        raise RuntimeError("of no use")

    with pytest.raises(RuntimeError, match="None of the 3 models in s3://.*2999-01-02"):
        aws.get_newest_good_model_from_s3(bucket, "models", check=refuse)


def test_a_check_may_stumble_over_what_it_does_not_expect(bucket: str) -> None:
    put(bucket)

    def look_up(model: aws.Model) -> None:
        raise KeyError("tree")

    with pytest.raises(RuntimeError, match="cannot be used .'tree'.; train a new one"):
        aws.get_newest_good_model_from_s3(bucket, "models", check=look_up)


def test_the_champion_is_what_a_service_would_take(
    s3: S3Client, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert aws.get_champion_from_s3(bucket, "models", check=str) is None
    put(bucket)
    good = load(bucket)
    s3.put_object(Bucket=bucket, Key="models/m_2999-01-01.pkl", Body=b"torn")
    assert aws.get_champion_from_s3(bucket, "models", check=str) == good
    [warning] = [each for each in caplog.records if each.levelname == "WARNING"]
    assert "No champion: " in warning.message and "m_2999-01-01.pkl" in warning.message


def test_without_s3_there_is_not_merely_no_champion() -> None:
    with pytest.raises(aws.S3Failure):
        aws.get_champion_from_s3("no-such-bucket", "models", check=str)
