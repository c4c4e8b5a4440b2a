"""A steady load on the service, each answer of which is checked."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

from deploy.releases import check_estimate

REQUESTS_PER_SECOND = 20
# So that one slow answer does not keep back the requests after it.
THREADS = 10
SHOWN_FAILURES = 5


class Load:
    """What was asked, and what came back.

    Attributes:
        failures: What came back instead of an estimate.
        models: How many answers each model's version gave, in the order of the first.
    """

    def __init__(self, ask: Callable[[], bytes]) -> None:
        self.ask = ask
        self.failures: list[str] = []
        self.models: Counter[str] = Counter()
        self.lock = Lock()

    @property
    def requests(self) -> int:
        return len(self.failures) + self.models.total()

    def request(self) -> None:
        """Make one request, and check its answer."""
        try:
            version = check_estimate(self.ask())
        except Exception as error:
            with self.lock:
                self.failures.append(f"{time.strftime('%H:%M:%S')} {error}")
        else:
            with self.lock:
                self.models[version] += 1


@contextmanager
def steady_load(ask: Callable[[], bytes]) -> Iterator[Load]:
    """Ask for estimates, at REQUESTS_PER_SECOND, for the time of a with block.

    Args:
        ask: Makes one request, over a connection of its own; returns the answer.
    """
    load, stop = Load(ask), Event()
    interval = THREADS / REQUESTS_PER_SECOND

    def run(number: int) -> None:
        due = time.monotonic() + interval * number / THREADS
        while not stop.wait(max(0.0, due - time.monotonic())):
            load.request()
            due += interval

    threads = [Thread(target=run, args=[each], daemon=True) for each in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()
