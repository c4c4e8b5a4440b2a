"""What bodywork.yaml promises is what the stages, the policies and Bodywork need.

That Bodywork takes it, and runs each stage with it, tests/bodywork_stages tests.
"""

import importlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any

import boto3
import moto.settings
import pytest
import yaml
from moto import mock_aws

from pipeline import aws, report, train_model
from pipeline.aws.client import s3_client
from pipeline.aws.multipart import PART_BYTES
from pipeline.batch.estimate import estimate_requests
from pipeline.orders import (
    DATASETS_FOLDER,
    ESTIMATES_FOLDER,
    MODELS_FOLDER,
    REPORTS_FOLDER,
    RUNS_FOLDER,
)
from pipeline.connections import DEFAULT_PORT
from sandbox.orders import deliver_week, make_week
from sandbox.s3_server import make_bucket

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
CONFIGURATION: dict[str, Any] = yaml.safe_load((ROOT / "bodywork.yaml").read_text())
STAGES: dict[str, dict[str, Any]] = CONFIGURATION["stages"]
BUCKET = STAGES["serve_model"]["args"][0]
GRID = {"random_state": [42], "max_depth": [8], "min_samples_leaf": [2]}
LAST_WEEK = datetime.now(UTC) - timedelta(days=7)
KNOWN_KEYS = {
    "": {"version", "pipeline", "stages", "logging"},
    "pipeline": {"name", "docker_image", "DAG", "run_on_failure", "secrets_group"}
    | {"usage_stats"},
    "stage": {"executable_module_path", "args", "cpu_request", "memory_request_mb"}
    | {"secrets", "batch", "service"},
    "batch": {"max_completion_time_seconds", "retries"},
    "service": {"max_startup_time_seconds", "replicas", "port", "ingress"},
}


def policy(stage: str) -> dict[str, Any]:
    """That of a stage, for the bucket that it has here."""
    path = ROOT / "infrastructure" / "policies" / f"{stage.replace('_', '-')}.json"
    text = Template(path.read_text()).substitute(bucket=BUCKET)
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def test_there_is_no_key_that_bodywork_does_not_know() -> None:
    """Bodywork passes them silently."""
    assert set(CONFIGURATION) <= KNOWN_KEYS[""]
    assert set(CONFIGURATION["pipeline"]) <= KNOWN_KEYS["pipeline"]
    for stage in STAGES.values():
        assert set(stage) <= KNOWN_KEYS["stage"]
        for kind in {"batch", "service"} & set(stage):
            assert set(stage[kind]) == KNOWN_KEYS[kind]


def test_the_stages_take_their_arguments() -> None:
    bucket, *thresholds = STAGES["train_model"]["args"]
    assert thresholds == ["0.8", "0.9"]
    assert STAGES["serve_model"]["args"] == [bucket]
    assert CONFIGURATION["pipeline"]["DAG"] == "train_model >> serve_model"


def test_each_stage_is_a_module_of_the_pipeline() -> None:
    for stage in STAGES.values():
        path = stage["executable_module_path"]
        importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert CONFIGURATION["pipeline"]["run_on_failure"] in STAGES


def test_the_service_listens_where_bodywork_looks() -> None:
    service = STAGES["serve_model"]["service"]
    assert str(service["port"]) == DEFAULT_PORT
    assert service["replicas"] == 2
    assert service["ingress"] is False


def test_no_usage_is_reported() -> None:
    assert CONFIGURATION["pipeline"]["usage_stats"] is False


def test_each_stage_has_credentials_of_its_own() -> None:
    """A secret whose name is not lower case with hyphens is not found again."""
    owners: dict[str, set[str]] = {}
    for name, stage in STAGES.items():
        for variable, secret in stage["secrets"].items():
            assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", secret)
            if variable.startswith("AWS_"):
                owners.setdefault(secret, set()).add(name)
    assert owners == {
        # It reads the record that training leaves.
        "train-model-aws-credentials": {"train_model", "report_failure"},
        "serve-model-aws-credentials": {"serve_model"},
    }


@pytest.mark.parametrize(
    "stage, folders",
    [
        ("train_model", {DATASETS_FOLDER, MODELS_FOLDER, RUNS_FOLDER, REPORTS_FOLDER}),
        ("serve_model", {MODELS_FOLDER}),
    ],
)
def test_a_policy_allows_the_folders_of_its_stage_and_nothing_else(
    stage: str, folders: set[str]
) -> None:
    bucket = f"arn:aws:s3:::{STAGES[stage]['args'][0]}"
    allowed: dict[str, Any] = {}
    puts = []
    for statement in policy(stage)["Statement"]:
        assert statement["Effect"] == "Allow"
        resources = statement["Resource"]
        resources = [resources] if isinstance(resources, str) else resources
        found = set(resources), statement.get("Condition")
        if statement["Action"] == "s3:PutObject":
            puts.append(found)
        else:
            allowed[statement["Action"]] = found
    prefixes = allowed["s3:ListBucket"][1]["StringLike"]["s3:prefix"]
    prefixes = [prefixes] if isinstance(prefixes, str) else prefixes
    assert set(prefixes) == {f"{folder}/*" for folder in folders}
    assert allowed["s3:ListBucket"][0] == {bucket}
    assert allowed["s3:GetObject"] == ({f"{bucket}/{name}/*" for name in folders}, None)
    if stage == "train_model":
        # Only with If-None-Match, so that no model and no record can be overwritten.
        added = {f"{bucket}/{name}/*" for name in (MODELS_FOLDER, RUNS_FOLDER)}
        assert puts.pop(0) == (added, {"Null": {"s3:if-none-match": "false"}})
        assert puts.pop(0) == ({f"{bucket}/{REPORTS_FOLDER}/*"}, None)
    assert not puts
    assert set(allowed) == {"s3:ListBucket", "s3:GetObject"}


@pytest.fixture
def simulated_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An AWS within this process that enforces policies, with a delivery in S3.

    It knows no conditions, so they are left out: a test above has them.
    """
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with mock_aws():
        s3_client.cache_clear()
        make_bucket(BUCKET)
        deliver_week(make_week(500, seed=1), LAST_WEEK, BUCKET, DATASETS_FOLDER)
        yield
    s3_client.cache_clear()


@contextmanager
def credentials_of(stage: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Act as the user of a stage for the time of a with block."""
    document = policy(stage)
    for statement in document["Statement"]:
        statement.pop("Condition", None)
    name = stage.replace("_", "-")
    iam = boto3.client("iam")
    iam.create_user(UserName=name)
    iam.put_user_policy(
        UserName=name, PolicyName=name, PolicyDocument=json.dumps(document)
    )
    key = iam.create_access_key(UserName=name)["AccessKey"]
    with monkeypatch.context() as patch:
        patch.setattr(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
        patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        # It remembers the credentials that it found first.
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        s3_client.cache_clear()
        yield
    s3_client.cache_clear()


@pytest.mark.process
def test_each_stage_can_do_its_work_with_its_policy_and_delete_nothing(
    simulated_aws: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with credentials_of("train_model", monkeypatch):
        train_model.main(BUCKET, 0.5, 0.6, GRID)
        key = aws.list_artefacts_on_s3("pkl", BUCKET, MODELS_FOLDER)[0].key
        for put in (2, 1):
            report.main([BUCKET, "--publish"])
            assert f"Put {put} page" in capsys.readouterr().out
        with pytest.raises(s3_client().exceptions.ClientError, match="AccessDenied"):
            s3_client().delete_object(Bucket=BUCKET, Key=key)
        with pytest.raises(RuntimeError, match="AccessDenied"):
            deliver_week(make_week(9, seed=1), LAST_WEEK, BUCKET, DATASETS_FOLDER)

    with credentials_of("serve_model", monkeypatch):
        model = aws.get_latest_pkl_model_from_s3(BUCKET, MODELS_FOLDER)
        with pytest.raises(RuntimeError, match="AccessDenied"):
            model.put_model_to_s3(BUCKET, MODELS_FOLDER)
        with pytest.raises(s3_client().exceptions.ClientError, match="AccessDenied"):
            s3_client().delete_object(Bucket=BUCKET, Key=key)
        with pytest.raises(RuntimeError, match="AccessDenied"):
            aws.get_dataset_from_s3(BUCKET, model.train_dataset_key)


@pytest.mark.process
def test_requests_are_answered_with_a_policy_that_allows_nothing_else(
    simulated_aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with credentials_of("train_model", monkeypatch):
        train_model.main(BUCKET, 0.5, 0.6, GRID)
    key = "requests/letter_2021-07-03.csv"
    # With a row that is refused.
    asked = b"product_code,orders_placed\nSKU001,5\nSKU001,-1\n"
    s3_client().put_object(Bucket=BUCKET, Key=key, Body=asked)
    with credentials_of("estimate_requests", monkeypatch):
        estimate_requests(BUCKET)
        estimate_requests(BUCKET)
        found = aws.find_latest_artefact_on_s3("csv", BUCKET, ESTIMATES_FOLDER)
        denied = s3_client().exceptions.ClientError
        with pytest.raises(denied, match="AccessDenied"):
            s3_client().delete_object(Bucket=BUCKET, Key=found.key)
        with pytest.raises(denied, match="AccessDenied"):
            s3_client().put_object(Bucket=BUCKET, Key=key, Body=b"")
        with pytest.raises(denied, match="AccessDenied"):
            s3_client().get_object(Bucket=BUCKET, Key=f"{RUNS_FOLDER}/a.json")
        # What it has begun, it takes back.
        with pytest.raises(KeyboardInterrupt):
            with aws.MultipartUpload(BUCKET, f"{ESTIMATES_FOLDER}/new", "") as upload:
                upload.write(bytes(PART_BYTES))
                raise KeyboardInterrupt
    assert "Uploads" not in s3_client().list_multipart_uploads(Bucket=BUCKET)
    conditions = {
        str(statement["Condition"])
        for statement in policy("estimate_requests")["Statement"]
        if statement["Action"] == "s3:PutObject"
    }
    # Whole objects are never overwritten; their parts are no objects yet.
    assert conditions == {
        "{'Null': {'s3:if-none-match': 'false'}}",
        "{'Bool': {'s3:ObjectCreationOperation': 'false'}}",
    }
