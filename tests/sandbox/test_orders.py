"""The generated weeks, and the command that delivers one."""

import subprocess
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from pipeline import aws
from pipeline.gates.delivery import check_delivery
from pipeline.orders import HOURS_TO_DISPATCH, ORDERS_PLACED, PRODUCT_CODE
from sandbox.orders import HOURS_PER_ORDER, make_products, make_week
from tests.programs import run_here

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]


def run_command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return run_here("sandbox.orders", *arguments, **settings)


def test_weeks_look_like_the_real_one() -> None:
    week = make_week(rows=100_000, seed=1)
    assert list(week) == [HOURS_TO_DISPATCH, ORDERS_PLACED, PRODUCT_CODE]

    orders = week[ORDERS_PLACED]
    assert orders.min() == 0 and (orders == orders.round()).all()
    assert orders.median() == pytest.approx(62, abs=1)
    assert np.sqrt((orders**2).mean()) == pytest.approx(92, abs=1)

    shares = week[PRODUCT_CODE].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx(
        {f"SKU00{number}": 0.2 for number in range(1, 6)}, abs=0.01
    )
    # Far from the cut at 0 hours.
    for code, slope in zip(sorted(shares.index), [0.075, 0.1, 0.125, 0.15, 0.175]):
        busy = week[(week[PRODUCT_CODE] == code) & (orders > 100)]
        noise = busy[HOURS_TO_DISPATCH] - slope * busy[ORDERS_PLACED]
        assert noise.mean() == pytest.approx(0, abs=0.05)
        assert noise.std() == pytest.approx(1, abs=0.05)
    assert week[HOURS_TO_DISPATCH].min() == 0


def test_the_seed_decides_the_week() -> None:
    assert_frame_equal(make_week(rows=500, seed=7), make_week(rows=500, seed=7))
    assert not make_week(rows=500, seed=7).equals(make_week(rows=500, seed=8))


def test_a_seed_makes_the_week_that_it_always_made() -> None:
    csv = make_week(rows=1000, seed=1).to_csv(index=False, float_format="%.9f")
    assert sha256(csv.encode()).hexdigest() == (
        "54e551d103001dceba5a3dafcf7a1c26851f76cee4ad97df27a077e436231a98"
    )


def test_products_stay_what_they_are_when_others_join() -> None:
    few, many = make_products(3), make_products(5000)
    assert list(few.items()) == list(many.items())[:3]
    assert len(many) == 5000 and len(set(many.values())) == 5000
    slopes = np.array(list(many.values()))
    assert slopes.min() == 0.075 and slopes.max() == 0.175
    assert slopes.mean() == pytest.approx(0.125, abs=0.001)
    assert abs(np.corrcoef(slopes, np.arange(5000))[0, 1]) < 0.01


def test_each_of_thousands_of_products_can_have_as_many_orders() -> None:
    products = make_products(5000)
    week = make_week(rows=100_000, seed=1, hours_per_order=products, equal_shares=True)
    assert week[PRODUCT_CODE].value_counts().to_dict() == dict.fromkeys(products, 20)
    # The rows are in no order.
    assert week[PRODUCT_CODE].head(100).nunique() > 50
    assert week[PRODUCT_CODE].head(100).tolist() != list(products)[:100]


def test_a_week_can_be_busy_slow_and_noisy() -> None:
    usual = make_week(rows=100_000, seed=1)
    quiet = make_week(rows=100_000, seed=1, noise_hours=0)
    assert quiet[HOURS_TO_DISPATCH].tolist() == (
        usual[PRODUCT_CODE].map(HOURS_PER_ORDER) * usual[ORDERS_PLACED]
    ).tolist()
    busy = make_week(rows=100_000, seed=1, orders_placed_scale=184, noise_hours=0)
    assert busy[ORDERS_PLACED].mean() == pytest.approx(
        2 * usual[ORDERS_PLACED].mean(), rel=0.001
    )
    slow = make_week(rows=100_000, seed=1, slowdown=1.25, noise_hours=0)
    assert slow[HOURS_TO_DISPATCH].to_numpy() == pytest.approx(
        1.25 * quiet[HOURS_TO_DISPATCH].to_numpy()
    )


@pytest.mark.parametrize("seed", range(20))
def test_weeks_are_valid_deliveries(seed: int) -> None:
    week = make_week(rows=300, seed=seed)
    assert len(check_delivery(week, "s3://bucket/week.csv")) == 300


@pytest.mark.process
def test_the_command_delivers_what_it_was_told_to(bucket: str) -> None:
    process = run_command(
        *("--rows", "30", "--seed", "7", "--products", "6"),
        *("--at", "2021-07-03T01:00:00+02:00"),
        *("--to", f"s3://{bucket}/datasets/"),
    )
    key = "datasets/time_to_dispatch_2021-07-02T23:00:00.csv"
    assert process.stdout == f"Delivered 30 orders to s3://{bucket}/{key}\n"
    assert (process.returncode, process.stderr) == (0, "")

    delivered = aws.get_latest_csv_dataset_from_s3(bucket, "datasets")
    assert delivered.key == key
    six = make_week(rows=30, seed=7, hours_per_order=make_products(6))
    assert_frame_equal(delivered.data, six)
    assert "SKU006" in set(six[PRODUCT_CODE])


def test_the_command_delivers_under_the_present_time(bucket: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    assert run_command("--to", f"s3://{bucket}").returncode == 0
    delivered = aws.find_latest_artefact_on_s3("csv", bucket)
    assert before <= delivered.timestamp <= datetime.now(UTC)
    assert delivered.key.startswith("time_to_dispatch_")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "--to"),
        (["--to", "datasets"], "'datasets' is not like s3://BUCKET/FOLDER/"),
        (["--to", "s3:///datasets"], "is not like s3://BUCKET/FOLDER/"),
        (["--to", "s3://b", "--rows", "0"], "'0' is not a whole number from 1 to"),
        (["--to", "s3://b", "--rows", "many"], "'many' is not a whole number"),
        (["--to", "s3://b", "--rows", "1e3"], "'1e3' is not a whole number"),
        (["--to", "s3://b", "--products", "0"], "'0' is not a whole number from 1 to"),
        (["--to", "s3://b", "--seed", "-1"], "'-1' is not a whole number from 0 to"),
        (["--to", "s3://b", "--at", "Friday"], "'Friday' is not a time like"),
        (["--to", "s3://no-such-bucket/datasets"], "check the bucket's name"),
    ],
    ids=str,
)
def test_bad_arguments_get_one_sentence(arguments: list[str], fault: str) -> None:
    process = run_command(*arguments)
    assert process.returncode == 1
    assert process.stdout == ""
    assert fault in process.stderr and process.stderr.count("\n") == 1


def test_an_unreachable_s3_gets_one_sentence() -> None:
    process = run_command(
        *("--to", "s3://bucket/datasets/"),
        AWS_ENDPOINT_URL="http://127.0.0.1:1",
        AWS_MAX_ATTEMPTS="1",
    )
    assert process.returncode == 1
    assert process.stderr.startswith("Could not write s3://bucket/datasets/")
    assert process.stderr.count("\n") == 1


def test_a_delivery_is_not_overwritten(bucket: str) -> None:
    def deliver(seed: str) -> subprocess.CompletedProcess[str]:
        return run_command(
            *("--seed", seed, "--at", "2021-07-02T23:00:00"),
            *("--to", f"s3://{bucket}"),
        )

    assert deliver("1").returncode == 0
    second = deliver("2")
    assert second.returncode == 1
    assert "already exists with other content" in second.stderr
    delivered = aws.get_latest_csv_dataset_from_s3(bucket)
    assert_frame_equal(delivered.data, make_week(rows=1000, seed=1))
