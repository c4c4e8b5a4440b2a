"""Models that earlier code published serve, are compared, listed and put back."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import pytest
from pandas import DataFrame
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.estimator import read_champion, read_curves, read_knowledge, read_ranges
from pipeline.gates import Verdict, challenge_champion
from pipeline.models.__main__ import main
from pipeline.estimator.products import FORMER_PRODUCTS
from sandbox.s3_server import make_bucket

FOLDER = Path(__file__).parents[1] / "published_models"
DESCRIBED = json.loads((FOLDER / "models.json").read_text())
ORDERS_PLACED: list[float] = DESCRIBED["orders_placed"]


class Published(NamedTuple):
    """A model as it was found on S3; the README beside it explains each part."""

    file: str
    description: str
    commit: str
    scikit_learn: str
    key: str
    metadata: dict[str, str]
    signing_key: str | None
    model_version: str
    estimates: dict[str, list[float]]
    ranges: dict[str, list[list[float]]] | None = None
    orders_behind: dict[str, float] | None = None

    def __str__(self) -> str:
        put_back = " put back" if "rolled-back-from" in self.metadata else ""
        return self.file.removesuffix(".pkl") + put_back


MODELS = [Published(**described) for described in DESCRIBED["models"]]


@pytest.fixture(params=MODELS, ids=str)
def found(request: pytest.FixtureRequest) -> Published:
    model: Published = request.param
    return model


@pytest.fixture
def bucket(found: Published, s3: S3Client) -> Iterator[str]:
    """An empty bucket of the name that the model was signed for."""
    name = found.metadata.get("signed-for-bucket", f"test-{uuid4()}")
    make_bucket(name)
    yield name
    # The next test makes it again.
    for held in s3.list_object_versions(Bucket=name).get("Versions", []):
        s3.delete_object(
            Bucket=name, Key=held["Key"], VersionId=held["VersionId"]
        )
    s3.delete_bucket(Bucket=name)


@pytest.fixture
def published(
    found: Published, s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Published:
    """A model alone in a bucket, with the key that it was signed with."""
    if found.signing_key:
        monkeypatch.setenv("MODEL_SIGNING_KEY", found.signing_key)
    s3.put_object(
        Bucket=bucket,
        Key=found.key,
        Body=(FOLDER / found.file).read_bytes(),
        Metadata=found.metadata,
    )
    return found


def assert_serves(published: Published, bucket: str) -> None:
    """Assert that a service would take it and answer as its own did, to the bit."""
    model, refusals = aws.get_newest_good_model_from_s3(
        bucket, "models", check=read_curves
    )
    assert refusals == []
    assert str(model) == published.model_version
    assert published.estimates == {
        code: [estimate(orders) for orders in ORDERS_PLACED]
        for code, estimate in read_curves(model).items()
    }


def test_all_that_is_kept_is_read() -> None:
    assert {path.name for path in FOLDER.glob("*.pkl")} == {
        model.file for model in MODELS
    }


def test_it_serves(published: Published, bucket: str) -> None:
    assert_serves(published, bucket)
    newest = aws.get_latest_pkl_model_from_s3(bucket, "models")
    assert str(newest) == published.model_version


@pytest.mark.once
def test_it_is_compared_as_champion(published: Published, bucket: str) -> None:
    model = aws.get_champion_from_s3(bucket, "models", check=read_champion)
    assert model is not None and str(model) == published.model_version
    champion = read_champion(model)
    held_out = DataFrame(
        [
            {"product_code": code, "orders_placed": placed, "hours_to_dispatch": 0.0}
            for code in FORMER_PRODUCTS
            for placed in ORDERS_PLACED
        ]
    )
    hours = np.concatenate([published.estimates[code] for code in FORMER_PRODUCTS])
    found = challenge_champion(champion, held_out, lambda orders: hours, "s3://b/w")
    assert found.outcome is Verdict.PASSED
    assert found.comparison._asdict() == {
        **{"loss": 0, "lower": 0, "upper": 0, "rows": len(held_out)},
        "champion_error": pytest.approx(hours.mean()),
    }


@pytest.mark.once
@pytest.mark.thorough
def test_its_estimator_is_what_answered(published: Published, bucket: str) -> None:
    if published.scikit_learn != version("scikit-learn"):
        pytest.skip("an estimator is read by the release that made it alone")
    estimator = aws.get_latest_pkl_model_from_s3(bucket, "models").model
    for code, product in FORMER_PRODUCTS.items():
        orders = [[placed, product] for placed in ORDERS_PLACED]
        assert estimator.predict(orders).tolist() == published.estimates[code]


def test_it_is_listed_and_verified(
    published: Published, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([bucket, "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["next"]
    assert listed["model_version"] == published.model_version
    assert listed["rolled_back_from"] == published.metadata.get("rolled-back-from", "")
    assert main([bucket, "verify"]) == 0
    name = published.key.removeprefix("models/")
    told = capsys.readouterr().out
    if "hmac-sha256-v2" in published.metadata:
        assert told == f"{name}: verified\n"
    elif published.signing_key:
        expected = "verified, by a signature of the old form; sign it anew: "
        assert told.startswith(f"{name}: {expected}")
        assert main([bucket, "resign"]) == 0
        capsys.readouterr()
        assert main([bucket, "verify"]) == 0
        assert capsys.readouterr().out == f"{name}: verified\n"
        assert_serves(published, bucket)
    else:
        assert told == f"{name}: signature not checked\n"


@pytest.mark.once
@pytest.mark.thorough
def test_how_sure_it_is_and_what_stands_behind_it_is_read(
    published: Published, bucket: str
) -> None:
    model = aws.get_latest_pkl_model_from_s3(bucket, "models")
    ranges, known = read_ranges(model), read_knowledge(model)
    if published.ranges is None:
        assert ranges is None and known is None
        return
    assert ranges is not None and known is not None
    assert published.ranges == {
        code: [[*(ranges.around(code, hours, 0.9) or ())] for hours in estimates]
        for code, estimates in published.estimates.items()
    }
    assert published.orders_behind == {
        code: round(each.orders, 3) for code, each in known.items()
    }


@pytest.mark.once
@pytest.mark.thorough
def test_it_is_put_back(
    published: Published,
    s3: S3Client,
    bucket: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    newest = f"models/m_{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.pkl"
    s3.put_object(Bucket=bucket, Key=newest, Body=b"torn")
    assert main([bucket, "rollback", published.key, "--json"]) == 0
    added = json.loads(capsys.readouterr().out)["added"]
    put = s3.head_object(Bucket=bucket, Key=added.removeprefix(f"s3://{bucket}/"))
    assert put["Metadata"]["rolled-back-from"] == published.key
    is_signed = "hmac-sha256-v2" in put["Metadata"]
    assert is_signed == (published.signing_key is not None)
    assert_serves(published, bucket)
