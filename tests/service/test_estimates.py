"""Both versions of the API, asked without a server."""

import asyncio
import json
from math import inf
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.estimator import LEVELS, PiecewiseLinear, Ranges
from pipeline.service import json_route
from pipeline.service.estimate_metrics import EstimateMetrics
from pipeline.service.faults import MAX_FAULTS, describe_faults
from pipeline.service.many_estimates import (
    MAX_BODY_BYTES,
    MAX_ORDERS,
    Estimates,
    write_estimate,
)
from tests.service.applications import (
    CURVES,
    RANGES_OF_MODEL,
    V0_1,
    V0_2,
    Answer,
    ask,
    make_app,
    send_to,
)

ANSWERS = json.loads((Path(__file__).parent / "v0_1_answers.json").read_text())
ORDER = {"product_code": "SKU001", "orders_placed": 112}
SECOND = 1 / 3600

ORDERS_PLACED = st.floats(0, 1e6) | st.integers(0, 1_000_000) | st.sampled_from(
    [0, 2, 1.9999, 40, 112.5, 800, 800.1, 900]
)
ORDERS = st.fixed_dictionaries(
    {"product_code": st.sampled_from([*CURVES]), "orders_placed": ORDERS_PLACED}
)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return make_app()


@pytest.fixture(scope="module")
def without_ranges() -> FastAPI:
    return make_app(ranges=None)


def ask_many(app: FastAPI, *orders: object, **more: object) -> Answer:
    return ask(app, V0_2, {"orders": orders, **more})


@pytest.mark.parametrize("former", ANSWERS, ids=lambda former: former["body"][:40])
def test_v0_1_answers_to_the_byte_as_it_always_did(
    app: FastAPI, former: dict[str, Any]
) -> None:
    """As the release before v0.2 did: the file was made by it."""
    answer = ask(
        app, V0_1, former["body"].encode(), former["headers"], former["method"]
    )
    assert answer.body.decode() == former["answer"]
    assert answer.status == former["status"]
    assert answer.headers.pop("content-length") == str(len(answer.body))
    assert answer.headers.pop("allow", None) == {405: "POST"}.get(answer.status)
    assert answer.headers == {"content-type": "application/json"}


@given(orders=st.lists(ORDERS, min_size=1, max_size=20), level=st.sampled_from(LEVELS))
def test_many_orders_get_the_estimate_of_each_and_its_range(
    app: FastAPI, orders: list[dict[str, Any]], level: float
) -> None:
    answer = ask_many(app, *orders, level=level)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told["model"] == {
        "timestamp": "2021-07-02T23:45:32+00:00",
        "delivery": "datasets/w.csv",
        "code": "1f2e3d4",
        "hash": "ab" * 32,
    }
    assert len(told["estimates"]) == len(orders)
    for order, estimate in zip(orders, told["estimates"], strict=True):
        code, placed = order["product_code"], order["orders_placed"]
        one = ask(app, V0_1, order).json()["est_hours_to_dispatch"]
        hours = estimate["est_hours_to_dispatch"]
        assert hours == pytest.approx(one, abs=SECOND / 2)
        around = RANGES_OF_MODEL.around(code, one, level)
        if around is None:
            assert estimate["range"] is None
        else:
            lower, upper = estimate["range"]["lower"], estimate["range"]["upper"]
            assert estimate["range"]["level"] == level
            assert lower <= hours <= upper
            assert (lower, upper) == pytest.approx(around, abs=SECOND / 2)
        beyond = RANGES_OF_MODEL.is_beyond(code, placed)
        assert estimate["beyond_observed"] is beyond


def test_a_range_that_reaches_below_nothing_begins_there(app: FastAPI) -> None:
    [estimate] = ask_many(app, ORDER | {"orders_placed": 0}).json()["estimates"]
    assert estimate["range"]["lower"] == 0
    assert estimate["est_hours_to_dispatch"] == 0.1


@given(hours=st.floats(0, 1000), low=st.floats(-9, 0), high=st.floats(0, 9))
def test_rounding_leaves_the_estimate_within_its_range(
    hours: float, low: float, high: float
) -> None:
    ranges = Ranges((0.0, 1e-5), {0.5: (low, high)}, {}, {})
    curve = PiecewiseLinear([0.0], [hours])
    told = json.loads(write_estimate("A", 1.0, 0.5, curve, ranges))
    around = told["range"]
    assert around["lower"] <= told["est_hours_to_dispatch"] <= around["upper"]


def test_the_level_is_nine_in_ten_where_none_is_asked_for(app: FastAPI) -> None:
    assert ask_many(app, ORDER).body == ask_many(app, ORDER, level=0.9).body


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_that_a_product_has_too_few_orders_for_has_no_range(
    app: FastAPI, without_ranges: FastAPI, level: float
) -> None:
    other = ORDER | {"product_code": "SKU002"}
    own, common = ask_many(app, ORDER, other, level=level).json()["estimates"]
    assert own["range"]["level"] == level
    assert (common["range"] is None) is (level == 0.95)
    [former] = ask_many(without_ranges, ORDER, level=level).json()["estimates"]
    assert former["range"] is None
    assert former["est_hours_to_dispatch"] == own["est_hours_to_dispatch"]


@pytest.mark.parametrize("placed, beyond", [(0, False), (900, False), (901, True)])
def test_a_model_without_ranges_knows_the_most_that_it_was_trained_on(
    without_ranges: FastAPI, placed: float, beyond: bool
) -> None:
    [estimate] = ask_many(
        without_ranges, ORDER | {"orders_placed": placed}
    ).json()["estimates"]
    assert estimate["beyond_observed"] is beyond


def test_as_many_orders_as_are_allowed_are_answered_in_their_order(
    app: FastAPI,
) -> None:
    placed = [number / 10 for number in range(MAX_ORDERS)]
    orders = [ORDER | {"orders_placed": each} for each in placed]
    answer = ask_many(app, *orders).json()
    hours = [each["est_hours_to_dispatch"] for each in answer["estimates"]]
    curve = PiecewiseLinear(**CURVES["SKU001"])
    assert hours == [round(curve(each), 4) for each in placed]


def test_orders_with_the_longest_codes_are_no_larger_than_is_taken() -> None:
    order = {"product_code": "A" * 64, "orders_placed": 999_999.5}
    body = json.dumps({"orders": [order] * MAX_ORDERS, "level": 0.95})
    assert len(body) <= MAX_BODY_BYTES


@pytest.mark.parametrize(
    "content, loc, type_",
    [
        ({}, ["orders"], "missing"),
        ({"orders": []}, ["orders"], "too_short"),
        ({"orders": None}, ["orders"], "list_type"),
        ({"orders": [ORDER] * (MAX_ORDERS + 1)}, ["orders"], "too_long"),
        ({"orders": [ORDER, {}, {}]}, ["orders", 1, "product_code"], "missing"),
        (
            {"orders": [ORDER] * 99 + [ORDER | {"orders_placed": -1}]},
            ["orders", 99, "orders_placed"],
            "greater_than_equal",
        ),
        (
            {"orders": [ORDER | {"warehouse": 1}]},
            ["orders", 0, "warehouse"],
            "extra_forbidden",
        ),
        ({"orders": [ORDER, "SKU001"]}, ["orders", 1], "model_attributes_type"),
        ({"orders": [ORDER], "level": 0.91}, ["level"], "literal_error"),
        ({"orders": [ORDER], "level": 1}, ["level"], "literal_error"),
        ({"orders": [ORDER], "level": "0.9"}, ["level"], "float_type"),
        ({"orders": [ORDER], "level": None}, ["level"], "float_type"),
        ({"orders": [ORDER], "warehouse": 1}, ["warehouse"], "extra_forbidden"),
        ([ORDER], [], "model_attributes_type"),
        ({"orders": {"0": ORDER}}, ["orders"], "list_type"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_one_bad_order_refuses_the_request_and_is_named(
    app: FastAPI, content: object, loc: list[object], type_: str
) -> None:
    answer = ask(app, V0_2, content)
    assert answer.status == 422
    first = answer.json()["detail"][0]
    assert (first["loc"], first["type"]) == (["body", *loc], type_)


def test_the_nearest_product_is_named_and_the_levels_are(app: FastAPI) -> None:
    answer = ask_many(app, ORDER, ORDER | {"product_code": "sku003"}, level=0.7)
    product, level = answer.json()["detail"]
    assert product["loc"] == ["body", "orders", 1, "product_code"]
    assert product["msg"].endswith("did you mean 'SKU003'?")
    assert level["msg"] == "Input should be one of 0.5, 0.8, 0.9, 0.95"


@pytest.mark.parametrize(
    "body, pos, told",
    [
        (b'{"orders": [}', 12, "expecting value at line 1, column 13."),
        (b'{"orders":\n  [1 2]}', 16, "expecting ',' delimiter at line 2, column 6."),
        (b"{", 1, "expecting property name enclosed in double quotes at line 1, "),
    ],
)
def test_where_a_body_ceases_to_be_json_is_told_in_words(
    app: FastAPI, body: bytes, pos: int, told: str
) -> None:
    [fault] = ask(app, V0_2, body).json()["detail"]
    assert fault["loc"] == ["body", pos] and fault["type"] == "json_invalid"
    assert fault["msg"].startswith(f"The body is not valid JSON: {told}")


JUNK = {f"{number:x}": number for number in range(9_000)}


@pytest.mark.parametrize(
    "path, content, faults",
    [
        (V0_1, dict(list(JUNK.items())[:600]), MAX_FAULTS),
        (V0_1, {"x" * 8_000: 1}, 3),
        (V0_1, {"\ud800" * 1_000: 1}, 1),
        (V0_2, JUNK, MAX_FAULTS),
        (V0_2, {"orders": [JUNK], "level": 0.9}, MAX_FAULTS),
        (V0_2, {"orders": [ORDER | JUNK]}, MAX_FAULTS),
        (V0_2, {"orders": [{}] * 30_000}, 2),
        (V0_2, {"orders": {"orders": {"orders": JUNK}}, **JUNK}, None),
        (V0_2, {"😀" * 64 + str(number): number for number in range(100)}, MAX_FAULTS),
    ],
    ids="fields name surrogates many order ours empty nested letters".split(),
)
def test_a_refusal_is_short_whatever_is_refused(
    app: FastAPI,
    path: str,
    content: object,
    faults: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def describe(error: ValidationError) -> list[dict[str, Any]]:
        # However many there are, not all are put into words.
        assert error.error_count() <= 3 + MAX_FAULTS
        return describe_faults(error)

    monkeypatch.setattr(json_route, "describe_faults", describe)
    answer = ask(app, path, content)
    if faults is None:
        assert answer.status in (413, 422)
    else:
        assert answer.status == 422
        assert len(answer.json()["detail"]) == faults
    assert len(answer.body) < 3_000


@pytest.mark.parametrize(
    "name, told",
    [
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 61 + "..."),
        ("ö" * 16, "\\xf6" * 16),
        ("ö" * 17, "\\xf6" * 15 + "\\..."),
    ],
)
def test_a_long_name_is_told_by_its_beginning(
    app: FastAPI, name: str, told: str
) -> None:
    [fault] = ask(app, V0_1, {**ORDER, name: 1}).json()["detail"]
    assert fault["loc"] == ["body", told]


def test_what_is_left_out_changes_no_fault_that_is_told(app: FastAPI) -> None:
    few = {"orders_placed": -1, **{str(number): 1 for number in range(9)}}
    many = {**few, **JUNK}
    told = ask_many(app, ORDER, few).json()["detail"]
    assert told == ask_many(app, ORDER, many).json()["detail"]
    assert [fault["loc"][-1] for fault in told] == [
        *("product_code", "orders_placed", *"01234567")
    ]


@pytest.mark.parametrize("path, most", [(V0_1, 8_192), (V0_2, MAX_BODY_BYTES)])
def test_each_version_says_how_large_a_request_may_be(
    app: FastAPI, path: str, most: int
) -> None:
    content = json.dumps(ORDER if path == V0_1 else {"orders": [ORDER]}).encode()
    assert ask(app, path, content.ljust(most)).status == 200
    refused = ask(app, path, content.ljust(most + 1))
    assert refused.status == 413
    detail = f"The body is larger than {most} bytes."
    assert refused.json() == {"detail": detail}
    responses = app.openapi()["paths"][path]["post"]["responses"]
    assert responses["413"]["description"] == detail


def test_estimates_are_counted_alike_one_by_one_and_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that some are looked at before they are asked for.
    monkeypatch.setattr("pipeline.service.estimate_metrics.MAX_ASKED", 7)
    orders = [
        {"product_code": code, "orders_placed": placed}
        for code in CURVES
        for placed in (0, 25, 25.5, 112, 112, 900, 901, 1_000_000)
    ]
    one_by_one, together = make_app(), make_app()
    for order in orders:
        assert ask(one_by_one, V0_1, order).status == 200
    assert ask_many(together, *orders).status == 200
    pages = [
        [
            line
            for line in ask(each, "/metrics", method="GET").body.decode().splitlines()
            if line.startswith("estimate")
        ]
        for each in (one_by_one, together)
    ]
    assert pages[0] == pages[1]
    assert 'estimate_orders_placed_count{product="SKU001"} 8.0' in pages[0]
    assert 'estimates_beyond_observed_total{product="SKU001"} 2.0' in pages[0]


def test_what_is_refused_is_not_counted(app: FastAPI) -> None:
    before = ask(app, "/metrics", method="GET").body
    assert ask_many(app, ORDER, {}).status == 422
    after = ask(app, "/metrics", method="GET").body
    for page in (before, after):
        assert b"estimate_hours_count" in page
    assert [line for line in before.splitlines() if line.startswith(b"estimate")] == [
        line for line in after.splitlines() if line.startswith(b"estimate")
    ]


def test_an_estimate_that_is_no_number_is_never_told() -> None:
    steep = Ranges((0.0, 1e308), {0.5: (0.0, 1e308)}, {}, {})
    with pytest.raises(RuntimeError, match="inf"):
        write_estimate("A", 1.0, 0.5, lambda _: 1.0, steep)
    with pytest.raises(RuntimeError, match="inf"):
        write_estimate("A", 1.0, 0.5, lambda _: inf, None)


def test_one_order_does_not_wait_for_a_thousand() -> None:
    app = make_app()
    ended = []

    async def ask_in_turn(name: str, path: str, content: object) -> None:
        answer = await send_to(app, path, json.dumps(content).encode())
        assert answer.status == 200
        ended.append(name)

    async def ask_all() -> None:
        many = {"orders": [ORDER] * MAX_ORDERS}
        await asyncio.gather(
            ask_in_turn("many", V0_2, many),
            ask_in_turn("many more", V0_2, many),
            ask_in_turn("one", V0_1, ORDER),
            ask_in_turn("few", V0_2, {"orders": [ORDER]}),
        )

    asyncio.run(ask_all())
    assert ended == ["one", "few", "many", "many more"]


def test_large_requests_are_read_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that wait hold their bytes, and not what is made of them."""
    app = make_app()
    [route] = [each for each in app.routes if getattr(each, "path", "") == V0_2]
    events = []
    read, count_all = getattr(route, "read"), EstimateMetrics.count_all

    def note_read(body: bytes) -> Any:
        events.append("read")
        return read(body)

    def note_count(self: EstimateMetrics, orders: Any) -> None:
        events.append("answered")
        count_all(self, orders)

    monkeypatch.setattr(route, "read", note_read)
    monkeypatch.setattr(EstimateMetrics, "count_all", note_count)
    body = json.dumps({"orders": [ORDER] * MAX_ORDERS}).encode()

    async def ask_all() -> None:
        await asyncio.gather(*[send_to(app, V0_2, body) for _ in range(3)])

    asyncio.run(ask_all())
    assert events == ["read", "answered"] * 3


def test_the_examples_of_the_document_are_what_is_answered(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    for path in (V0_1, V0_2):
        operation = paths[path]["post"]
        request = operation["requestBody"]["content"]["application/json"]["example"]
        content = operation["responses"]["200"]["content"]["application/json"]
        answer = ask(app, path, request)
        assert answer.status == 200
        assert answer.json() == content["example"]
    Estimates.model_validate(content["example"])


@given(
    orders=st.lists(ORDERS, min_size=1, max_size=3), level=st.sampled_from(LEVELS)
)
@example(orders=[{"product_code": "SKU002", "orders_placed": 3}], level=0.95)
def test_answers_are_what_the_document_promises(
    app: FastAPI, orders: list[dict[str, Any]], level: float
) -> None:
    answer = ask_many(app, *orders, level=level)
    Estimates.model_validate_json(answer.body, strict=True)


def test_the_document_lists_the_products_of_the_model(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    assert schemas["ProductCode"]["enum"] == sorted(CURVES)
