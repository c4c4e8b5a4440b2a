"""Telling the species of irises: the stage as a process, over HTTP."""

import json
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from types_boto3_s3 import S3Client

from examples.iris import flowers
from examples.iris.train_model import main as train
from pipeline import aws
from pipeline.aws.pickling import pickle_model
from sandbox.flowers import deliver_flowers, make_flowers
from sandbox.s3_server import make_bucket
from tests.stages.services import client, persist, running

pytestmark = [pytest.mark.once, pytest.mark.process]

FOLDER = Path(__file__).parents[3] / "examples" / "iris"
BUCKET = "iris-served"
ENDPOINT = "/iris/v1/score"
FLOWER = {
    "sepal_length": 5.1,
    "sepal_width": 3.5,
    "petal_length": 1.4,
    "petal_width": 0.2,
}
JSON = {"content-type": "application/json"}


def change(model: aws.Model, **attributes: object) -> bytes:
    """The model with a classifier some of whose attributes are others."""
    classifier = deepcopy(model.model)
    vars(classifier).update(attributes)
    dataset = aws.get_latest_csv_dataset_from_s3(BUCKET, "datasets")
    return pickle_model(aws.Model("iris", classifier, dataset))


def add_dispatch_model(bucket: str, at: datetime) -> None:
    """Add a good model, but of another pipeline."""
    other = f"other-{bucket}"
    make_bucket(other)
    name = "time-to-dispatch"
    aws.add_model_to_s3(pickle_model(persist(other)), name, at, bucket, "models")


@pytest.fixture(scope="module")
def service(s3: S3Client) -> Iterator[tuple[str, aws.Model]]:
    """Its address and its model, which is older than all that cannot be used."""
    make_bucket(BUCKET)
    deliver_flowers(make_flowers(), datetime.now(UTC), BUCKET, "datasets")
    train(BUCKET, 0.9)
    model = aws.get_latest_pkl_model_from_s3(BUCKET, "models")
    # Later than the good one, and within what clocks differ.
    soon = datetime.now(UTC) + timedelta(minutes=1)
    add_dispatch_model(BUCKET, soon)
    other = model.model.__class__().fit([[0.0], [1.0]], ["no", "yes"])
    dataset = aws.get_latest_csv_dataset_from_s3(BUCKET, "datasets")
    unusable = [
        pickle_model(model).replace(b"gini", b"mini"),
        pickle_model(aws.Model("iris", RandomForestClassifier(), dataset)),
        change(model, classes_=np.array(["a", "b", "c"])),
        change(model, n_classes_=np.int64(2)),
        change(model, tree_=other.tree_),
        change(model, predict_proba=[]),
    ]
    for second, content in enumerate(unusable, start=1):
        at = soon + timedelta(seconds=second)
        key = f"models/{aws.make_timestamped_filename('iris', at, 'pkl')}"
        s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    with running("serve_model.py", BUCKET, folder=FOLDER) as (_, address):
        yield address, model


def test_an_answer_is_what_the_classifier_tells(
    service: tuple[str, aws.Model],
) -> None:
    address, model = service
    for row in make_flowers()[::15][flowers.MEASUREMENTS].to_dict("records"):
        response = client.post(address + ENDPOINT, json=row)
        assert response.status_code == 200
        measured = [list(row.values())]
        [probabilities] = model.model.predict_proba(measured)
        assert response.json() == {
            "species_prediction": model.model.predict(measured)[0],
            "probabilities": dict(zip(flowers.SPECIES, probabilities, strict=True)),
            "model_info": str(model),
        }


def test_models_that_cannot_be_used_are_passed_over(
    service: tuple[str, aws.Model],
) -> None:
    address, model = service
    readiness = client.get(f"{address}/readyz").json()
    assert readiness["model_version"] == str(model)
    sentences = [
        "has a list for its predict_proba",
        "its tree has another number of features than it says",
        "it tells other species",
        "it tells other species",
        "which is not declared as part of a model",
        "its estimator has another hash than it says",
        "Model name:time-to-dispatch|",
    ]
    for refusal, sentence in zip(readiness["refused"], sentences, strict=True):
        assert sentence in refusal


def test_prometheus_is_told_what_every_service_tells(
    service: tuple[str, aws.Model],
) -> None:
    address, model = service
    assert client.post(address + ENDPOINT, json=FLOWER).is_success
    metrics = client.get(f"{address}/metrics").text
    assert f'http_requests_total{{route="{ENDPOINT}",status="200"}}' in metrics
    delivery = model.train_dataset_key
    assert f'model_info{{commit="NA",delivery="{delivery}",name="iris"}} 1.0' in metrics
    assert "\nmodel_newer_refused 7.0\n" in metrics
    assert "estimate" not in metrics


@pytest.mark.parametrize("field", flowers.MEASUREMENTS)
@pytest.mark.parametrize(
    "value",
    ["5.1", True, 0, -0.1, 100.1, float("nan"), float("inf")],
    ids=str,
)
def test_a_bad_measurement_is_refused_by_name(
    service: tuple[str, aws.Model], field: str, value: object
) -> None:
    content = json.dumps({**FLOWER, field: value})
    response = client.post(service[0] + ENDPOINT, content=content, headers=JSON)
    assert response.status_code == 422
    [fault] = response.json()["detail"]
    assert fault["loc"] == ["body", field] and fault["msg"]


@pytest.mark.parametrize("field", flowers.MEASUREMENTS)
def test_a_missing_measurement_is_refused_by_name(
    service: tuple[str, aws.Model], field: str
) -> None:
    flower = {name: value for name, value in FLOWER.items() if name != field}
    response = client.post(service[0] + ENDPOINT, json=flower)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", field]


def test_what_else_is_no_request_is_refused(service: tuple[str, aws.Model]) -> None:
    url = service[0] + ENDPOINT
    extra = client.post(url, json={**FLOWER, "colour": "blue"})
    assert extra.status_code == 422
    assert extra.json()["detail"][0]["loc"] == ["body", "colour"]
    text = {"content-type": "text/plain"}
    assert client.post(url, content=json.dumps(FLOWER), headers=text).status_code == 415
    assert client.post(url, content=b"[", headers=JSON).status_code == 422
    assert client.post(url, json={"x": "x" * 9000}).status_code == 413
    assert client.get(url).status_code == 405


def test_the_service_documents_itself(service: tuple[str, aws.Model]) -> None:
    assert client.get(f"{service[0]}/livez").json() == {"status": "alive"}
    assert "Iris" in client.get(f"{service[0]}/docs").text
    document = client.get(f"{service[0]}/openapi.json").json()
    responses = document["paths"][ENDPOINT]["post"]["responses"]
    assert {"200", "415", "422"} <= responses.keys()
    example = document["components"]["schemas"]["Flower"]["properties"]
    assert {name: field["examples"][0] for name, field in example.items()} == FLOWER
