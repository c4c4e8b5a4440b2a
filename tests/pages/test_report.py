"""The pages of a bucket, made of what real runs have left there."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pytest
from time_machine import travel
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.models.__main__ import main as manage_models
from pipeline.orders import PRODUCT_CODE
from pipeline.records import (
    ColumnDrift,
    Delivery,
    ModelInService,
    NewModel,
    Outcome,
    SetAsideRow,
    add_record,
)
from sandbox.s3_server import make_bucket
from sandbox.weeks import Happening, make_orders, run_week
from tests.pages.history import NOW, make_record
from tests.programs import run_here

pytestmark = [pytest.mark.once, pytest.mark.process]

GRID = {"random_state": [42], "max_depth": [8], "min_samples_leaf": [2]}
WEEK = timedelta(weeks=1)
FIRST = datetime(2026, 10, 30, 23, tzinfo=UTC)
WEEKS = [
    Happening("good"),
    Happening("mistyped", mistyped_rows=5),
    Happening("rolled back", is_rolled_back=True),
    Happening("minutes", hours_times=60.0),
]
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "</style></title></svg><b onclick='x'>",
    "{{ 7 * 7 }}{% raw %}&lt;",
]
PRODUCTS = {f"SKU00{number}": code for number, code in enumerate(HOSTILE, 1)}
HOSTILE_RUN = "2026-11-10T11:45:00"
HOSTILE_FACTS: dict[str, Any] = {
    "warnings": HOSTILE,
    "seconds": dict.fromkeys(HOSTILE, 1.0),
    "versions": dict.fromkeys(HOSTILE, HOSTILE[0]),
    "commit": HOSTILE[1],
    "delivery": Delivery(
        key="datasets/gone_2026.csv",
        set_aside=[
            SetAsideRow(
                line=2, product_code=code, orders_placed=1, hours=1e300, expected=1e9
            )
            for code in HOSTILE
        ],
        orders_by_product=dict.fromkeys(HOSTILE, 1),
    ),
    "model_in_service": ModelInService(
        version="in-nobodys-hands",
        made=NOW,
        delivery_key=HOSTILE[2],
        error_on_delivery=1e300,
    ),
    "drift": [
        ColumnDrift(
            product_code=code,
            column="orders_placed",
            statistic=2.0,
            p_value=1,
            reference_range=(0, 1),
            delivered_range=(0, 1),
            is_large=True,
        )
        for code in HOSTILE
    ],
    "model": NewModel(
        key="", version=HOSTILE[3], hyperparameters={HOSTILE[0]: HOSTILE[1]}
    ),
}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
TAGS = set(
    "html head meta link title style body main header section p h1 h2 h3 strong code a "
    "dl div dt dd table thead tbody tr th td span figure figcaption svg path text rect "
    "circle pre".split()
)


class Page(HTMLParser):
    """What is in a page: its tags, its attributes, its text by heading."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


class Report:
    """The pages of a bucket, in a folder."""

    def __init__(self, bucket: str, folder: Path) -> None:
        self.bucket, self.folder = bucket, folder
        with travel(NOW):
            process = run_here("pipeline.report", bucket, "--output", str(folder))
        assert process.returncode == 0, process.stderr
        assert process.stdout == f"{folder.resolve() / 'index.html'}\n"

    @property
    def index(self) -> Page:
        return self.read("index.html")

    def read(self, name: str) -> Page:
        return Page((self.folder / name).read_text())

    def page_of(self, started: str) -> Page:
        return self.read(f"time-to-dispatch_{started}.html")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    """Three good weeks, the last of them rolled back, and one that was refused, of
    products and with a record in between that nobody would have thought of."""
    bucket = f"test-{uuid4()}"
    make_bucket(bucket)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_SIGNING_KEY", "k" * 32)
        for seed, happening in enumerate(WEEKS):
            orders = make_orders(happening, seed)
            orders[PRODUCT_CODE] = orders[PRODUCT_CODE].replace(PRODUCTS)
            run_week(bucket, FIRST + seed * WEEK, happening, orders, GRID)
        stored = make_record(1.5, Outcome.FAILED, reason=HOSTILE[0], **HOSTILE_FACTS)
        assert stored.record is not None
        add_record(bucket, stored.record)
        yield Report(bucket, tmp_path_factory.mktemp("report"))


def test_the_index_tells_who_was_not_there(report: Report) -> None:
    words = report.index.words
    for part in (
        "Red. The delivery of Friday 20 November 2026 was refused; the model of Friday "
        "6 November 2026 serves, which was put back on Monday 16 November 2026 at "
        "09:00 UTC; somebody must read why, and have it delivered again or accept it.",
        "which looks like minutes",
        "The last 4 weeks in pictures",
        "since Mon 16 Nov 2026, 09:00 UTC trained Fri 6 Nov 2026, 23:45 UTC",
        "refused below",
        "where 95%, 90%, 80%, 50% of dispatches fall",
        "of 2 weeks",
    ):
        assert part in words
    weeks = words.partition("Why, and warnings")[2]
    told = re.findall(
        r"\d{4}-\d\d-\d\d (?=\w{3} )"
        r"|(?<=:\d\d )(?:refused|failed|published|taken back|put back)",
        weeks,
    )
    assert [each.strip() for each in told] == [
        *("2026-11-20", "refused"),
        *("2026-11-13", "put back", "taken back"),
        *("2026-11-06", "failed", "published"),
        *("2026-10-30", "published"),
    ]


def test_each_run_has_a_page_that_the_index_links(report: Report) -> None:
    links = [
        unquote(value) for name, value in report.index.attributes if name == "href"
    ]
    pages = {path.name for path in report.folder.iterdir()}
    assert len(pages) == 6
    assert {link.removeprefix("./") for link in links if link != "data:,"} == (
        pages - {"index.html"}
    )


def test_a_run_page_is_the_card_of_its_model(report: Report) -> None:
    page = report.page_of("2026-11-06T23:45:00")
    for part in (
        "Published.",
        "Set aside",
        "estimates of the new model",
        "estimates of the model before",
        "where 90% of dispatches fall, by the new model",
        "of 2 weeks stand behind the new estimates",
        "This week alone",
        "that the model was not trained on",
        "Compared with the model in service",
        "99% interval of this difference is",
        "Rows set aside",
        "Not for",
        "signature verified",
        "SHA-256 of the delivery",
        f"pipeline.models {report.bucket} rollback time-to-dispatch_2026-11-06",
        "To the model before: python -m pipeline.models",
    ):
        assert part in page.words
    assert "cannot show" not in page.words


def test_the_page_of_a_refused_run_begins_with_the_reason(report: Report) -> None:
    page = report.page_of("2026-11-20T23:45:00")
    assert "UTC Refused. Delivery s3://" in page.words
    assert "estimates of the model in service" in page.words
    assert "What the model is for" not in page.words
    # Of the model that served, which was put back.
    assert f"{report.bucket} rollback time-to-dispatch_2026-11-06T23:45" in page.words


def test_what_is_gone_is_told_in_its_place(report: Report) -> None:
    page = report.page_of(HOSTILE_RUN)
    assert f"The delivery s3://{report.bucket}/datasets/gone_2026.csv is gone." in (
        page.words
    )
    assert "The model in-nobodys-hands is gone." in page.words
    assert "There is neither a delivery nor a model to draw." in page.words
    assert "Where it comes from" in page.words


def test_no_word_of_anyone_becomes_markup(report: Report) -> None:
    for path in report.folder.iterdir():
        page = report.read(path.name)
        assert page.tags <= TAGS
        assert not [name for name, _ in page.attributes if name.startswith("on")]
    hostile = report.page_of(HOSTILE_RUN)
    for words in HOSTILE:
        assert " ".join(words.split()) in hostile.words
    # As products, beside their curves.
    for words in HOSTILE:
        assert words in report.page_of("2026-11-06T23:45:00").words


def test_a_page_asks_the_network_for_nothing(report: Report) -> None:
    for path in report.folder.iterdir():
        page = report.read(path.name)
        assert ("content", POLICY) in page.attributes
        addresses = [
            value
            for name, value in page.attributes
            if name in ("src", "href", "srcset", "action", "data", "xlink:href")
        ]
        assert all(each.startswith(("./", "data:")) for each in addresses)
        assert not re.search(r"@import|url\(", path.read_text())


def test_pages_are_published_and_only_what_changes_is_put_again(
    report: Report, s3: S3Client
) -> None:
    def publish() -> str:
        with travel(NOW):
            process = run_here("pipeline.report", report.bucket, "--publish")
        assert process.returncode == 0, process.stderr
        return process.stdout

    index = f"s3://{report.bucket}/reports/index.html"
    assert publish() == f"Put 6 pages: {index}\n"
    for name in ("index.html", "time-to-dispatch_2026-11-20T23:45:00.html"):
        found = s3.get_object(Bucket=report.bucket, Key=f"reports/{name}")
        assert found["ContentType"] == "text/html; charset=utf-8"
        assert found["Body"].read() == (report.folder / name).read_bytes()
    # The index, and the page of what is gone: it may come back.
    assert publish() == f"Put 2 pages: {index}\n"
    s3.delete_object(
        Bucket=report.bucket, Key="reports/time-to-dispatch_2026-11-20T23:45:00.html"
    )
    assert publish() == f"Put 3 pages: {index}\n"


def test_a_record_that_is_not_ours_is_told_and_hides_no_other(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", "another" * 8)
    other = Report(report.bucket, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    words = other.index.words
    assert "Red. No model can serve" in words
    assert words.count("record refused") == 5


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["BUCKET"], "neither --output FOLDER nor --publish is given"),
        (["BUCKET", "--output", "/dev/null/x"], "Could not write into /dev/null/x: "),
        (["no-such-bucket", "--publish"], "NoSuchBucket"),
    ],
)
def test_what_cannot_be_done_ends_in_one_sentence(
    arguments: list[str], said: str, bucket: str
) -> None:
    chosen = [bucket if each == "BUCKET" else each for each in arguments]
    process = run_here("pipeline.report", *chosen)
    assert process.returncode == 1
    assert said in process.stderr and process.stderr.count("\n") == 1
    assert process.stdout == ""


def test_an_empty_bucket_has_an_index(bucket: str, tmp_path: Path) -> None:
    words = Report(bucket, tmp_path).index.words
    assert "Yellow. Nothing has run yet: no model can serve." in words


def test_a_withdrawn_model_is_told_with_the_reason(bucket: str, tmp_path: Path) -> None:
    for seed, friday in enumerate((FIRST + 2 * WEEK, FIRST + 3 * WEEK)):
        run_week(bucket, friday, WEEKS[0], make_orders(WEEKS[0], seed), GRID)
    [key] = [
        each.key
        for each in aws.list_artefacts_on_s3("pkl", bucket, "models")
        if each.timestamp.day == 20
    ]
    name = key.rpartition("/")[2]
    with travel(NOW):
        manage_models([bucket, "withdraw", name, "--reason", "The release failed."])
    words = Report(bucket, tmp_path).index.words
    for part in (
        "Yellow. The delivery of Friday 20 November 2026 was learnt, and its model was",
        "the model of Friday 13 November 2026 serves again, since a newer one was",
        f"Sat 21 Nov, 12:00 withdrawn {name} was withdrawn: The release failed.",
        "Fri 20 Nov, 23:45 taken back",
    ):
        assert part in words


def test_of_thousands_of_products_the_largest_are_drawn(
    bucket: str, tmp_path: Path
) -> None:
    products = {f"PART-{number:04}": 10 + number for number in range(3000)}
    delivery = Delivery(key="datasets/week.csv", orders_by_product=products)
    stored = make_record(0, delivery=delivery)
    assert stored.record is not None
    add_record(bucket, stored.record)
    report = Report(bucket, tmp_path)
    assert "The 12 largest of 3,000 products." in report.index.words
    assert "PART-2999" in report.index.words and "PART-0001" not in report.index.words
    assert (tmp_path / "index.html").stat().st_size < 100_000
