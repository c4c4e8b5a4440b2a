"""What Dask's workers are worth to the search, and what the wire costs.

Usage: python -m benchmarks.cluster [--rows N [N ...]] [--workers N [N ...]]

Searches the whole grid of the training stage, on the training split of generated weeks,
on two threads here, and on a Dask cluster of processes of this machine, each with one
thread. All bytes between the search and the scheduler go by a relay that counts them.

Two cores are too few to see what more workers do. So the processor time of each task is
taken as well, and what so many workers of other machines would need is predicted from
it: tasks of a step are begun in their order, each by the first worker that is free, the
next step begins when the last is done, and each costs what an empty task does. What the
search sends goes out once for each worker, over a network of a gigabit a second. The
prediction leaves out what is done beside the tasks, and is held against what is
measured for one worker.
"""

import socket
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from heapq import heapreplace
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from distributed import Client
from joblib import parallel_config
from joblib.parallel import ThreadingBackend

from benchmarks.search import split_week
from benchmarks.table import Row
from pipeline.estimator import FOLDS
from pipeline.search import DecisionTreeSearchCV
from pipeline.train_model import HYPERPARAM_GRID
from sandbox.dask_cluster import START_SECONDS, run_scheduler, run_worker
from sandbox.ports import HOST

ROWS = (1_000, 10_000)
WORKERS = (1, 2)
PREDICTED = (1, 2, 4, 10)
EMPTY_TASKS = 200
BYTES_PER_SECOND = 125e6


class Wire:
    """How many bytes went by a relay, in pieces: any thread may add one."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.received: list[int] = []

    def take(self) -> tuple[int, int]:
        """The sums since it was last asked."""
        taken = sum(self.sent), sum(self.received)
        self.sent.clear()
        self.received.clear()
        return taken


class Run(NamedTuple):
    """A search on a cluster: seconds, and bytes to the scheduler and back."""

    seconds: float
    sent: int
    received: int
    same: bool


class Measurement(NamedTuple):
    """Searches of a week.

    Attributes:
        threads: Seconds of the search on two threads.
        steps: Processor seconds of each task, by the steps of the search.
        runs: The search on a cluster, by the number of its workers.
    """

    rows: int
    threads: float
    steps: list[list[float]]
    runs: dict[int, Run]

    @property
    def processor_seconds(self) -> float:
        return sum(map(sum, self.steps))

    @property
    def tasks(self) -> int:
        return sum(map(len, self.steps))


class TimedThreads(ThreadingBackend):
    """Threads that note the processor time of each task, by call."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.calls: list[list[float]] = []

    def start_call(self) -> None:
        super().start_call()
        self.calls.append([])

    def submit(self, func: Callable[[], Any], callback: Any = None) -> Any:
        number, call = len(self.calls[-1]), self.calls[-1]
        call.append(0.0)

        def timed() -> Any:
            start = time.thread_time()
            try:
                return func()
            finally:
                call[number] = time.thread_time() - start

        return super().submit(timed, callback)


@contextmanager
def relay(address: str) -> Iterator[tuple[str, Wire]]:
    """Pass connections on to an address; yields the relay's own, and what goes by."""
    wire, target = Wire(), urlsplit(address)

    class PassOn(BaseRequestHandler):
        def handle(self) -> None:
            assert target.hostname is not None and target.port is not None
            with socket.create_connection((target.hostname, target.port)) as there:
                back = Thread(target=pump, args=(there, self.request, wire.received))
                back.start()
                pump(self.request, there, wire.sent)
                back.join()

    def pump(
        source: socket.socket, to: socket.socket, counted: list[int]
    ) -> None:
        # Either end may have gone.
        with suppress(OSError):
            while data := source.recv(1 << 20):
                counted.append(len(data))
                to.sendall(data)
        with suppress(OSError):
            to.shutdown(socket.SHUT_WR)

    with ThreadingTCPServer((HOST, 0), PassOn) as server:
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"tcp://{HOST}:{server.server_address[1]}", wire
        server.shutdown()
        thread.join()


def measure(
    sizes: Sequence[int] = ROWS, workers: Sequence[int] = WORKERS
) -> tuple[list[Measurement], float]:
    """Search weeks of these sizes on threads and on clusters of so many workers.

    Returns:
        The measurements, and the seconds of an empty task.
    """
    weeks = {rows: split_week(rows) for rows in sizes}
    warm_up(None)
    found: dict[int, tuple[DecisionTreeSearchCV, Measurement]] = {}
    for rows, week in weeks.items():
        threads = TimedThreads()
        search = DecisionTreeSearchCV(HYPERPARAM_GRID, cv=FOLDS)
        start = time.perf_counter()
        with parallel_config(threads, n_jobs=2):
            search.fit(*week)
        seconds = time.perf_counter() - start
        steps = [call for call in threads.calls if call]
        found[rows] = search, Measurement(rows, seconds, steps, {})
    empty = 0.0
    for count in workers:
        with ExitStack() as stack:
            scheduler = stack.enter_context(run_scheduler())
            for _ in range(count):
                stack.enter_context(run_worker(scheduler))
            address, wire = stack.enter_context(relay(scheduler))
            client = stack.enter_context(Client(address, set_as_default=False))
            client.wait_for_workers(count, START_SECONDS)
            for _ in range(2):
                warm_up(address)
            if not empty:
                empty = time_empty_task(client)
            for rows, week in weeks.items():
                there = DecisionTreeSearchCV(HYPERPARAM_GRID, cv=FOLDS, cluster=address)
                wire.take()
                start = time.perf_counter()
                there.fit(*week)
                seconds = time.perf_counter() - start
                here, measurement = found[rows]
                same = there.best_score_ == here.best_score_
                measurement.runs[count] = Run(seconds, *wire.take(), same)
    return [measurement for _, measurement in found.values()], empty


def warm_up(cluster: str | None) -> None:
    """Search once: the first search pays for imports that are done on first use."""
    X, y = split_week(100)
    DecisionTreeSearchCV(HYPERPARAM_GRID, cluster=cluster).fit(X, y)


def time_empty_task(client: Client) -> float:
    """Seconds of a task that does nothing, asked for with others."""
    start = time.perf_counter()
    client.gather([client.submit(abs, n, pure=False) for n in range(EMPTY_TASKS)])
    return (time.perf_counter() - start) / EMPTY_TASKS


def predict(measurement: Measurement, workers: int, empty: float, sent: int) -> float:
    """Seconds that a search would take on so many workers, one core each.

    Args:
        empty: Seconds of an empty task.
        sent: Bytes that the search sends.
    """
    seconds = measurement.tasks * empty + sent * workers / BYTES_PER_SECOND
    for step in measurement.steps:
        free_at = [0.0] * workers
        for task in step:
            heapreplace(free_at, free_at[0] + task)
        seconds += max(free_at)
    return seconds


def predict_all(measurement: Measurement, empty: float) -> dict[int, float]:
    """Seconds that a search would take, by the number of workers."""
    sent = max((run.sent for run in measurement.runs.values()), default=0)
    return {count: predict(measurement, count, empty, sent) for count in PREDICTED}


def describe(measurements: list[Measurement], empty: float) -> list[Row]:
    rows = []
    for each in measurements:
        what = f"search of {each.rows:,} orders"
        for count, run in each.runs.items():
            agree = "the same" if run.same else "ANOTHER"
            rows.append(
                Row(
                    f"{what}, Dask workers here: {count}, {agree} score",
                    f"{run.seconds:.2f} s, {run.sent / 1e6:.1f} MB sent",
                    f"two threads: {each.threads:.2f} s",
                    f"{each.threads / run.seconds:.2f} times",
                )
            )
        one = each.processor_seconds
        rows += [
            Row(
                f"{what}, predicted of Dask workers with a core each: {count}",
                f"{seconds:.2f} s",
                f"a core: {one:.2f} s",
                f"{one / seconds:.1f} times",
            )
            for count, seconds in predict_all(each, empty).items()
        ]
    rows.append(Row("a task of Dask, beside its work", f"{1000 * empty:.1f} ms"))
    return rows


def print_all(measurements: list[Measurement], empty: float) -> None:
    print(f"an empty task: {1000 * empty:.1f} ms")
    for each in measurements:
        print(
            f"{each.rows:,} rows: {each.tasks} tasks in {len(each.steps)} steps, "
            f"{each.processor_seconds:.2f} s of processor time, the longest "
            f"{max(map(max, each.steps)):.2f} s; two threads {each.threads:.2f} s"
        )
        for count, run in each.runs.items():
            agree = "the same" if run.same else "ANOTHER"
            print(
                f"  Dask, {count} here: {run.seconds:.2f} s, "
                f"{run.seconds / each.threads:.2f} of two threads; "
                f"{run.sent / 1e6:.2f} MB there, {run.received / 1e6:.2f} MB back; "
                f"{agree} score"
            )
        predicted = predict_all(each, empty).items()
        told = ", ".join(f"{count}: {seconds:.2f} s" for count, seconds in predicted)
        print(f"  predicted for workers with a core each: {told}")


def main() -> None:
    parser = ArgumentParser(description="Measure the search on a Dask cluster.")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    chosen = parser.parse_args()
    print_all(*measure(chosen.rows, chosen.workers))


if __name__ == "__main__":
    main()
