"""The command that looks at runs."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from types_boto3_s3 import S3Client

from pipeline.records import (
    Delivery,
    Metrics,
    NewModel,
    Outcome,
    RunRecord,
    Scores,
    Thresholds,
    add_record,
)
from sandbox.s3_server import make_bucket
from tests.programs import run_here

ROOT = Path(__file__).parents[1]
BEGAN = datetime(2026, 11, 6, 23, 5, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
REASON = "\x1b[2JDelivery s3://b/datasets/x.csv refused: minutes; " + "long " * 30


def published(at: datetime, r_squared: float, error: float) -> RunRecord:
    return RunRecord(
        pipeline="time-to-dispatch",
        outcome=Outcome.PUBLISHED,
        started=at,
        thresholds=Thresholds(error=0.8, warning=0.9),
        delivery=Delivery(key="datasets/x.csv", rows=1234567),
        metrics=Metrics(answer=Scores(r_squared=r_squared, mean_absolute_error=error)),
        model=NewModel(key="models/x.pkl", version="x"),
        warnings=["Something is odd."],
    )


@pytest.fixture(scope="module")
def runs(s3_environment: dict[str, str], request: pytest.FixtureRequest) -> str:
    """A bucket with a good run, a refused one, a good one, and what is no record."""
    bucket = f"test-{uuid4()}"
    make_bucket(bucket)
    refused = published(BEGAN + WEEK, 0.5, 9.0).model_copy(
        update={"outcome": Outcome.REFUSED, "reason": REASON, "metrics": Metrics()}
    )
    for record in (
        published(BEGAN, 0.950, 1.0),
        refused,
        published(BEGAN + 2 * WEEK, 0.962, 0.75),
    ):
        add_record(bucket, record)
    s3: S3Client = request.getfixturevalue("s3")
    key = "runs/time-to-dispatch_2026-01-01T00:00:00.json"
    s3.put_object(Bucket=bucket, Key=key, Body=b"[]")
    return bucket


def look(bucket: str, *arguments: str) -> str:
    process = run_here("pipeline.runs", bucket, *arguments)
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout


def test_list_fits_80_columns_with_the_newest_first(runs: str) -> None:
    lines = look(runs, "list").splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)
    runs_listed = [line for line in lines if line.startswith("2026")]
    assert [line.split()[:3] for line in runs_listed] == [
        ["2026-11-20", "23:05:01", "published"],
        ["2026-11-13", "23:05:01", "refused"],
        ["2026-11-06", "23:05:01", "published"],
        ["2026-01-01", "00:00:00", "not"],
    ]
    # Against the last that was published, not against the refused one.
    assert "0.962 ↑0.012  0.750 ↓0.250" in runs_listed[0]
    assert runs_listed[2].split()[3:] == ["0.950", "1.000", "1,234,567", "1"]
    text = " ".join(" ".join(lines).split())
    assert r"\x1b[2JDelivery" in text and "\x1b" not in text
    assert " ".join(REASON.split()).partition(" ")[2] in text
    assert "is no record of a run" in text


def test_list_shows_the_last_n(runs: str) -> None:
    lines = look(runs, "list", "--last", "1").splitlines()
    assert len(lines) == 2 and "↑0.012" in lines[1]


def test_json_is_what_is_stored(runs: str) -> None:
    told = json.loads(look(runs, "list", "--json"))
    assert [each["record"] and each["record"]["outcome"] for each in told] == [
        "published",
        "refused",
        "published",
        None,
    ]
    assert RunRecord.model_validate(told[1]["record"]).reason == REASON
    assert json.loads(look(runs, "show", "--json")) == told[0]
    both = look(runs, "compare", "--json", "2026-11-06", "2026-11-20")
    assert json.loads(both) == [told[2], told[0]]


@pytest.mark.parametrize(
    "name",
    [
        "time-to-dispatch_2026-11-13T23:05:01.json",
        "runs/time-to-dispatch_2026-11-13T23:05:01.json",
        "2026-11-13",
        "2026-11-13 23:05",
    ],
)
def test_show_tells_all_of_one_run(runs: str, name: str) -> None:
    told = look(runs, "show", name)
    assert told.startswith("time-to-dispatch_2026-11-13T23:05:01.json  refused\n")
    assert "datasets/x.csv" in told and "Something is odd." in told
    assert max(map(len, told.splitlines())) <= 80


def test_the_page_tells_of_every_field() -> None:
    page = (ROOT / "docs" / "runs.md").read_text()
    table = page.partition("<!-- fields -->")[2]
    fields = [line.split("`")[1] for line in table.splitlines() if "| `" in line]
    assert fields == [*RunRecord.model_fields]
    assert all(f"| `{outcome}` | " in page for outcome in Outcome)


def test_compare_tells_the_differences(runs: str) -> None:
    lines = look(runs, "compare", "2026-11-06", "2026-11-20").splitlines()
    (line,) = [line for line in lines if line.startswith("mean absolute error")]
    assert line.split()[-3:] == ["1.000", "0.750", "↓0.250"]
    (rows,) = [line for line in lines if line.startswith("rows  ")]
    assert rows.split()[-1] == "="


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["show", "2026"], "There are 4 runs '2026'; choose one that list shows."),
        (["show", "nothing"], "There is no run 'nothing'; choose one that list shows."),
        (["compare", "2026-01-01", "2026-11-20"], "is no record of a run"),
        (["list", "--last", "0"], "'0' is no number of runs"),
        (["list", "--last", "x"], "'x' is no number of runs"),
        ([], "Invalid arguments"),
    ],
)
def test_a_mistake_is_one_sentence(
    runs: str, arguments: list[str], sentence: str
) -> None:
    process = run_here("pipeline.runs", runs, *arguments)
    assert process.returncode == 1 and process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert sentence in line


def test_a_bucket_without_records_says_so(bucket: str) -> None:
    process = run_here("pipeline.runs", bucket, "list")
    assert process.returncode == 1
    assert f"no record of a run in s3://{bucket}/runs/" in process.stderr


@pytest.mark.process
def test_a_reader_that_has_seen_enough_ends_it_without_a_traceback(runs: str) -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "pipeline.runs", runs, "list"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert process.stderr == ""
