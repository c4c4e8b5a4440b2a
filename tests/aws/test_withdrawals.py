"""What was withdrawn nobody takes, until somebody puts it back by its name."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pandas import DataFrame
from sklearn.dummy import DummyRegressor
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.estimator import read_curves
from pipeline.models.__main__ import main
from tests.programs import run_here

pytestmark = pytest.mark.once

KEY, NEW_KEY = "k" * 32, "n" * 32
COMMIT = "0123456789abcdef"
NOW = datetime.now(UTC).replace(microsecond=0)
REASON = "release-2021-07-09-0123456 failed."
DATASET = aws.Dataset(DataFrame(), datetime(2021, 7, 3, tzinfo=UTC), "b", "k", "h")
CURVES = {"SKU001": {"orders_placed": [0.0, 9.0], "hours": [1.0, 2.0]}}
LEARNT = {"learnt_from": "k", "learnt_at": "2021-07-02T23:00:00+00:00", "number": 0}
PRODUCTS = {"SKU001": {"orders": 9, **LEARNT}}


@pytest.fixture(autouse=True)
def signing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", KEY)


def put(bucket: str, days_ago: int, commit: str = COMMIT) -> str:
    """Put a model that was made some days ago; returns its file name."""
    metadata = {"curves": CURVES, "products": PRODUCTS}
    model = aws.Model("m", DummyRegressor(), DATASET, metadata)
    model._creation_time = NOW - timedelta(days=days_ago)
    model._pipeline_git_commit_hash = commit[:7]
    return model.put_model_to_s3(bucket, "models").rpartition("/")[2]


def run(bucket: str, *arguments: str, **environment: str) -> str:
    """Run the command; returns what it prints, or the sentence that it ends with."""
    process = run_here("pipeline.models", bucket, *arguments, **environment)
    return process.stdout or process.stderr


def states(bucket: str) -> dict[str, str]:
    return {each["model"]: each["state"] for each in json.loads(listed(bucket))}


def listed(bucket: str) -> str:
    return run(bucket, "list", "--json")


def withdraw(bucket: str, *arguments: str, **environment: str) -> str:
    return run(bucket, "withdraw", *arguments, "--reason", REASON, **environment)


def withdrawal_of(s3: S3Client, bucket: str, name: str) -> str:
    """The key of the one withdrawal of a model."""
    found = s3.list_objects_v2(Bucket=bucket, Prefix=f"models/{name}.")["Contents"]
    [key] = [each["Key"] for each in found if each["Key"].endswith(".withdrawn")]
    return key


def test_service_champion_and_rollback_pass_over_it_and_it_says_why(
    s3: S3Client, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    oldest, older, newest = (put(bucket, days) for days in (3, 2, 1))
    before = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert withdraw(bucket, newest).startswith(f"Withdrew {newest}; services that st")
    after = s3.list_objects_v2(Bucket=bucket)["Contents"]
    # All that was there is as it was.
    assert [each for each in after if each in before] == before
    assert len(after) == len(before) + 1

    sentence = f"Model s3://{bucket}/models/{newest} was withdrawn at 20"
    model, passed_over = aws.get_newest_good_model_from_s3(
        bucket, "models", read_curves
    )
    assert f"models/{older}".endswith(f"{model.creation_time[:19]}.pkl")
    assert len(passed_over) == 1 and passed_over[0].startswith(sentence)
    assert passed_over[0].endswith(f"Z: {REASON}")
    [record] = caplog.records
    assert record.levelname == "WARNING" and passed_over[0] in record.getMessage()
    assert aws.get_champion_from_s3(bucket, "models", read_curves) == model

    table = run(bucket, "list").splitlines()
    ends = ("withdrawn", "next", "verified")
    rows = [row for row in table[1:] if not row.startswith(" ")]
    assert REASON in " ".join(map(str.strip, table))
    for row, name, end in zip(rows, (newest, older, oldest), ends, strict=True):
        assert row.startswith(name) and row.endswith(f"  {end}")
    [told, *_] = json.loads(listed(bucket))
    assert told["withdrawn_because"] == REASON and told["withdrawn_at"].startswith("20")
    assert f"withdrawn_because: {REASON}" in run(bucket, "show", newest)
    assert run(bucket, "verify", newest) == f"{newest}: verified; withdrawn: {REASON}\n"
    assert main([bucket, "verify", newest]) == 0

    assert run(bucket, "rollback").startswith(f"Put {oldest} back")
    assert withdraw(bucket, newest).startswith("There is no such model that is not wi")


def test_one_that_is_named_is_put_back(bucket: str) -> None:
    older, newest = put(bucket, 2), put(bucket, 1)
    withdraw(bucket, newest)
    assert run(bucket, "rollback", newest).startswith(f"Put {newest} back")
    copy, *_ = json.loads(listed(bucket))
    assert copy["next"] and copy["rolled_back_from"] == f"models/{newest}"
    assert states(bucket)[newest] == "withdrawn"
    # And to go back from it passes over the one that is withdrawn.
    assert run(bucket, "rollback").startswith(f"Put {older} back")


def test_what_a_commit_has_made_since_a_time_is_withdrawn(bucket: str) -> None:
    another = put(bucket, 0, "fedcba9")
    made = [put(bucket, 1), put(bucket, 2)]
    earlier = put(bucket, 4)
    since = (NOW - timedelta(days=3)).isoformat()
    said = withdraw(bucket, "--commit", COMMIT, "--since", since)
    assert said.count("Withdrew") == 2
    assert states(bucket) == {
        another: "next",
        **dict.fromkeys(made, "withdrawn"),
        earlier: "verified",
    }
    said = withdraw(bucket, "--commit", COMMIT, "--since", since)
    assert said == "There is no such model that is not withdrawn already.\n"


def test_one_model_is_left_to_be_taken(bucket: str) -> None:
    older, newest = put(bucket, 2), put(bucket, 1)
    assert withdraw(bucket, older).startswith("Withdrew")
    said = withdraw(bucket, newest)
    assert said.startswith("Nothing was withdrawn: no model would be left for services")
    assert states(bucket) == {newest: "next", older: "withdrawn"}


def test_without_the_key_a_signed_model_is_not_withdrawn(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newest = put(bucket, 2), put(bucket, 1)
    monkeypatch.delenv("MODEL_SIGNING_KEY")
    said = withdraw(bucket, newest)
    assert "services ignore a withdrawal that is not; set MODEL_SIGNING_KEY" in said
    assert states(bucket) == {newest: "next", older: "unchecked"}


def test_where_models_need_no_signature_a_withdrawal_needs_none(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODEL_SIGNING_KEY")
    older, newest = put(bucket, 2), put(bucket, 1)
    withdraw(bucket, newest)
    assert states(bucket) == {
        newest: "withdrawn",
        older: "next",
    }


@pytest.mark.parametrize(
    "forge, because",
    [
        (lambda content, signed: (content, {}), "it is not signed, and MODEL_SIGNING"),
        (
            lambda content, signed: (content.replace(b"fail", b"FAIL"), signed),
            "its bytes are not those that were put",
        ),
        (
            lambda content, signed: (content, {"hmac-sha256-v2": "0" * 64}),
            "its signature is by none of the keys",
        ),
        (lambda content, signed: (bytes(2**15), signed), "is too large: it has 32,768"),
    ],
)
def test_what_we_did_not_sign_withdraws_nothing(
    s3: S3Client,
    bucket: str,
    caplog: pytest.LogCaptureFixture,
    forge: Callable[[bytes, dict[str, str]], tuple[bytes, dict[str, str]]],
    because: str,
) -> None:
    put(bucket, 2)
    newest = put(bucket, 1)
    withdraw(bucket, newest)
    key = withdrawal_of(s3, bucket, newest)
    found = s3.get_object(Bucket=bucket, Key=key)
    content, metadata = forge(found["Body"].read(), found["Metadata"])
    s3.put_object(Bucket=bucket, Key=key, Body=content, Metadata=metadata)
    caplog.clear()
    model, passed_over = aws.get_newest_good_model_from_s3(
        bucket, "models", read_curves
    )
    assert newest.endswith(f"{model.creation_time[:19]}.pkl") and not passed_over
    [record] = caplog.records
    assert record.levelname == "WARNING" and because in record.getMessage()
    assert f"s3://{bucket}/{key} withdraws nothing: " in record.getMessage()


@pytest.mark.parametrize("is_signed", [True, False])
def test_one_of_another_model_withdraws_nothing(
    s3: S3Client,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_signed: bool,
) -> None:
    """Neither by its name, which is signed, nor by its bytes."""
    if not is_signed:
        monkeypatch.delenv("MODEL_SIGNING_KEY")
    withdrawn, good = put(bucket, 2), put(bucket, 1)
    withdraw(bucket, withdrawn)
    key = withdrawal_of(s3, bucket, withdrawn)
    copy = key.replace(withdrawn, good)
    s3.copy_object(CopySource=f"{bucket}/{key}", Bucket=bucket, Key=copy)
    assert states(bucket)[good].startswith("next")
    assert f"{copy} withdraws nothing: " in caplog.text


@pytest.mark.parametrize(
    "content", [b"torn", b"[]", b"{}", b'{"model_sha256": 1}', b"[" * 9999]
)
def test_what_is_no_withdrawal_withdraws_nothing(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.delenv("MODEL_SIGNING_KEY")
    name = put(bucket, 1)
    key = f"models/{name}.0123456789abcdef.withdrawn"
    s3.put_object(Bucket=bucket, Key=key, Body=content)
    assert states(bucket) == {name: "next"}


def test_one_that_cannot_be_read_is_not_taken_for_none(
    s3: S3Client, bucket: str
) -> None:
    """It may be ours, and an older model is the lesser evil."""
    older, newest = put(bucket, 2), put(bucket, 1)
    withdraw(bucket, newest)
    key = withdrawal_of(s3, bucket, newest)
    content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=content, StorageClass="GLACIER")
    assert states(bucket) == {newest: "refused", older: "next"}
    assert f"Could not read s3://{bucket}/{key}: Inval" in run(bucket, "show", newest)


def test_without_its_model_it_is_nothing(s3: S3Client, bucket: str) -> None:
    put(bucket, 2)
    newest = put(bucket, 1)
    withdraw(bucket, newest)
    for each in s3.list_objects_v2(Bucket=bucket)["Contents"]:
        if each["Key"].endswith(".pkl"):
            s3.delete_object(Bucket=bucket, Key=each["Key"])
    said = run(bucket, "list")
    assert said.startswith("No pkl object with a timestamp") and newest not in said


def test_it_stays_withdrawn_when_keys_are_rotated(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newest = put(bucket, 2), put(bucket, 1)
    withdraw(bucket, newest)
    monkeypatch.setenv("MODEL_SIGNING_KEY", f"{NEW_KEY},{KEY}")
    run(bucket, "resign")
    monkeypatch.setenv("MODEL_SIGNING_KEY", NEW_KEY)
    assert states(bucket) == {newest: "withdrawn", older: "next"}
    assert run(bucket, "verify").count(": verified") == 2


def test_where_nothing_is_withdrawn_s3_is_asked_no_more(bucket: str) -> None:
    put(bucket, 1)
    asked: list[str] = []
    events, event = aws.s3_client().meta.events, "before-call.s3"

    def note(model: Any, **_: object) -> None:
        asked.append(model.name)

    events.register(event, note)
    try:
        aws.get_newest_good_model_from_s3(bucket, "models", read_curves)
    finally:
        events.unregister(event, note)
    assert asked == ["ListObjectsV2", "GetObject"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["--commit", COMMIT], ["m.pkl", "--commit", COMMIT, "--since", "2021-07-02"]],
)
def test_what_is_to_be_withdrawn_must_be_named(bucket: str, arguments: Any) -> None:
    assert "error: name what to withdraw: a MODEL, or" in withdraw(bucket, *arguments)
