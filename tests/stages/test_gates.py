"""What must not go live does not, and what is good is not held up: by the stage itself.

Each test starts from a bucket with a good week of 1,000 orders and the model of it.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from pandas import DataFrame, concat
from types_boto3_s3 import S3Client

from pipeline import aws, deliveries
from pipeline.estimator import read_curves, read_knowledge, read_products
from pipeline.records import Outcome, read_records
from pipeline.train_model import HYPERPARAM_GRID, main
from sandbox.orders import make_products, make_week
from sandbox.s3_server import make_bucket
from tests.programs import run_here

pytestmark = [pytest.mark.once, pytest.mark.process]

NOW = datetime.now(UTC).replace(microsecond=0)
LAST_WEEK = NOW - timedelta(days=7)
GOOD_WEEK = make_week(rows=1000, seed=1)

Spoil = Callable[[DataFrame], DataFrame]


def deliver(bucket: str, week: DataFrame, at: datetime = NOW) -> str:
    location = aws.put_csv_dataset_to_s3(
        week, "time_to_dispatch", at, bucket, "datasets"
    )
    return location.removeprefix(f"{bucket}/")


def train(bucket: str, *options: str) -> tuple[int, list[str]]:
    """Run the stage; returns its exit code and its log, but for the line of its record,
    which says the same."""
    stage = run_here("pipeline.train_model", bucket, "0.8", "0.9", *options)
    assert stage.stderr == ""
    assert "Traceback" not in stage.stdout
    log = stage.stdout.splitlines()
    (line,) = [each for each in log if "Recorded this run in s3://" in each]
    log.remove(line)
    (found,) = read_records(bucket, 1)
    record = found.record
    assert record is not None and found.key in line
    is_refused = record.outcome is Outcome.REFUSED
    assert is_refused == (stage.returncode == 1)
    assert not is_refused or log[-1].endswith(f" - {record.reason}")
    warned = [each.split(" - ", 3)[3] for each in log[:-1] if " - WARNING - " in each]
    assert set(warned) <= set(record.warnings)
    return stage.returncode, log


@pytest.fixture(scope="module")
def trained(s3_environment: dict[str, str]) -> Iterator[str]:
    """A bucket with a good week and its model, to be copied."""
    name = f"test-{uuid4()}"
    make_bucket(name)
    deliver(name, GOOD_WEEK, LAST_WEEK)
    main(name, 0.8, 0.9, HYPERPARAM_GRID)
    yield name


@pytest.fixture
def served(trained: str, s3: S3Client, bucket: str) -> str:
    for item in s3.list_objects_v2(Bucket=trained)["Contents"]:
        source: Any = {"Bucket": trained, "Key": item["Key"]}
        s3.copy_object(CopySource=source, Bucket=bucket, Key=item["Key"])
    return bucket


def newest(bucket: str) -> aws.Model:
    return aws.get_latest_pkl_model_from_s3(bucket, "models")


def count_models(bucket: str) -> int:
    return len(aws.list_artefacts_on_s3("pkl", bucket, "models"))


def next_week(seed: int = 2, **options: Any) -> DataFrame:
    return make_week(rows=1000, seed=seed, **options)


def scale(factor: float, product: str = "") -> Spoil:
    def spoil(week: DataFrame) -> DataFrame:
        hit = week["product_code"].str.startswith(product)
        hours = week["hours_to_dispatch"]
        return week.assign(hours_to_dispatch=hours.where(~hit, hours * factor))

    return spoil


def mistype(rows: int, factor: float) -> Spoil:
    def spoil(week: DataFrame) -> DataFrame:
        slow = week[week["product_code"] == "SKU005"]
        hours = week["hours_to_dispatch"].copy()
        hours[slow["orders_placed"].nlargest(rows).index] *= factor
        return week.assign(hours_to_dispatch=hours)

    return spoil


def rename(old: str, new: str, share: float = 1.0) -> Spoil:
    def spoil(week: DataFrame) -> DataFrame:
        codes = week["product_code"]
        hit = (codes == old) & (week.index < share * len(week))
        return week.assign(product_code=codes.where(~hit, new))

    return spoil


REFUSED: dict[str, tuple[Spoil, list[str]]] = {
    "minutes": (
        scale(60),
        ["column hours_to_dispatch", "; SKU005 ", "which looks like minutes"],
    ),
    "days": (scale(1 / 24), ["SKU005 0.04", "which looks like days"]),
    "one product x 10": (
        scale(10, "SKU003"),
        [" on: SKU003 ", " times, which looks like hours", "one place too far right"],
    ),
    "1e160": (scale(1e160), ["column hours_to_dispatch", "line 2"]),
    "many mistyped": (
        mistype(11, 100),
        ["column hours_to_dispatch: 11 of 1000 rows are far from", "line "],
    ),
    "copies": (
        lambda week: concat([week[:120]] * 10),
        ["of its 1200 rows 10", "repeat another one, the first in line 122"],
    ),
    "half a week": (
        lambda week: week[week["product_code"].isin(["SKU001", "SKU002"])],
        ["SKU003, SKU004, SKU005", "it is half a week"],
    ),
    "another spelling": (
        rename("SKU001", "sku001", 0.1),
        ["sku001 in line ", "is likely meant to be SKU001"],
    ),
    "a look-alike": (
        rename("SKU001", "SKU0O1"),
        ["SKU0O1 in line ", "is likely meant to be SKU001"],
    ),
    "noise": (
        lambda week: week.assign(
            product_code=np.random.default_rng(0).permutation(week["product_code"])
        ),
        ["r-squared metric (0.", "is below deployment threshold 0.8"],
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_it_is_refused_and_the_model_in_service_stays(served: str, fault: str) -> None:
    spoil, sentences = REFUSED[fault]
    before = newest(served)
    key = deliver(served, spoil(next_week()))
    exit_code, log = train(served)
    assert exit_code == 1
    assert " - ERROR - " in log[-1]
    assert not [sentence for sentence in sentences if sentence not in log[-1]], log[-1]
    assert key in log[-1]
    assert newest(served) == before and count_models(served) == 1


def test_a_short_week_is_learnt_where_it_joins_others_alone(served: str) -> None:
    deliver(served, next_week()[:110])
    exit_code, log = train(served, "--fresh")
    assert exit_code == 1
    assert "too few orders to judge by" in log[-1] and "the one in service" in log[-1]
    exit_code, log = train(served)
    assert exit_code == 0, log[-1]
    known = read_knowledge(newest(served))
    assert known is not None
    assert {each.weeks for each in known.values()} == {2}


def test_products_that_were_mixed_up_are_refused_whatever_the_threshold(
    served: str,
) -> None:
    """Orders placed alone explain three quarters of the hours."""
    week = next_week()
    codes = np.random.default_rng(0).permutation(week["product_code"])
    deliver(served, week.assign(product_code=codes))
    with pytest.raises(RuntimeError, match="products of s3:.* are likely mixed up"):
        main(served, 0.5, 0.6, HYPERPARAM_GRID)
    assert count_models(served) == 1


@pytest.mark.parametrize("factor", [0.5, 1.5, 2.0])
def test_another_world_is_learnt(served: str, factor: float) -> None:
    deliver(served, scale(factor)(next_week()))
    exit_code, log = train(served)
    assert exit_code == 0, log[-1]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_few_mistyped_rows_are_set_aside_and_named(served: str, rows: int) -> None:
    week = mistype(rows, 100)(next_week())
    deliver(served, week)
    exit_code, log = train(served)
    assert exit_code == 0
    told = next(line for line in log if "Set aside" in line)
    assert f"Set aside {rows} of 1000 rows, which nothing explains: line " in told
    for row in week.index[week["hours_to_dispatch"] > 500]:
        took = f"took {week['hours_to_dispatch'][row]:g} hours, expected about "
        assert f"line {row + 2}: SKU005 at " in told and took in told
    curves = read_curves(newest(served))
    assert max(curve(300) for curve in curves.values()) < 60
    assert " - WARNING - " in log[-1] and "Model serialised and persisted" in log[-1]


def test_what_is_no_number_never_passes(served: str) -> None:
    week = next_week()
    hours = week["hours_to_dispatch"].to_numpy().copy()
    hours[np.random.default_rng(1).integers(1000, size=5)] = 1e200
    deliver(served, week.assign(hours_to_dispatch=hours))
    exit_code, log = train(served)
    assert exit_code == 0
    metadata = newest(served).metadata
    assert metadata is not None
    json.dumps(metadata, allow_nan=False)
    assert metadata["rows_set_aside"] == 5
    assert metadata["r_squared"] > 0.95


def test_the_first_week_in_another_unit_is_refused(bucket: str) -> None:
    deliver(bucket, scale(3600)(next_week()))
    exit_code, log = train(bucket)
    assert exit_code == 1
    assert "rows are far from what others of their product say (line" in log[-1]


def test_an_operator_accepts_a_shift_of_one_delivery(served: str) -> None:
    key = deliver(served, scale(4)(next_week()))
    exit_code, log = train(served, "--accept-shift", "datasets/other.csv")
    assert exit_code == 1
    assert any("no shift of it is accepted" in line for line in log)
    exit_code, log = train(served, "--accept-shift", key)
    assert exit_code == 0, log
    assert any("Accepted a shift: column hours_to_dispatch" in line for line in log)
    metadata = newest(served).metadata
    assert metadata is not None and metadata["accepted_shift"] == key
    assert metadata["accepted_shifts"]["SKU005"] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_the_same_orders_again_are_never_worse(served: str, order: str) -> None:
    again = GOOD_WEEK.sort_values("orders_placed")
    if order == "shuffled":
        again = GOOD_WEEK.sample(frac=1, random_state=1)
    deliver(served, again)
    exit_code, log = train(served)
    assert exit_code == 0, log[-1]
    assert not any("worse" in line for line in log)


def test_a_slower_world_is_learnt_with_a_warning(served: str) -> None:
    deliver(served, next_week(slowdown=1.25))
    exit_code, log = train(served)
    assert exit_code == 0
    told = next(line for line in log if "worse than its model promised" in line)
    assert " - WARNING - " in told and "hours on the 1000 orders" in told
    metadata = newest(served).metadata
    assert metadata is not None
    assert metadata["service_error"]["mean_absolute_error"] > 1.5
    # If it was the delivery and not the world, nothing of it stays.
    deliver(served, next_week(seed=3), NOW + timedelta(minutes=1))
    exit_code, log = train(served)
    assert exit_code == 0
    told = next(line for line in log if "Last week was likely a bad one" in line)
    assert " - WARNING - " in told and "SKU001, SKU002, SKU003, SKU004, SKU005" in told
    assert any("of up to 2 weeks, of 5 products." in line for line in log)


def test_a_new_product_is_learnt_and_a_rare_one_set_aside(served: str) -> None:
    week = next_week(hours_per_order=make_products(6))
    rare = week[:7].assign(product_code="SKU777")
    deliver(served, concat([week, rare]))
    exit_code, log = train(served)
    assert exit_code == 0, log[-1]
    assert any("learnt for the first time: SKU006." in line for line in log)
    assert any("Set aside 7 rows of SKU777: unknown" in line for line in log)
    assert set(read_curves(newest(served))) == set(make_products(6))


def test_a_product_that_is_gone_keeps_its_estimates(served: str) -> None:
    before = newest(served)
    week = next_week()
    deliver(served, week[week["product_code"] != "SKU002"])
    exit_code, log = train(served)
    assert exit_code == 0, log[-1]
    assert any("Too few orders of SKU002: the estimates" in line for line in log)
    after = newest(served)
    for orders in (0, 50, 112.5, 300):
        expected = read_curves(before)["SKU002"](orders)
        assert read_curves(after)["SKU002"](orders) == expected
    kept = read_products(after)["SKU002"]
    assert kept.is_kept and kept.learnt_from == before.train_dataset_key
    # And once more, from the model that kept it.
    week = next_week(seed=3)
    deliver(served, week[week["product_code"] != "SKU002"], NOW + timedelta(minutes=1))
    exit_code, log = train(served)
    assert exit_code == 0, log[-1]
    assert read_products(newest(served))["SKU002"] == kept


def test_other_files_are_passed_over_and_named(served: str, s3: S3Client) -> None:
    week = next_week()
    key = deliver(served, week, NOW - timedelta(minutes=10))
    at = f"{NOW:%Y-%m-%dT%H:%M:%S}"
    foreign = {
        f"datasets/backup/copy_{at}.csv": "is in a subfolder",
        f"datasets/weather_{at}.csv": "it lacks the columns hours_to_dispatch",
        f"datasets/notes_{at}.csv": "is no delivery",
        "datasets/time_to_dispatch_21-11-2026.csv": "has no timestamp",
        f"datasets/time_to_dispatch_{at}.xlsx": "is .xlsx, not .csv or .parquet",
        "datasets/time_to_dispatch_2999-01-01.csv": "is dated in the future",
    }
    contents = {"weather": b"day,rain\n1,2\n", "notes": b"\xff\xfe\x00"}
    for name in foreign:
        [content] = [contents[k] for k in contents if k in name] or [
            week.to_csv(index=False).encode()
        ]
        s3.put_object(Bucket=served, Key=name, Body=content)
    exit_code, log = train(served)
    assert exit_code == 0, log[-1]
    [told] = [line for line in log if "Passed over, though newer than" in line]
    assert " - WARNING - " in told
    for name, reason in foreign.items():
        after = told.partition(f"s3://{served}/{name} ")[2]
        assert after.split("; s3://")[0].find(reason) >= 0, (name, told)
    assert newest(served).train_dataset_key == key


def test_nothing_to_do_is_told_in_one_line(served: str) -> None:
    exit_code, log = train(served, "--only-if-new")
    assert exit_code == 0
    assert "Nothing to do: a model was trained on" in log[-1]
    assert count_models(served) == 1
    deliver(served, next_week())
    exit_code, log = train(served, "--only-if-new")
    assert exit_code == 0 and "Model serialised and persisted" in log[-1]
    exit_code, log = train(served, "--only-if-new")
    assert exit_code == 0 and "Nothing to do" in log[-1]


def test_a_dry_run_does_all_but_persist(served: str) -> None:
    deliver(served, next_week())
    exit_code, log = train(served, "--dry-run")
    assert exit_code == 0
    assert any("Compared with the champion" in line for line in log)
    assert "Dry run: the model is good, and was not persisted" in log[-1]
    assert count_models(served) == 1


def test_an_ordinary_run_ends_with_one_line_that_says_what_came_out(
    served: str,
) -> None:
    deliver(served, next_week())
    exit_code, log = train(served)
    assert exit_code == 0
    assert not any("WARNING" in line for line in log)
    assert " - INFO - " in log[-1]
    assert f"persisted to s3://{served}/models/time-to-dispatch_" in log[-1]
    assert sum("rift" in line for line in log) == 1


@pytest.mark.parametrize(
    "file", ["99930f9-first-unsigned.pkl", "99930f9-plain-tree-without-metadata.pkl"]
)
def test_a_product_that_is_gone_keeps_its_estimates_of_an_older_model(
    bucket: str, s3: S3Client, file: str
) -> None:
    content = (Path(__file__).parents[1] / "published_models" / file).read_bytes()
    key = f"models/time-to-dispatch_{LAST_WEEK:%Y-%m-%dT%H:%M:%S}.pkl"
    s3.put_object(Bucket=bucket, Key=key, Body=content)
    before = newest(bucket)
    week = next_week()
    deliver(bucket, week[week["product_code"] != "SKU002"])
    exit_code, log = train(bucket)
    assert exit_code == 0, log[-1]
    kept = read_products(newest(bucket))["SKU002"]
    assert kept.is_kept and kept.learnt_at == before.creation_time
    curves = read_curves(newest(bucket))
    for orders in (0, 1, 50, 300):
        assert curves["SKU002"](orders) == read_curves(before)["SKU002"](orders)


def test_a_delivery_that_is_replaced_while_it_is_read_is_read_again(
    served: str, s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = deliver(served, next_week(seed=3))
    read = aws.get_dataset
    corrected = next_week().to_csv(index=False).encode()

    def replace_and_read(artefact: aws.S3TimestampedArtefact) -> aws.Dataset:
        monkeypatch.setattr(aws, "get_dataset", read)
        s3.put_object(Bucket=served, Key=key, Body=corrected)
        return read(artefact)

    monkeypatch.setattr(aws, "get_dataset", replace_and_read)
    exit_code, log = train(served)
    assert exit_code == 0, log[-1]
    assert newest(served).train_dataset_hash == sha256(corrected).hexdigest()


def put_folder(s3: S3Client, bucket: str, week: DataFrame) -> str:
    """Deliver a week as Spark writes it, but for the mark that it is complete."""
    key = f"datasets/time_to_dispatch_{NOW:%Y-%m-%dT%H-%M-%S}.parquet"
    for number, part in enumerate((week[:300], week[300:301], week[301:])):
        content = part.to_parquet(index=False)
        name = f"part-{number:05}-c000.snappy.parquet"
        s3.put_object(Bucket=bucket, Key=f"{key}/{name}", Body=content)
    return key


def test_a_folder_of_parquet_is_learnt_from_when_it_is_complete(
    served: str, s3: S3Client, capsys: pytest.CaptureFixture[str]
) -> None:
    before = newest(served).train_dataset_key
    key = put_folder(s3, served, next_week())
    exit_code, log = train(served, "--only-if-new")
    assert exit_code == 0 and "Nothing to do" in log[-1]
    [told] = [line for line in log if "Passed over, though newer than" in line]
    assert told.endswith(
        f" - WARNING - recognition.look_for_delivery - Passed over, though newer than "
        f"s3://{served}/{before}: s3://{served}/{key}/ has no _SUCCESS in it, so that "
        "parts may be missing."
    )
    s3.put_object(Bucket=served, Key=f"{key}/_SUCCESS", Body=b"")
    assert deliveries.main(["newest", served]) == 0
    assert capsys.readouterr().out == f"{NOW.isoformat()} {key}\n"
    exit_code, log = train(served, "--only-if-new")
    assert exit_code == 0, log[-1]
    model = newest(served)
    assert model.train_dataset_key == key
    assert model.train_dataset_hash == aws.get_dataset_from_s3(served, key).hash
    # And the next week is compared with it.
    exit_code, log = train(served, "--only-if-new")
    assert exit_code == 0 and "Nothing to do" in log[-1]
    deliver(served, next_week(seed=3), NOW + timedelta(minutes=1))
    exit_code, log = train(served)
    assert exit_code == 0 and any("Drift: none of 10" in line for line in log)


def test_a_folder_of_parquet_is_refused_by_its_rows(
    served: str, s3: S3Client
) -> None:
    week = next_week()
    week.loc[302, "orders_placed"] = -1
    key = put_folder(s3, served, week)
    s3.put_object(Bucket=served, Key=f"{key}/_SUCCESS", Body=b"")
    exit_code, log = train(served)
    assert exit_code == 1
    assert (
        f"Delivery s3://{served}/{key} refused: column orders_placed: 1 row is "
        "negative (-1), the first in row 303; correct"
    ) in log[-1]
