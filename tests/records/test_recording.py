"""A record of each run, whatever comes out, and one message for those worth one."""

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from math import inf, isnan, nan
from pathlib import Path

import pytest
from pandas import DataFrame
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.records import (
    ALERT_URLS,
    REPORT_URLS,
    Metrics,
    Outcome,
    RunRecord,
    Scores,
    Thresholds,
    add_record,
    read_records,
)
from pipeline.train_model import main
from sandbox.orders import make_week
from tests.programs import run_here
from tests.records.webhook import Webhook

pytestmark = [pytest.mark.once, pytest.mark.process]

NOW = datetime.now(UTC).replace(microsecond=0)
GRID = {"random_state": [42], "max_depth": [8], "min_samples_leaf": [5]}
KEY = "0123456789abcdef" * 4


def deliver(bucket: str, week: DataFrame, days_ago: float = 7) -> str:
    location = aws.put_csv_dataset_to_s3(
        week, "time_to_dispatch", NOW - timedelta(days=days_ago), bucket, "datasets"
    )
    return location.removeprefix(f"{bucket}/")


def newest_record(bucket: str) -> RunRecord:
    (found,) = read_records(bucket, 1)
    assert found.record is not None, found.refusal
    return found.record


def test_a_good_run_and_the_next_are_recorded_whole(bucket: str) -> None:
    first_key = deliver(bucket, make_week(400, seed=1), 8)
    main(bucket, 0.5, 0.6, GRID)
    first = newest_record(bucket)
    assert first.outcome is Outcome.PUBLISHED and first.reason == ""
    assert first.model_in_service is None and first.comparison is None
    assert first.delivery is not None and first.delivery.key == first_key
    assert first.delivery.rows == 400 == sum(first.delivery.orders_by_product.values())

    week = make_week(900, seed=2)
    week.loc[7, "hours_to_dispatch"] = 5000.0
    key = deliver(bucket, week, 1)
    main(bucket, 0.5, 0.6, GRID)
    record = newest_record(bucket)
    model = aws.get_latest_pkl_model_from_s3(bucket, "models")
    assert model.metadata is not None

    assert record.outcome is Outcome.PUBLISHED
    assert record.pipeline == "time-to-dispatch" and record.commit == "NA"
    assert (record.thresholds.error, record.thresholds.warning) == (0.5, 0.6)
    delivery = record.delivery
    assert delivery is not None and delivery.key == key == model.train_dataset_key
    assert delivery.hash == model.train_dataset_hash
    assert (delivery.rows, delivery.rows_learnt_from) == (900, 899)
    (row,) = delivery.set_aside
    assert (row.line, row.hours) == (9, 5000.0)
    (warning,) = [each for each in record.warnings if "Set aside" in each]
    assert "line 9" in warning

    answer, tree = record.metrics.answer, record.metrics.tree
    assert answer is not None and tree is not None
    assert answer.r_squared == model.metadata["r_squared"]
    assert answer.mean_absolute_error == model.metadata["mean_absolute_error"]
    assert tree.r_squared == model.metadata["tree"]["r_squared"] != answer.r_squared
    alone = record.metrics.projection
    assert alone is not None
    assert alone.model_dump() == model.metadata["projection"]
    assert tree.r_squared < alone.r_squared < answer.r_squared
    scored = record.metrics.cross_validated_r_squared
    assert scored == model.metadata["cross_validated_r_squared"]

    champion = record.model_in_service
    assert champion is not None and champion.delivery_key == first_key
    assert first.metrics.answer is not None and first.model is not None
    assert champion.error_at_birth == first.metrics.answer.mean_absolute_error
    assert champion.version == first.model.version
    assert champion.error_on_delivery is not None and champion.orders_scored == 899
    assert record.comparison is not None and record.comparison.outcome == "passed"
    assert record.drift is not None and len(record.drift) == 10

    assert record.model is not None
    newest = aws.find_latest_artefact_on_s3("pkl", bucket, "models")
    assert (record.model.key, record.model.version) == (newest.key, str(model))
    assert record.model.hyperparameters["max_depth"] == 8
    assert [*record.seconds] == [
        *("read", "examine", "train", "learn on", "check", "publish", "end")
    ]
    assert record.versions["scikit-learn"] and record.versions["python"]
    assert record.memory_peak_bytes is not None and record.memory_peak_bytes > 2**26


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no /proc")
def test_memory_is_that_of_the_run_and_not_of_who_started_it() -> None:
    asked = "from pipeline.records import recorder as r; print(r.measure_memory_peak())"
    program = f"[sys.executable, '-c', {asked!r}]"
    large = f"bytearray(2**29); os.execv(sys.executable, {program})"
    peak = subprocess.run(
        [sys.executable, "-c", f"import os, sys; {large}"],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        check=True,
    ).stdout
    assert 2**24 < int(peak) < 2**28


def test_a_refused_model_is_recorded_with_what_it_was_refused_for(bucket: str) -> None:
    deliver(bucket, make_week(400, seed=1))
    with pytest.raises(RuntimeError) as refusal:
        main(bucket, 0.999, 1.0, GRID)
    record = newest_record(bucket)
    assert record.outcome is Outcome.REFUSED and record.reason == str(refusal.value)
    assert record.metrics.answer is not None and record.metrics.answer.r_squared < 0.999
    assert record.model is None


@pytest.mark.parametrize(
    "content, outcome, reason",
    [
        (b"", Outcome.REFUSED, "it is empty"),
        (b"a,b\n1,2\n", Outcome.REFUSED, "product_code is missing"),
        (None, Outcome.FAILED, "No delivery found"),
    ],
)
def test_a_run_that_never_trained_is_recorded(
    bucket: str, content: bytes | None, outcome: Outcome, reason: str
) -> None:
    name = aws.make_timestamped_filename("time_to_dispatch", NOW, "csv")
    if content is not None:
        aws.put_object_to_s3(content, bucket, "datasets", name)
    assert run_here("pipeline.train_model", bucket, "0.8", "0.9").returncode == 1
    record = newest_record(bucket)
    assert record.outcome is outcome and reason in record.reason
    assert (record.delivery is None) == (content is None)
    assert record.delivery is None or record.delivery.key == f"datasets/{name}"


def test_what_nobody_foresaw_is_recorded_as_failed(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(bucket, make_week(400, seed=1))
    with pytest.raises(ValueError, match="max_depht"):
        main(bucket, 0.5, 0.6, {"max_depht": [3]})
    record = newest_record(bucket)
    assert record.outcome is Outcome.FAILED and "max_depht" in record.reason


def test_a_run_that_is_ended_leaves_a_record_and_tells_nobody(
    bucket: str, monkeypatch: pytest.MonkeyPatch, webhook: Webhook
) -> None:
    monkeypatch.setenv(ALERT_URLS, webhook.url)
    deliver(bucket, make_week(400, seed=1))
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.train_model", bucket, "0.5", "0.6"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Retrieved dataset" in line:
                process.send_signal(signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    record = newest_record(bucket)
    assert (record.outcome, record.reason) == (
        Outcome.FAILED,
        "It was ended by a signal.",
    )
    assert record.message == "" and not webhook.posted
    assert not aws.list_artefacts_on_s3("pkl", bucket, "models")


def test_records_are_signed_and_others_are_not_believed(
    bucket: str, s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_SIGNING_KEY", KEY)
    deliver(bucket, make_week(400, seed=1))
    main(bucket, 0.5, 0.6, GRID)
    (genuine,) = read_records(bucket)
    content = s3.get_object(Bucket=bucket, Key=genuine.key)["Body"].read()
    forged = {
        "runs/time-to-dispatch_2026-01-01T00:00:00.json": content,
        "runs/time-to-dispatch_2026-01-02T00:00:00.json": b"{}",
        "runs/time-to-dispatch_2026-01-03T00:00:00.json": b"\xff",
    }
    for key, body in forged.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    found = read_records(bucket)
    assert [each.key for each in found] == [genuine.key, *sorted(forged, reverse=True)]
    assert found[0].record is not None
    for each in found[1:]:
        assert each.record is None and "does not verify: it is not signed" in (
            each.refusal
        )
    monkeypatch.delenv("MODEL_SIGNING_KEY")
    refusals = [each.refusal for each in read_records(bucket)]
    assert ["is no record of a run" in each for each in refusals] == [
        False,
        True,
        True,
        False,
    ]


def test_a_record_of_a_later_release_with_more_in_it_is_read(bucket: str) -> None:
    deliver(bucket, make_week(400, seed=1))
    main(bucket, 0.5, 0.6, GRID)
    record = newest_record(bucket).model_dump(mode="json") | {"another": 1}
    assert RunRecord.model_validate(record).outcome is Outcome.PUBLISHED


def test_a_record_with_a_score_that_is_no_number_is_read(bucket: str) -> None:
    record = RunRecord(
        pipeline="time-to-dispatch",
        outcome=Outcome.REFUSED,
        started=NOW,
        thresholds=Thresholds(error=0.8, warning=0.9),
        metrics=Metrics(answer=Scores(r_squared=nan, mean_absolute_error=inf)),
    )
    add_record(bucket, record)
    answer = newest_record(bucket).metrics.answer
    assert answer is not None and isnan(answer.r_squared)
    assert answer.mean_absolute_error == inf


def test_one_message_for_each_run_that_is_worth_one(
    bucket: str, monkeypatch: pytest.MonkeyPatch, webhook: Webhook
) -> None:
    monkeypatch.setenv(ALERT_URLS, webhook.url)
    monkeypatch.setenv("REPORTS_ADDRESS", "https://reports.example/weeks/")

    def train(expected: str) -> str:
        webhook.posted.clear()
        run_here("pipeline.train_model", bucket, "0.5", "0.6")
        record = newest_record(bucket)
        assert record.message == expected
        if not expected:
            assert not webhook.posted
            return ""
        (posted,) = webhook.posted
        assert posted["title"] == expected
        name = read_records(bucket, 1)[0].name.removesuffix(".json")
        body = str(posted["message"])
        assert body.endswith(f"More: https://reports.example/weeks/{name}.html")
        return body

    good = "time-to-dispatch: a new model is published"
    refused = "time-to-dispatch: refused, the model in service stays"
    deliver(bucket, make_week(600, seed=1), 7)
    train("")
    spoilt = make_week(600, seed=2)
    deliver(bucket, spoilt.assign(hours_to_dispatch=-1.0), 4)
    assert "600 rows are negative" in train(refused)
    assert "600 rows are negative" in train(refused)
    deliver(bucket, make_week(600, seed=3), 3)
    assert "r-squared 0.9" in train(f"{good} again")
    # It learns the same again, and warns of that.
    assert "Nothing new has arrived" in train(f"{good}, with 1 warning")

    monkeypatch.setenv(REPORT_URLS, webhook.url)
    deliver(bucket, make_week(600, seed=4), 2)
    webhook.posted.clear()
    run_here("pipeline.train_model", bucket, "0.5", "0.6")
    (posted,) = webhook.posted
    assert posted["title"] == good and "no large drift" in str(posted["message"])
    webhook.posted.clear()
    deliver(bucket, make_week(600, seed=5), 1)
    run_here("pipeline.train_model", bucket, "0.5", "0.6", "--dry-run")
    assert not webhook.posted and newest_record(bucket).outcome is Outcome.DRY_RUN


def test_a_channel_that_is_down_changes_nothing_else(
    bucket: str, monkeypatch: pytest.MonkeyPatch, webhook: Webhook
) -> None:
    monkeypatch.setenv(ALERT_URLS, webhook.url)
    webhook.status = 500
    process = run_here("pipeline.train_model", bucket, "0.5", "0.6")
    assert process.returncode == 1
    last = process.stdout.splitlines()[-3:]
    assert "Recorded this run" in last[0]
    assert "Channel 1 of 1 in ALERT_URLS was not told" in last[1]
    assert " - ERROR - " in last[2] and "No delivery found" in last[2]
