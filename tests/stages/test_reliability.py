"""What fails on the way to S3 costs a run at most, as docs/reliability.md says."""

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from pipeline.aws import pickling
from pipeline.aws.artefacts import ATTEMPTS
from pipeline.aws.client import (
    CONNECT_TIMEOUT_SECONDS,
    DEADLINE_SECONDS,
    DEADLINE_VARIABLE,
    MAX_ATTEMPTS,
    READ_TIMEOUT_SECONDS,
)
from pipeline.aws.csv_text import MAX_COLUMNS
from pipeline.aws.memory import Memory, show
from tests.stages import s3_proxy
from tests.stages.faults import (
    LOG,
    PAGE,
    TABLES,
    WAITING,
    WRITE,
    Fault,
    Run,
    champion,
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

TIMES = ["never", "once", "twice"]
REMEDY = "write the page anew: python -m tests.stages.faults"
WRITTEN = PAGE.read_text().splitlines()
FAULTS = [
    pytest.param(fault, id=f"{name}: {tell_fault(fault)}")
    for name, table in TABLES.items()
    for fault in table
    if fault not in WAITING
]


@pytest.mark.process
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_as_the_page_says(fault: Fault) -> None:
    assert tell_row(fault, run_under(fault)) in WRITTEN, REMEDY


@pytest.mark.process
def test_faults_that_make_it_wait_end_as_the_page_says() -> None:
    champion()
    with ThreadPoolExecutor(len(WAITING)) as pool:
        for fault, outcome in zip(WAITING, pool.map(run_under, WAITING), strict=True):
            assert tell_row(fault, outcome) in WRITTEN, REMEDY


def test_the_page_tells_the_limits() -> None:
    memory = Memory(0)
    for row in (
        f"| {READ_TIMEOUT_SECONDS} s, a connection {CONNECT_TIMEOUT_SECONDS} s |",
        f"| a request is tried | {MAX_ATTEMPTS} times, ",
        f"or is not what was listed | {TIMES[ATTEMPTS - 1]} |",
        f"| {DEADLINE_SECONDS:g} s; `{DEADLINE_VARIABLE}` sets",
        f"| a delivery | {show(memory.find_taken(1000, 31_000))} |",
        f"| {MAX_COLUMNS} columns | a delivery |",
        f"| {pickling.MAX_BYTES // 2**20} MiB | a model |",
        f"    {show(memory.find_taken(5_000_000, 160_000_000))} of memory to train on",
    ):
        assert row in PAGE.read_text()


@pytest.mark.parametrize("table", TABLES)
def test_the_page_has_a_row_for_each_fault_and_no_other(table: str) -> None:
    rows = find_rows(table, PAGE.read_text())[1].splitlines()
    told = [row.removeprefix("| ").partition(" | ")[0] for row in rows]
    assert told == [tell_fault(fault) for fault in TABLES[table]], REMEDY


@pytest.mark.process
def test_a_training_is_killed_after_each_kind_of_line() -> None:
    run = Run(make_bucket_with_champion(), {})
    assert run.wait() == 0
    for line in run.lines:
        assert line.split(" - ", 3)[3].startswith(tuple(LOG)), line


@pytest.mark.process
def test_two_trainings_at_once_add_a_whole_model_each() -> None:
    bucket = make_bucket_with_champion()
    before = contents(bucket)
    both = Barrier(2, timeout=60)
    kinds = set()

    def meet(request: Request, kind: str, count: int) -> None:
        kinds.add(kind)
        if kind == WRITE and count <= 2:
            both.wait()
        s3_proxy.pass_on(request)

    with run_s3_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        proxy.fail = meet
        settings = {"AWS_ENDPOINT_URL": proxy.address}
        runs = [Run(bucket, settings, stop_clock=True) for _ in range(2)]
        assert [run.wait() for run in runs] == [0, 0]
    assert tell_change(bucket, before, set()) == "two new models"
    assert "look at models" in kinds, "they did not meet"
