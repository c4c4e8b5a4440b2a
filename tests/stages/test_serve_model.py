"""Serving: the stage as a process, over HTTP."""

import json
import pickle
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyRegressor
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.estimator import read_curves
from pipeline.serve_model import create_app
from pipeline.service.estimate_metrics import MAX_PRODUCTS
from tests.programs import run_here
from tests.stages.services import (
    DATASET,
    ENDPOINT,
    ORDER,
    ROOT,
    TIMEOUT_SECONDS,
    client,
    persist,
    refuses_connections,
    request_in_flight,
    running_service,
    wait_until,
)


PRODUCTS = ["SKU001", "SKU002", "SKU003", "SKU004", "SKU005"]


def test_an_estimate_is_what_the_model_predicts(
    service: tuple[str, aws.Model],
) -> None:
    address, model = service
    response = client.post(address + ENDPOINT, json=ORDER)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "est_hours_to_dispatch": model.model.predict([[112, 0]])[0],
        "model_version": str(model),
    }


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"product_code": None}, "product_code"),
        ({"product_code": "SKU999"}, "product_code"),
        ({"product_code": 1}, "product_code"),
        ({"orders_placed": None}, "orders_placed"),
        ({"orders_placed": "112"}, "orders_placed"),
        ({"orders_placed": True}, "orders_placed"),
        ({"orders_placed": -1}, "orders_placed"),
        ({"orders_placed": 1e7}, "orders_placed"),
        ({"orders_placed": float("nan")}, "orders_placed"),
        ({"orders_placed": float("inf")}, "orders_placed"),
        ({"warehouse": "north"}, "warehouse"),
    ],
    ids=str,
)
def test_a_bad_field_is_refused_by_name(
    service: tuple[str, aws.Model], changes: dict[str, object], field: str
) -> None:
    content = json.dumps({**ORDER, **changes})
    response = client.post(
        service[0] + ENDPOINT,
        content=content,
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 422
    assert any(field in str(fault["loc"]) for fault in response.json()["detail"])
    assert all(fault["msg"] for fault in response.json()["detail"])


@pytest.mark.parametrize(
    "unknown, advice",
    [
        ("sku003", "did you mean 'SKU003'?"),
        (" SKU 003", "did you mean 'SKU003'?"),
        ("SKUO03", "did you mean 'SKU003'?"),
        ("SKU03", "did you mean 'SKU003'?"),
        ("SKU0003", "did you mean 'SKU003'?"),
        ("SUK003", "did you mean 'SKU003'?"),
        ("SKX003", "did you mean 'SKU003'?"),
        ("engine", "/openapi.json lists them"),
        ("SKU003" * 100, "/openapi.json lists them"),
        ("\ud800", "/openapi.json lists them"),
        ("", "/openapi.json lists them"),
        (["SKU003"], "/openapi.json lists them"),
    ],
    ids=ascii,
)
def test_an_unknown_product_gets_the_nearest_code(
    service: tuple[str, aws.Model], unknown: object, advice: str
) -> None:
    response = client.post(
        service[0] + ENDPOINT,
        content=json.dumps({"product_code": unknown, "orders_placed": -1}),
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 422
    product, orders = response.json()["detail"]
    assert product == {
        "loc": ["body", "product_code"],
        "msg": "Input should be the code of a product that the model in service knows; "
        + advice,
        "type": "literal_error",
    }
    assert orders["loc"] == ["body", "orders_placed"]


@pytest.mark.parametrize("field", list(ORDER))
def test_a_missing_field_is_refused_by_name(
    service: tuple[str, aws.Model], field: str
) -> None:
    order = {name: value for name, value in ORDER.items() if name != field}
    response = client.post(service[0] + ENDPOINT, json=order)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", field]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"SKU001"',
        b"\xff\xfe",
        b"[" * 8_000,
        b"9" * 4_999,
        b'{"\\ud800": 1}',
    ],
    ids="empty torn null array text binary deep long surrogate".split(),
)
def test_a_body_that_is_no_object_is_refused(
    service: tuple[str, aws.Model], content: bytes
) -> None:
    for content_type in ("application/json", "text/plain"):
        response = client.post(
            service[0] + ENDPOINT,
            content=content,
            headers={"content-type": content_type},
        )
        assert 400 <= response.status_code < 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    body=JSON
    | st.fixed_dictionaries(
        {
            "product_code": st.sampled_from(PRODUCTS) | JSON,
            "orders_placed": st.floats() | st.integers() | JSON,
        }
    )
)
def test_no_json_ever_makes_a_5xx(service: tuple[str, aws.Model], body: object) -> None:
    response = client.post(
        service[0] + ENDPOINT,
        content=json.dumps(body),
        headers={"content-type": "application/json"},
    )
    assert response.status_code in (200, 422)
    if response.status_code == 200:
        assert isinstance(body, dict)
        orders, code = body["orders_placed"], body["product_code"]
        expected = read_curves(service[1])[code](orders)
        assert response.json()["est_hours_to_dispatch"] == expected


@pytest.mark.once
@pytest.mark.process
def test_the_service_needs_neither_pandas_nor_scikit_learn(bucket: str) -> None:
    persist(bucket)
    script = (
        "import sys; from pipeline import aws; from pipeline.serve_model import *; "
        "create_app(aws.get_latest_pkl_model_from_s3(sys.argv[1], 'models')); "
        "print(*sys.modules)"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, bucket],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(process.stdout.split())
    assert not modules & {"pandas", "pyarrow", "sklearn", "redis"}
    assert "pipeline.train_model" not in modules


def test_it_is_alive_and_ready_and_names_its_model(
    service: tuple[str, aws.Model],
) -> None:
    address, model = service
    assert client.get(f"{address}/livez").json() == {"status": "alive"}
    assert client.get(f"{address}/readyz").json() == {
        "status": "ready",
        "model_version": str(model),
        "refused": [],
        "kept_products": {},
    }


def test_it_tells_what_its_model_says_of_each_product(
    service: tuple[str, aws.Model],
) -> None:
    """A pod gets no traffic before each is what it answers, to the bit."""
    address, model = service
    said = client.get(f"{address}/readyz/estimates").json()
    placed = said["orders_placed"]
    curves = read_curves(model)
    assert curves.keys() == said["est_hours_to_dispatch"].keys()
    for code, hours in said["est_hours_to_dispatch"].items():
        assert curves[code](placed) == hours
        order = {"product_code": code, "orders_placed": placed}
        answer = client.post(address + ENDPOINT, json=order).json()
        assert answer["est_hours_to_dispatch"] == hours


@pytest.mark.once
@pytest.mark.process
def test_thousands_of_products_are_served_and_the_kept_ones_named(
    bucket: str,
) -> None:
    codes = [f"Größe {number}/ü" for number in range(5000)]
    often = {"orders": 21, "learnt_from": DATASET.key, "number": 0}
    learnt = {"orders": 20, "learnt_from": DATASET.key, "number": 0}
    kept = {"orders": 12, "learnt_from": "datasets/w_2021-06-25.csv"}
    metadata = {
        "curves": {
            code: {"orders_placed": [0.0, 100.0], "hours": [0.0, float(number)]}
            for number, code in enumerate(codes)
        },
        "products": {
            **{code: learnt | {"learnt_at": "2021-07-02T23:00:00Z"} for code in codes},
            codes[4999]: often | {"learnt_at": "2021-07-02T23:00:00Z"},
            codes[7]: kept | {"learnt_at": "2021-06-25T23:00:00Z"},
        },
    }
    model = aws.Model("m", DummyRegressor(), DATASET, metadata)
    model.put_model_to_s3(bucket, "models")
    with running_service(bucket) as (_, address):
        answers = {
            code: client.post(
                address + ENDPOINT, json={"product_code": code, "orders_placed": 50}
            )
            for code in [codes[0], codes[3000], codes[4999], "SKU001", codes[7].upper()]
        }
        document = client.get(f"{address}/openapi.json").json()
        readiness = client.get(f"{address}/readyz").json()
        said = client.get(f"{address}/readyz/estimates").json()
        metrics = client.get(f"{address}/metrics").text
    assert len(said["est_hours_to_dispatch"]) == 5000
    hours = {
        code: answer.json()["est_hours_to_dispatch"]
        for code, answer in answers.items()
        if answer.is_success
    }
    assert hours == {codes[0]: 0.0, codes[3000]: 1500.0, codes[4999]: 2499.5}
    assert answers["SKU001"].status_code == 422
    assert len(answers["SKU001"].content) < 300
    assert "'Größe 7/ü'" in answers[codes[7].upper()].json()["detail"][0]["msg"]
    request = document["components"]["schemas"]["EstimateRequest"]
    assert document["components"]["schemas"]["ProductCode"]["enum"] == sorted(codes)
    assert request["examples"][0]["product_code"] == codes[0]
    assert readiness["kept_products"] == {codes[7]: "2021-06-25T23:00:00+00:00"}
    # Those with the most orders have series of their own, all others share one.
    assert len(metrics) < 100_000
    counts = "estimate_orders_placed_count"
    assert metrics.count(f"\n{counts}{{") == MAX_PRODUCTS + 1
    assert f'\n{counts}{{product="{codes[4999]}"}} 1.0\n' in metrics
    assert f'\n{counts}{{product="{codes[0]}"}} 1.0\n' in metrics
    assert f'\n{counts}{{product=""}} 1.0\n' in metrics


@pytest.mark.once
@pytest.mark.process
def test_a_refused_model_is_passed_over_and_told(s3: S3Client, bucket: str) -> None:
    good = persist(bucket)
    at = datetime.now(UTC) + timedelta(minutes=1)
    torn = f"models/m_{at:%Y-%m-%dT%H:%M:%S}.pkl"
    for key in (torn, "models/m_2999-01-01.pkl"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"torn")
    with running_service(bucket) as (_, address):
        ready = client.get(f"{address}/readyz").json()
        metrics = client.get(f"{address}/metrics").text
    assert "\nmodel_newer_refused 2.0\n" in metrics
    assert ready["status"] == "ready"
    assert ready["model_version"] == str(good)
    ahead, refusal = ready["refused"]
    assert f"s3://{bucket}/models/m_2999-01-01.pkl is dated in the future" in ahead
    assert f"s3://{bucket}/{torn} could not be unpickled" in refusal


def test_the_documentation_needs_no_other_page_and_no_other_host(
    service: tuple[str, aws.Model],
) -> None:
    page = client.get(f"{service[0]}/docs")
    assert page.status_code == 200
    assert "://" not in page.text.replace("http://www.w3.org", "")

    document = client.get(f"{service[0]}/openapi.json").json()
    request = document["components"]["schemas"]["EstimateRequest"]
    assert request["examples"] == [{"product_code": "SKU001", "orders_placed": 112}]
    assert document["components"]["schemas"]["ProductCode"]["enum"] == PRODUCTS
    assert "(orders)" in request["properties"]["orders_placed"]["description"]
    answer = document["components"]["schemas"]["Estimate"]
    assert "(hours)" in answer["properties"]["est_hours_to_dispatch"]["description"]
    assert {"200", "422"} <= set(document["paths"][ENDPOINT]["post"]["responses"])


@pytest.mark.process
def test_as_bodywork_runs_it_and_sigterm_answers_what_is_in_flight(
    bucket: str,
) -> None:
    persist(bucket)
    with running_service(bucket, as_bodywork=True) as (process, address):
        with request_in_flight(address) as finish:
            wait_until(lambda: client.get(f"{address}/livez").is_success)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses_connections(address))
            answer = finish()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"est_hours_to_dispatch" in answer
        assert process.wait(timeout=TIMEOUT_SECONDS) == 0


@pytest.mark.process
def test_sigterm_as_soon_as_the_port_is_open_ends_it(bucket: str) -> None:
    persist(bucket)
    with running_service(bucket) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=TIMEOUT_SECONDS) == 0


@pytest.mark.parametrize(
    "content, sentence",
    [
        (None, "No pkl object with a timestamp in its name found in s3://"),
        (b"torn", "could not be unpickled"),
        (pickle.dumps({"not": "a model"}), "is not type Model but dict"),
    ],
    ids=["no model", "torn", "no Model"],
)
def test_without_a_model_no_port_is_opened(
    s3: S3Client, bucket: str, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        s3.put_object(Bucket=bucket, Key="models/m_2021-07-03.pkl", Body=content)
    process = run_here("pipeline.serve_model", bucket)
    assert process.returncode == 1
    assert process.stderr == ""
    error = process.stdout.splitlines()[-1]
    assert "ERROR" in error and f"s3://{bucket}/models/" in error and sentence in error
    assert "Answering on" not in process.stdout


def test_a_missing_bucket_ends_in_one_sentence() -> None:
    process = run_here("pipeline.serve_model", "no-such-bucket")
    assert process.returncode == 1
    assert process.stderr == ""
    assert "check the bucket's name" in process.stdout.splitlines()[-1]


@pytest.mark.once
@pytest.mark.process
def test_a_model_of_another_scikit_learn_is_served(bucket: str) -> None:
    model = persist(bucket)
    expected = model.model.predict([[112, 0]])[0]
    model._scikit_learn_version = "0.24.1"
    # Takes the next free second, so that it is the newest.
    model.put_model_to_s3(bucket, "models")
    with running_service(bucket) as (_, address):
        readiness = client.get(f"{address}/readyz").json()
        answer = client.post(address + ENDPOINT, json=ORDER).json()
    assert readiness["refused"] == []
    assert answer["est_hours_to_dispatch"] == expected


def run_on(port: str, bucket: str) -> subprocess.CompletedProcess[str]:
    return run_here("pipeline.serve_model", bucket, HOST="127.0.0.1", PORT=port)


def test_a_taken_or_senseless_port_is_named(bucket: str) -> None:
    persist(bucket)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = run_on(port, bucket)
    assert process.returncode == 1
    assert f"127.0.0.1:{port}: Address already in use" in process.stdout
    process = run_on("http", bucket)
    assert process.returncode == 1
    assert "PORT=http is no port" in process.stdout


def test_an_estimator_that_does_not_estimate_is_refused_at_once() -> None:
    with pytest.raises(RuntimeError, match="cannot estimate every product"):
        create_app(aws.Model("unfitted", DummyRegressor(), DATASET))
