"""What fails on the way to S3 costs a run at most, as docs/reliability.md says."""

import os
from threading import Barrier

import pytest

from tests.stages import s3_proxy
from tests.stages.faults import (
    LOG,
    PAGE,
    TABLES,
    WRITE,
    Fault,
    Run,
    contents,
    find_rows,
    make_bucket_with_champion,
    run_under,
    tell_change,
    tell_fault,
    tell_row,
)
from tests.stages.s3_proxy import Request, run_s3_proxy

pytestmark = pytest.mark.once

REMEDY = "write the page anew: python -m tests.stages.faults"
FAULTS = [(name, fault) for name, table in TABLES.items() for fault in table]


@pytest.mark.parametrize(
    "table, fault", FAULTS, ids=[f"{name}: {tell_fault(f)}" for name, f in FAULTS]
)
def test_a_fault_ends_as_the_page_says(table: str, fault: Fault) -> None:
    written = find_rows(table, PAGE.read_text())[1].splitlines()
    assert tell_row(fault, run_under(fault)) in written, REMEDY


@pytest.mark.parametrize("table", TABLES)
def test_the_page_has_a_row_for_each_fault_and_no_other(table: str) -> None:
    rows = find_rows(table, PAGE.read_text())[1].splitlines()
    told = [row.removeprefix("| ").partition(" | ")[0] for row in rows]
    assert told == [tell_fault(fault) for fault in TABLES[table]], REMEDY


def test_a_training_is_killed_after_each_kind_of_line() -> None:
    run = Run(make_bucket_with_champion(), {})
    assert run.wait() == 0
    for line in run.lines:
        assert line.split(" - ", 3)[3].startswith(tuple(LOG)), line


def test_two_trainings_at_once_add_a_whole_model_each() -> None:
    bucket = make_bucket_with_champion()
    before = contents(bucket)
    both = Barrier(2, timeout=60)

    def meet(request: Request, kind: str, count: int) -> None:
        if kind == WRITE and count <= 2:
            both.wait()
        s3_proxy.pass_on(request)

    with run_s3_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        proxy.fail = meet
        runs = [Run(bucket, {"AWS_ENDPOINT_URL": proxy.address}) for _ in range(2)]
        assert [run.wait() for run in runs] == [0, 0]
    assert tell_change(bucket, before, set()) == "two new models"
