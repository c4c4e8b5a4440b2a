"""The operator's command: list, show, verify and rollback."""

import json
import os
import subprocess
import sys
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pandas import DataFrame
from sklearn.tree import DecisionTreeRegressor
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.train_model import persist_model, prepare_data, train_model
from sandbox.orders import make_week
from tests.programs import run_here

ROOT = Path(__file__).parents[2]
DATASET = aws.Dataset(
    DataFrame(), datetime(2021, 7, 2, 23, tzinfo=UTC), "b", "datasets/w.csv", "c0ffee"
)
KEY = "k" * 32


def put_junk(
    s3: S3Client, bucket: str, content: bytes = b"torn", **ahead: float
) -> str:
    """Put an object that is newer than all others; returns its file name."""
    at = datetime.now(UTC) + timedelta(**(ahead or {"minutes": 2}))
    name = f"m_{at:%Y-%m-%dT%H:%M:%S}.pkl"
    s3.put_object(Bucket=bucket, Key=f"models/{name}", Body=content)
    return name


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_here("pipeline.models", *arguments, **environment)


def persist(bucket: str, seed: int, age: timedelta = timedelta(0)) -> str:
    """Persist a model that was made some time ago; returns its file name."""
    data = prepare_data(make_week(rows=300, seed=seed))
    model, metrics = train_model(data, {"random_state": [42]})
    location = persist_model(bucket, model, DATASET, metrics)
    found = aws.get_object_from_s3(aws.list_artefacts_on_s3("pkl", bucket, "models")[0])
    assert found is not None and location.endswith(found.artefact.key)
    if not age:
        return location.rpartition("/")[2]
    aws.client.s3_client().delete_object(Bucket=bucket, Key=found.artefact.key)
    at = datetime.now(UTC) - age
    location = aws.add_model_to_s3(
        found.content, "time-to-dispatch", at, bucket, "models"
    )
    return location.rpartition("/")[2]


def test_a_model_that_is_too_large_is_listed_without_being_read(
    s3: S3Client, bucket: str
) -> None:
    good = persist(bucket, seed=1)
    junk = put_junk(s3, bucket, bytes(2**24 + 1))
    process = run(bucket, "list")
    assert process.returncode == 0 and process.stderr == ""
    lines = process.stdout.splitlines()
    assert lines[1].startswith(f"{junk} ") and lines[1].endswith("refused")
    assert lines[-2].startswith(good) and lines[-2].endswith("  next")
    assert lines[-1] == "No signature was checked, for MODEL_SIGNING_KEY is not set."
    process = run(bucket, "verify", junk)
    assert process.returncode == 1
    assert f"{junk} is too large: it has 16,777,217 bytes" in process.stdout


def test_models_are_listed_shown_and_verified(s3: S3Client, bucket: str) -> None:
    older = persist(bucket, seed=1, age=timedelta(days=7))
    newer = persist(bucket, seed=2)
    junk = put_junk(s3, bucket)

    process = run(bucket, "list")
    assert process.returncode == 0 and process.stderr == ""
    header, refused, *why, following, other, _ = process.stdout.splitlines()
    assert header.split() == ["model", "r²", "MAE", "h", "delivery", "state"]
    assert refused.startswith(junk) and refused.endswith("refused")
    assert "could not be unpickled" in " ".join(each.strip() for each in why)
    assert following.startswith(newer) and following.endswith("  next")
    assert other.startswith(older) and other.endswith("  unchecked")
    assert "verified" not in process.stdout

    listed = json.loads(run(bucket, "list", "--json").stdout)
    assert [entry["next"] for entry in listed] == [False, True, False]
    assert listed[1]["metadata"]["r_squared"] > 0.8

    shown = run(bucket, "show", newer)
    assert f"model: {newer}" in shown.stdout and "falls_removed" not in shown.stderr
    assert "curves" not in shown.stdout
    assert json.loads(run(bucket, "show", older, "--json").stdout)["model"] == older

    assert run(bucket, "verify", newer).stdout == f"{newer}: signature not checked\n"
    process = run(bucket, "verify")
    assert process.returncode == 1
    assert f"{junk}: Model s3://" in process.stdout


def test_only_what_the_service_takes_is_listed_as_serving(bucket: str) -> None:
    good = persist(bucket, seed=1, age=timedelta(days=7))
    tree = DecisionTreeRegressor().fit([[0, 0]], [1])
    curves = {"SKU001": {"orders_placed": [0.0, 9.0]}}
    aws.Model("m", tree, DATASET, {"curves": curves}).put_model_to_s3(bucket, "models")
    process = run(bucket, "list")
    _, useless, *_, following, _ = process.stdout.splitlines()
    assert useless.startswith("m_") and useless.endswith("refused")
    assert following.startswith(good) and following.endswith("  next")
    process = run(bucket, "verify")
    assert "cannot estimate every product (PiecewiseLinear" in process.stdout


def test_a_name_writes_no_line_of_its_own(s3: S3Client, bucket: str) -> None:
    key = "models/m\x1b[2J\rserving_2021-07-03.pkl"
    s3.put_object(Bucket=bucket, Key=key, Body=b"torn")
    for command in ("list", "verify", "show"):
        output = run(bucket, command).stdout
        assert r"m\x1b[2J\rserving_2021-07-03.pkl" in output
        assert output.replace("\n", "").isprintable()


def test_what_is_dated_in_the_future_is_marked_and_no_obstacle(
    s3: S3Client, bucket: str
) -> None:
    older = persist(bucket, seed=1, age=timedelta(days=7))
    newer = persist(bucket, seed=2, age=timedelta(days=1))
    content = s3.get_object(Bucket=bucket, Key=f"models/{older}")["Body"].read()
    ahead = [
        put_junk(s3, bucket, content, hours=23.5),
        put_junk(s3, bucket, content, minutes=7),
    ]
    last = "m_9999-12-31T23:59:59.pkl"
    s3.put_object(Bucket=bucket, Key=f"models/{last}", Body=content)
    listed = run_json(bucket, "list")
    assert [each["model"] for each in listed] == [last, *ahead, newer, older]
    for each in listed[:3]:
        assert each["state"] == "refused" and each["metadata"]["r_squared"] > 0.8
        assert f"{each['model']} is dated in the future (" in each["refusal"]
    assert listed[3]["next"]

    # A wrong clock may be minutes ahead, and no more.
    process = run(bucket, "rollback", ahead[1])
    assert process.returncode == 1 and "is dated in the future" in process.stderr
    assert run(bucket, "rollback").stdout.startswith(f"Put {older} back")
    [following] = [each for each in run_json(bucket, "list") if each["next"]]
    assert following["rolled_back_from"] == f"models/{older}"


def test_the_list_fits_a_terminal_and_marks_what_was_rolled_back(bucket: str) -> None:
    older = persist(bucket, seed=1, age=timedelta(days=7))
    newer = persist(bucket, seed=2, age=timedelta(days=1))
    run(bucket, "rollback", older)
    lines = run(bucket, "list").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.rsplit("  ")[-1].strip() for line in lines[1:-1]] == [
        *("next", f"Put back from {older}.", "rolled back", "unchecked")
    ]
    assert lines[3].startswith(newer) and lines[4].startswith(older)


def test_nothing_is_put_back_to_be_taken_later(s3: S3Client, bucket: str) -> None:
    good = persist(bucket, seed=1)
    moment = datetime.now(UTC)
    with pytest.MonkeyPatch.context() as patch:
        put_junk(s3, bucket, days=8)
        patch.setattr("pipeline.aws.latest_taken", lambda: moment + timedelta(days=8))
        process = run(bucket, "rollback", good)
    assert process.returncode == 1
    assert process.stderr.startswith("Nothing was put back: the newest model is dated")


def test_an_object_in_a_subfolder_is_no_model(s3: S3Client, bucket: str) -> None:
    good = persist(bucket, seed=1)
    s3.copy_object(
        CopySource=f"{bucket}/models/{good}", Bucket=bucket, Key=f"models/old/{good}"
    )
    assert [each["model"] for each in run_json(bucket, "list")] == [good]
    s3.delete_object(Bucket=bucket, Key=f"models/{good}")
    process = run(bucket, "list")
    assert process.returncode == 1
    assert f"models/old/{good} is in a subfolder" in process.stderr


def test_rollback_adds_the_earlier_model_again_and_deletes_nothing(
    s3: S3Client, bucket: str
) -> None:
    oldest = persist(bucket, seed=3, age=timedelta(days=14))
    older = persist(bucket, seed=1, age=timedelta(days=7))
    newer = persist(bucket, seed=2, age=timedelta(days=1))
    expected = run_json(bucket, "show", older)["model_version"]

    process = run(bucket, "rollback")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(f"Put {older} back as s3://{bucket}/models/")
    listed = run_json(bucket, "list")
    assert len(listed) == 4
    assert listed[0]["next"] and listed[0]["model_version"] == expected
    assert listed[0]["rolled_back_from"] == f"models/{older}"
    assert [entry["model"] for entry in listed[1:]] == [newer, older, oldest]

    # Going back again goes further back, not to what was left; also within a second.
    assert run(bucket, "rollback").stdout.startswith(f"Put {oldest} back")
    process = run(bucket, "rollback")
    assert process.stderr.startswith("There is no earlier model that verifies")
    assert len(run_json(bucket, "list")) == 5


def run_json(bucket: str, *arguments: str) -> Any:
    process = run(bucket, *arguments, "--json")
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_rollback_signs_anew_and_refuses_what_does_not_verify(bucket: str) -> None:
    unsigned = persist(bucket, seed=1, age=timedelta(days=7))
    os.environ["MODEL_SIGNING_KEY"] = KEY
    try:
        signed = persist(bucket, seed=2, age=timedelta(days=1))
    finally:
        del os.environ["MODEL_SIGNING_KEY"]

    process = run(bucket, "rollback", unsigned, MODEL_SIGNING_KEY=KEY)
    assert process.returncode == 1
    assert process.stderr.startswith("Nothing was put back: Model s3://")
    assert "it is not signed" in process.stderr
    process = run(bucket, "rollback", MODEL_SIGNING_KEY=KEY)
    assert (process.returncode, process.stderr) == (
        1,
        "There is no earlier model that verifies to go back to.\n",
    )

    # Services have the key, and would pass over a copy without a signature.
    process = run(bucket, "rollback", signed)
    assert process.returncode == 1
    assert "is not; set MODEL_SIGNING_KEY to the key" in process.stderr
    assert len(run_json(bucket, "list")) == 2

    # Putting the one that serves back again signs it with the newest key.
    rotated = f"{'n' * 32},{KEY}"
    assert run(bucket, "rollback", signed, MODEL_SIGNING_KEY=rotated).returncode == 0
    process = run(bucket, "verify", MODEL_SIGNING_KEY="n" * 32)
    assert process.stdout.count(": verified") == 1


def test_an_empty_bucket_ends_in_one_sentence(bucket: str) -> None:
    process = run(bucket, "list")
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert "No pkl object with a timestamp in its name found" in process.stderr


@pytest.mark.process
def test_as_operators_run_it_a_missing_bucket_ends_in_one_sentence() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "pipeline.models", "no-such-bucket", "list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert "check the bucket's name" in process.stderr


def test_a_hostile_estimator_or_an_odd_metric_is_told(bucket: str) -> None:
    odd = aws.Model("m", None, DATASET, {"r_squared": "high"})
    odd._model_pickle = b"cos\nsystem\n(S'true'\ntR."
    odd._model_hash = sha256(odd._model_pickle).hexdigest()
    odd.put_model_to_s3(bucket, "models")
    process = run(bucket, "list")
    assert process.returncode == 0
    assert process.stdout.splitlines()[1].endswith("refused")
    process = run(bucket, "verify")
    assert process.returncode == 1 and "cannot estimate every product" in process.stdout


def archive(s3: S3Client, bucket: str, key: str) -> None:
    """Move an object to where it takes hours to be read from."""
    content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=content, StorageClass="GLACIER")


def test_an_archived_model_is_refused_alone(s3: S3Client, bucket: str) -> None:
    oldest = persist(bucket, seed=3, age=timedelta(days=14))
    older = persist(bucket, seed=1, age=timedelta(days=7))
    newer = persist(bucket, seed=2, age=timedelta(days=1))
    archive(s3, bucket, f"models/{oldest}")
    archive(s3, bucket, f"models/{newer}")
    listed = run_json(bucket, "list")
    assert [each["state"] for each in listed] == [
        "refused",
        "next",
        "refused",
    ]
    assert f"Could not read s3://{bucket}/models/{newer}: InvalidObjectState" in (
        listed[0]["refusal"]
    )
    assert "restore it from its archive" in run(bucket, "show", newer).stdout
    assert run(bucket, "verify", older).returncode == 0
    assert run(bucket, "verify").returncode == 1
    assert run(bucket, "rollback", older).stdout.startswith(f"Put {older} back")

    # Where none can be read, it is S3.
    for each in run_json(bucket, "list"):
        if each["model_version"]:
            archive(s3, bucket, f"models/{each['model']}")
    process = run(bucket, "list")
    assert process.returncode == 1 and process.stdout == ""
    assert process.stderr.startswith("Could not read s3://")


def test_products_are_shown_with_what_they_were_learnt_from(bucket: str) -> None:
    curve = {"orders_placed": [0.0, 9.0], "hours": [1.0, 2.0]}
    kept = {
        "orders": 12,
        "learnt_from": "datasets/old.csv",
        "learnt_at": "2021-06-25T23:00:00+00:00",
    }
    learnt = {
        "orders": 214,
        "learnt_from": DATASET.key,
        "learnt_at": "2021-07-02T23:00:00+00:00",
        "number": 0,
    }
    metadata = {
        "r_squared": 0.9,
        "curves": {code: deepcopy(curve) for code in ("SKU001", "SKU006")},
        "products": {"SKU001": learnt, "SKU006": kept},
        "training_rows": "AAECAw==",
    }
    tree = DecisionTreeRegressor().fit([[0, 0]], [1])
    aws.Model("m", tree, DATASET, metadata).put_model_to_s3(bucket, "models")
    shown = run(bucket, "show").stdout.splitlines()
    assert (
        "SKU001: 214 orders, learnt from datasets/w.csv of 2021-07-02T23:00:00+00:00"
    ) in shown
    assert (
        "SKU006: 12 orders, learnt from datasets/old.csv of 2021-06-25T23:00:00+00:00, "
        "kept from an earlier model"
    ) in shown
    assert not [line for line in shown if "AAEC" in line or "curves" in line]
    shown_as_json = run_json(bucket, "show")
    assert shown_as_json["products"]["SKU006"]["is_kept"]
    assert shown_as_json["metadata"] == {"r_squared": 0.9}


def test_a_refused_model_shows_its_metrics(bucket: str) -> None:
    persist(bucket, seed=1)
    for command in ("list", "show"):
        process = run(bucket, command, "--json", MODEL_SIGNING_KEY=KEY)
        told = json.loads(process.stdout)
        [told] = told if command == "list" else [told]
        assert told["state"] == "refused" and not told["verified"]
        assert "it is not signed" in told["refusal"]
        assert told["metadata"]["r_squared"] > 0.8
    line = run(bucket, "list", MODEL_SIGNING_KEY=KEY).stdout.splitlines()[1]
    assert "  0." in line and line.endswith("  refused")


def test_with_the_key_models_are_verified(bucket: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_SIGNING_KEY", KEY)
        persist(bucket, seed=1, age=timedelta(days=7))
        persist(bucket, seed=2)
    lines = run(bucket, "list", MODEL_SIGNING_KEY=KEY).stdout.splitlines()
    assert lines[1].endswith("  next") and lines[2].endswith("  verified")
    assert [each["verified"] for each in run_json(bucket, "list")] == [False, False]


def test_an_unknown_model_and_a_short_key_are_named(bucket: str) -> None:
    persist(bucket, seed=1)
    process = run(bucket, "show", "nameless.pkl")
    assert process.stderr == (
        "There is no model nameless.pkl; choose one that list shows.\n"
    )
    process = run(bucket, "list", MODEL_SIGNING_KEY="hunter2")
    assert process.returncode == 1 and "hunter2" not in process.stderr
    assert "fewer than 32 characters" in process.stderr
