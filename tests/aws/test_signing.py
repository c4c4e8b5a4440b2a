"""Only what we signed, in its bucket and under the name it has, is loaded."""

import os
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pandas import DataFrame
from sklearn.tree import DecisionTreeRegressor
from types_boto3_s3 import S3Client
from types_boto3_s3.type_defs import CopySourceTypeDef

from pipeline import aws
from pipeline.aws.signing import make_old_signature, signing_keys
from pipeline.estimator.products import FORMER_PRODUCTS
from pipeline.models.__main__ import main
from sandbox.s3_server import make_bucket

OLD, NEW = "o" * 32, "n" * 32
NOW = datetime.now(UTC).replace(microsecond=0)
LAST_WEEK = NOW - timedelta(days=7)
DATASET = aws.Dataset(DataFrame(), datetime(2021, 7, 3, tzinfo=UTC), "b", "k", "h")


@pytest.fixture
def other_bucket() -> str:
    name = f"test-{uuid4()}"
    make_bucket(name)
    return name


def put(bucket: str, at: datetime = NOW) -> str:
    """Put a model; returns its key."""
    tree = DecisionTreeRegressor().fit([[1], [2]], [1, 2])
    curves = {
        code: {"orders_placed": [0.0, 9.0], "hours": [1.0, 2.0]}
        for code in FORMER_PRODUCTS
    }
    model = aws.Model("m", tree, DATASET, {"curves": curves})
    model._creation_time = at
    return model.put_model_to_s3(bucket, "models").removeprefix(f"{bucket}/")


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


def sign_as_before(s3: S3Client, bucket: str, key: str) -> None:
    """Give a model the signature of earlier code."""
    content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    secret = os.environ["MODEL_SIGNING_KEY"].encode()
    signature = make_old_signature(secret, content, key)
    s3.put_object(
        Bucket=bucket, Key=key, Body=content, Metadata={"hmac-sha256": signature}
    )


def copy_to(s3: S3Client, bucket: str, key: str, other_bucket: str) -> None:
    source = CopySourceTypeDef(Bucket=bucket, Key=key)
    s3.copy_object(CopySource=source, Bucket=other_bucket, Key=key)


def verified(bucket: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What verify tells of each model, without its name."""
    capsys.readouterr()
    main([bucket, "verify"])
    lines = capsys.readouterr().out.splitlines()
    return [line.partition(": ")[2] for line in lines]


def test_a_signed_model_is_loaded_and_an_unsigned_one_refused(
    bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(bucket, LAST_WEEK)
    assert load(bucket)
    monkeypatch.setenv("MODEL_SIGNING_KEY", NEW)
    with pytest.raises(RuntimeError, match="it is not signed, and MODEL_SIGNING_KEY"):
        load(bucket)
    put(bucket)
    assert load(bucket)
    assert not caplog.text


def test_keys_are_rotated(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", OLD)
    put(bucket, LAST_WEEK)
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
    copy(s3, bucket, put(bucket, LAST_WEEK), f"models/m_{NOW:%Y-%m-%d}.pkl")
    with pytest.raises(RuntimeError, match=f"{NOW:%Y-%m-%d}.pkl.*by none of the keys"):
        load(bucket)


def test_changed_bytes_do_not_verify(s3: S3Client, bucket: str) -> None:
    key = f"models/m_{NOW:%Y-%m-%d}.pkl"
    copy(s3, bucket, put(bucket, LAST_WEEK), key, sha256="0" * 64)
    with pytest.raises(RuntimeError, match=f"{key} does not verify.*SHA-256"):
        load(bucket)


def test_a_key_that_is_no_secret_is_refused_without_telling_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MODEL_SIGNING_KEY", raising=False)
    assert signing_keys() == []
    monkeypatch.setenv("MODEL_SIGNING_KEY", f"{NEW},hunter2")
    with pytest.raises(ValueError, match="fewer than 32 characters") as refusal:
        signing_keys()
    assert "hunter2" not in str(refusal.value)
    monkeypatch.setenv("MODEL_SIGNING_KEY", f"{NEW},")
    with pytest.raises(ValueError, match="fewer than 32 characters"):
        signing_keys()


@pytest.mark.parametrize("empty", ["", " ", "\n"])
def test_a_key_that_is_set_but_empty_loads_nothing(
    bucket: str, monkeypatch: pytest.MonkeyPatch, empty: str
) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", NEW)
    put(bucket)
    monkeypatch.setenv("MODEL_SIGNING_KEY", empty)
    for use in (
        lambda: load(bucket),
        lambda: put(bucket),
        lambda: main([bucket, "list"]),
        lambda: aws.get_newest_good_model_from_s3(bucket, "models", check=str),
        # Also where there is nothing yet: training would find out in the end alone.
        lambda: [*aws.read_models_from_s3(bucket, "empty", check=str)],
    ):
        with pytest.raises(ValueError, match="MODEL_SIGNING_KEY is set but empty; set"):
            use()


def test_a_model_of_another_bucket_is_refused_until_it_is_signed_anew_by_name(
    s3: S3Client,
    bucket: str,
    other_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", NEW)
    key = put(bucket)
    copy_to(s3, bucket, key, other_bucket)
    with pytest.raises(RuntimeError) as refusal:
        load(other_bucket)
    assert str(refusal.value) == (
        f"Model s3://{other_bucket}/{key} does not verify: it was signed for the "
        f"bucket {bucket}; to let it serve here: python -m pipeline.models "
        f"{other_bucket} resign {key}."
    )

    # Not with all others, for someone must want it here.
    with pytest.raises(RuntimeError, match="Nothing was signed: .* does not verify"):
        main([other_bucket, "resign"])
    assert main([other_bucket, "resign", key]) == 0
    assert load(other_bucket)
    assert verified(other_bucket, capsys) == ["verified"]
    listed = s3.list_objects_v2(Bucket=other_bucket)["Contents"]
    assert [each["Key"].partition(".pkl")[0] for each in listed] == [key[:-4]] * 2
    assert len(s3.list_object_versions(Bucket=other_bucket)["Versions"]) == 2

    # What says that it is of another bucket, and is by nobody, stays out.
    monkeypatch.setenv("MODEL_SIGNING_KEY", OLD)
    with pytest.raises(RuntimeError, match="says that it is for the bucket"):
        main([other_bucket, "resign", key])


@pytest.mark.parametrize("forge", ["unsigned", "forged", "renamed", "changed"])
def test_what_is_not_ours_is_not_signed_anew(
    s3: S3Client,
    bucket: str,
    other_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    forge: str,
) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", NEW)
    key = put(other_bucket)
    found = s3.get_object(Bucket=other_bucket, Key=key)
    content, metadata = found["Body"].read(), found["Metadata"]
    if forge == "unsigned":
        metadata = {"signed-for-bucket": other_bucket}
    elif forge == "forged":
        metadata["hmac-sha256-v2"] = "0" * 64
    elif forge == "renamed":
        key = f"models/n_{NOW:%Y-%m-%d}.pkl"
    else:
        metadata.pop("sha256")
        content += b" "
    s3.put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata)
    with pytest.raises(RuntimeError, match="Nothing was signed: .* does not verify"):
        main([bucket, "resign", key])
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == 1


def test_an_old_signature_is_taken_with_a_warning_until_it_is_signed_anew(
    s3: S3Client,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", OLD)
    sign_as_before(s3, bucket, put(bucket))
    warning = "does not bind it to its bucket; sign all anew: python -m pipeline.models"
    for use in (
        lambda: load(bucket),
        lambda: aws.get_newest_good_model_from_s3(bucket, "models", check=str),
    ):
        assert use()
        assert f"{warning} {bucket} resign" in caplog.text
        caplog.clear()
    [told] = verified(bucket, capsys)
    assert told.startswith("verified, by a signature of the old form; sign it anew: ")

    assert main([bucket, "resign"]) == 0
    assert load(bucket)
    assert verified(bucket, capsys) == ["verified"]
    assert not caplog.text


def test_the_history_is_signed_anew_after_a_rotation(
    s3: S3Client,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", OLD)
    for days in (28, 21, 14, 7):
        put(bucket, NOW - timedelta(days=days))
    monkeypatch.setenv("MODEL_SIGNING_KEY", f"{NEW},{OLD}")
    put(bucket)
    before = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert main([bucket, "resign", "--last", "3"]) == 0
    assert main([bucket, "resign", "--last", "3"]) == 0
    assert capsys.readouterr().out.count("signed with the first key") == 6

    monkeypatch.setenv("MODEL_SIGNING_KEY", NEW)
    told = verified(bucket, capsys)
    assert told[:3] == ["verified"] * 3
    assert all("by none of the keys" in each for each in told[3:]) and len(told) == 5
    after = s3.list_object_versions(Bucket=bucket)["Versions"]
    added = [each for each in after if each not in before]
    assert all(each in after for each in before)
    assert [each["Size"] for each in added] == [0, 0]
    assert main([bucket, "rollback"]) == 0
    assert verified(bucket, capsys)[:4] == ["verified"] * 4


def test_nothing_is_signed_without_a_key(
    bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(bucket)
    with pytest.raises(RuntimeError, match="Nothing was signed: set MODEL_SIGNING_KEY"):
        main([bucket, "resign"])
    with pytest.raises(SystemExit):
        main([bucket, "resign", "--last", "0"])
    assert "argument --last: invalid count value" in capsys.readouterr().err


def test_the_newest_good_model_is_found_below_refused_ones(
    s3: S3Client, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(bucket, LAST_WEEK)
    good = load(bucket)
    older, newer = (f"models/m_{NOW - timedelta(days):%Y-%m-%d}.pkl" for days in (2, 1))
    for key in (older, newer):
        s3.put_object(Bucket=bucket, Key=key, Body=b"torn")

    model, refusals = aws.get_newest_good_model_from_s3(bucket, "models", check=str)
    assert model == good
    assert newer in refusals[0] and older in refusals[1] and len(refusals) == 2
    assert caplog.text.count("ERROR") == 2

    def refuse(model: aws.Model) -> None:
        raise RuntimeError("of no use")

    with pytest.raises(RuntimeError, match=f"None of the 3 models in s3://.*{newer}"):
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
