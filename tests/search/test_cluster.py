"""Searches on a Dask cluster: its scheduler and its workers as processes."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any, NamedTuple

import pytest
from distributed import Scheduler, SchedulerPlugin
from joblib import parallel_config

from pipeline.search import DecisionTreeSearchCV, cluster
from pipeline.search.versions import OtherVersion, check_versions, list_versions
from sandbox.dask_cluster import START_SECONDS, run_scheduler, run_worker
from sandbox.orders import deliver_week
from sandbox.orders import make_week as make_orders
from sandbox.ports import HOST, closed_port
from tests.search.test_decision_tree_search import Data, make_week

ROOT = Path(__file__).parents[2]
# Whose winner has to be fitted, and a candidate that shares no work.
GRID: list[dict[str, list[Any]]] = [
    {
        "random_state": [0],
        "criterion": ["squared_error", "absolute_error"],
        "max_depth": [2, 5, None],
        "min_samples_leaf": [1, 2, 5],
        "min_samples_split": [2, 6],
    },
    {"max_features": [1], "random_state": [0]},
]


@pytest.fixture(scope="module")
def week() -> Data:
    return make_week(400, 1)


@pytest.fixture(scope="module")
def here(week: Data) -> DecisionTreeSearchCV:
    return DecisionTreeSearchCV(GRID).fit(*week)


class Cluster(NamedTuple):
    """A scheduler, and two workers that do for some tasks what their files say.

    Attributes:
        orders: The file of each worker, of Python.
        third: What a third worker runs at its start, whose file is that of the first.
    """

    address: str
    scheduler: int
    workers: list[Popen[str]]
    orders: list[Path]
    third: Path

    def order(self, what: str) -> None:
        for file in self.orders:
            file.write_text(what)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The last test of this module ends it, bit by bit."""
    directory = tmp_path_factory.mktemp("cluster")
    orders = [directory / name for name in ("first", "second")]
    preloads = [write_preload(file) for file in orders]
    with ExitStack() as stack:
        address = stack.enter_context(run_scheduler())
        workers = [
            # Enough threads for the tasks that hang.
            stack.enter_context(run_worker(address, threads=16, preload=preload))
            for preload in preloads
        ]
        wait_for_workers(address, 2)
        with cluster.make_client(address) as client:
            scheduler = client.run_on_scheduler(os.getpid)
        yield Cluster(address, scheduler, workers, orders, preloads[0])


def write_preload(orders: Path) -> Path:
    """What a worker runs at its start, to do first what another file says."""
    orders.write_text("")
    preload = orders.with_suffix(".py")
    preload.write_text(
        "import os, signal, time\n"
        "from pipeline.search import branch_and_bound\n"
        # Dask imports it more than once.
        "def dask_setup(worker):\n"
        "    do = branch_and_bound._fit_and_score\n"
        "    def first_follow(*arguments):\n"
        f"        exec(open({str(orders)!r}).read())\n"
        "        return do(*arguments)\n"
        "    branch_and_bound._fit_and_score = first_follow\n"
    )
    return preload


def wait_for_workers(address: str, count: int) -> None:
    with cluster.make_client(address) as client:
        client.wait_for_workers(count, START_SECONDS)


def assert_same(one: DecisionTreeSearchCV, other: DecisionTreeSearchCV) -> None:
    assert one.best_params_ == other.best_params_
    assert one.best_score_ == other.best_score_
    assert one.n_fits_ == other.n_fits_
    for name in ("mean_test_score", "exact_test_score", "rank_test_score"):
        assert (one.cv_results_[name] == other.cv_results_[name]).all()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        each.message
        for each in caplog.records
        if each.name == "pipeline" and each.levelno >= logging.WARNING
    ]


@pytest.mark.once
@pytest.mark.process
def test_the_winner_and_all_scores_are_those_of_threads(
    running: Cluster,
    week: Data,
    here: DecisionTreeSearchCV,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "pipeline"):
        there = DecisionTreeSearchCV(GRID, cluster=running.address).fit(*week)
    cluster = f"the Dask cluster {running.address}"
    assert caplog.messages[0] == f"Searching on 32 cores of {cluster}."
    assert not warnings(caplog)
    assert_same(there, here)


@pytest.mark.once
@pytest.mark.process
def test_who_uses_the_class_may_bring_any_workers(
    running: Cluster, week: Data, here: DecisionTreeSearchCV
) -> None:
    with cluster.make_client(running.address) as client:
        with parallel_config("dask", client=client):
            assert_same(DecisionTreeSearchCV(GRID).fit(*week), here)
    with parallel_config("threading", n_jobs=2):
        assert_same(DecisionTreeSearchCV(GRID).fit(*week), here)


@pytest.mark.once
@pytest.mark.process
def test_the_stage_takes_the_cluster_that_it_is_told(
    running: Cluster, bucket: str
) -> None:
    last_week = datetime.now(UTC) - timedelta(days=7)
    deliver_week(make_orders(200, 1), last_week, bucket, "datasets")
    variable = {"DASK_SCHEDULER_ADDRESS": running.address}
    process = subprocess.run(
        [sys.executable, "-m", "pipeline.train_model", bucket, "0.1", "0.1"],
        cwd=ROOT,
        env=os.environ | variable,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout
    assert process.stderr == ""
    assert f"of the Dask cluster {running.address}.\n" in process.stdout
    assert "WARNING" not in process.stdout


@pytest.mark.thorough
def test_what_no_cluster_is_there_for_is_searched_here(
    week: Data,
    here: DecisionTreeSearchCV,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    # One that refuses, and one that takes connections and never answers.
    with closed_port() as port, socket.create_server((HOST, 0)) as silent:
        refused, hung = (f"tcp://{HOST}:{n}" for n in (port, silent.getsockname()[1]))
        addresses = refused, hung, "http://dask:8786", "tcp://dask:port"
        for address in addresses:
            there = DecisionTreeSearchCV(GRID, cluster=address).fit(*week)
            assert_same(there, here)
    for address, warning in zip(addresses, warnings(caplog), strict=True):
        assert f"The Dask cluster {address} is given up: " in warning


@pytest.mark.once
@pytest.mark.process
def test_news_of_another_client_does_not_keep_it_from_connecting(
    running: Cluster, week: Data, here: DecisionTreeSearchCV, caplog: Any
) -> None:
    """Dask fails if it comes with the scheduler's first answer: three times here."""

    def disturb(dask_scheduler: "Scheduler") -> None:
        class Disturbance(SchedulerPlugin):
            left = 3

            def add_client(self, scheduler: "Scheduler", client: str) -> None:
                self.left -= 1
                if self.left >= 0:
                    news = {"op": "lost-data", "key": "of another"}
                    scheduler.loop.add_callback(scheduler.report, news)

        dask_scheduler.add_plugin(Disturbance())

    with cluster.make_client(running.address) as client:
        client.run_on_scheduler(disturb)
    there = DecisionTreeSearchCV(GRID, cluster=running.address).fit(*week)
    assert not warnings(caplog)
    assert_same(there, here)


@pytest.mark.parametrize("name", list_versions())
def test_other_versions_are_told(name: str) -> None:
    check_versions(list_versions())
    with pytest.raises(OtherVersion, match=f"a worker has {name} .* this process 0"):
        check_versions(list_versions() | {name: "0"})


# The last one: little is left of the cluster.
@pytest.mark.once
@pytest.mark.process
def test_what_a_cluster_does_not_do_is_done_here(
    running: Cluster,
    week: Data,
    here: DecisionTreeSearchCV,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    address = running.address

    def search(*reasons: str) -> None:
        caplog.clear()
        there = DecisionTreeSearchCV(GRID, cluster=address).fit(*week)
        assert_same(there, here)
        for reason, warning in zip(reasons, warnings(caplog), strict=True):
            assert f"The Dask cluster {address} is given up: {reason}" in warning

    # What was answered before counts.
    answered = tmp_path / "answered"

    def note(what: str, total: int, answers: Iterator[Any]) -> Iterator[Any]:
        for answer in answers:
            yield answer
            answered.touch()

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "show_progress", note)
        running.orders[1].write_text(
            f"while not os.path.exists({str(answered)!r}): time.sleep(0.05)\n"
            "raise MemoryError('too much')"
        )
        search("too much")
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "SILENT_SECONDS", 0)
        running.order("time.sleep(9999)")
        search("it has answered nothing for ")
    # One that dies costs time alone.
    running.order("")
    running.orders[1].write_text("os._exit(3)")
    search()
    assert running.workers[1].wait(START_SECONDS) == 3
    running.order("os._exit(3)")
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "WORKERLESS_SECONDS", 1)
        search("its workers are gone")
        patch.setattr(cluster, "CONNECT_SECONDS", 1)
        search("Only 0/1 workers arrived")
    running.order(f"os.kill({running.scheduler}, signal.SIGKILL); time.sleep(9999)")
    with run_worker(address, preload=running.third):
        wait_for_workers(address, 1)
        search("")
