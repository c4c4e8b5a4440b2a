"""The service keeps what its OpenAPI document promises, whatever it is asked."""

import pytest

from benchmarks.fuzz import fuzz
from pipeline import aws
from tests.stages.services import ENDPOINT, client

pytestmark = pytest.mark.once

Served = tuple[str, aws.Model]


@pytest.mark.process
def test_every_answer_is_one_that_the_document_allows(service: Served) -> None:
    fuzzed = fuzz(service[0], requests=200)
    assert fuzzed.failures == []
    assert fuzzed.requests > 200


@pytest.mark.parametrize(
    "method, path, own",
    [
        ("post", ENDPOINT, {"415", "422"}),
        ("get", "/livez", set()),
        ("get", "/readyz", set()),
        ("get", "/readyz/estimates", set()),
    ],
)
def test_the_document_lists_each_answer(
    service: Served, method: str, path: str, own: set[str]
) -> None:
    document = client.get(f"{service[0]}/openapi.json").json()
    responses = document["paths"][path][method]["responses"]
    refusals = {"400", "408", "413", "431", "500", "503"} | own
    assert responses.keys() == refusals | {"200"}
    for status in refusals - {"422"}:
        content = responses[status]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Refusal"}
        assert responses[status]["description"].endswith(".")
