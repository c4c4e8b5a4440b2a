"""The workers of a Dask cluster, and those here for whatever they do not answer.

joblib's own way to Dask, parallel_config("dask"), serves who uses the class by hand. It
is not taken here: as of joblib 1.6.0 it never hears of a task that failed there, and a
search whose cluster has died would wait for ever.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from textwrap import shorten
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pipeline.search.folds import Fold
from pipeline.search.versions import check_versions, list_versions
from pipeline.search.workers import Workers, show_progress

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as Promise

__all__ = ["ClusterWorkers"]

# For the scheduler to answer, and for a first worker to come.
CONNECT_SECONDS = 10
CONNECT_RETRIES = 4
# How often it is looked whether there are workers, and how long there may be none: a
# pod that was evicted is made again in that time.
POLL_SECONDS = 1
WORKERLESS_SECONDS = 60
# Without any answer, before the cluster counts as hung: several times what the longest
# task takes where no two rows are alike.
SILENT_SECONDS = 60
SILENT_SECONDS_PER_ROW = 0.003
LONGEST_REASON = 240
LARGE_GRAPH = "distributed.admin.large-graph-warning-threshold"

Result = TypeVar("Result")

log = logging.getLogger("pipeline")


class ClusterLost(RuntimeError):
    """The cluster answers no more."""


class ClusterWorkers(Workers):
    """Those of a Dask cluster, with this package and the same versions of others.

    One that dies is replaced by the others. What the cluster as a whole does not do,
    in bounded time, is done by the workers here, with a WARNING: no search is lost.

    Args:
        address: Of its scheduler, such as tcp://dask:8786.
        rows: That are searched; more may take longer.
    """

    def __init__(self, address: str, rows: int) -> None:
        super().__init__()
        self.address = address
        self._patience = SILENT_SECONDS + SILENT_SECONDS_PER_ROW * rows
        self._client: Client | None = None
        # By what they are here, which lives as long as the search.
        self._sent: dict[int, Promise[Any]] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        self.callback(self._disconnect)
        try:
            self._connect()
        except Exception as error:
            self._give_up(error)
        return self

    def apply(
        self,
        what: str,
        function: Callable[..., Result],
        arguments: Sequence[tuple[Any, ...]],
    ) -> list[Result]:
        """Apply a function to each tuple of arguments, and show how far it is."""
        results: dict[int, Result] = {}
        if self._client is not None:
            try:
                answers = self._ask(self._client, function, arguments)
                for index, result in show_progress(what, len(arguments), answers):
                    results[index] = result
            except Exception as error:
                # If the task is at fault, and not the cluster, it fails here as well.
                self._give_up(error)
        left = [index for index in range(len(arguments)) if index not in results]
        if left:
            rest = super().apply(what, function, [arguments[index] for index in left])
            results.update(zip(left, rest, strict=True))
        return [results[index] for index in range(len(arguments))]

    def _connect(self) -> None:
        connected: Future[Client] = Future()

        def connect() -> None:
            try:
                connected.set_result(make_client(self.address))
            except BaseException as error:
                connected.set_exception(error)

        # A scheduler that hangs would be waited for without end.
        Thread(target=connect, daemon=True).start()
        if not wait([connected], 2 * CONNECT_SECONDS).done:
            raise ClusterLost("its scheduler does not answer")
        self._client = client = connected.result()
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        cores = self._count_cores(client)
        log.info(f"Searching on {cores} cores of the Dask cluster {self.address}.")

    def _count_cores(self, client: "Client") -> int:
        cores = client.sync(client.ncores, callback_timeout=self._patience)
        return sum(cores.values())

    def _ask(
        self,
        client: "Client",
        function: Callable[..., Result],
        arguments: Sequence[tuple[Any, ...]],
    ) -> Iterator[tuple[int, Result]]:
        """Let the cluster apply a function.

        Yields:
            The number of a tuple of arguments, and the result, as they come.

        Raises:
            Exception: Whatever a task raised, or Dask about the cluster.
        """
        from distributed import wait as wait_there

        numbers = {
            self._submit(client, function, *(self._send(client, x) for x in task)): n
            for n, task in enumerate(arguments)
        }
        heard = manned = monotonic()
        while numbers:
            try:
                # It finds its client there alone.
                with client.as_current():
                    done = wait_there([*numbers], POLL_SECONDS, "FIRST_COMPLETED").done
            except TimeoutError:
                now = monotonic()
                manned = now if self._count_cores(client) else manned
                if now - manned > WORKERLESS_SECONDS:
                    raise ClusterLost("its workers are gone") from None
                if now - heard > self._patience:
                    silence = f"it has answered nothing for {now - heard:.0f} seconds"
                    raise ClusterLost(silence) from None
                continue
            for future in done:
                yield numbers.pop(future), future.result(self._patience)
            heard = manned = monotonic()

    def _send(self, client: "Client", argument: Any) -> Any:
        """Let the cluster make a fold, once, of what is large: then it can make it anew
        when a worker is lost. What is scattered is lost with one."""
        if not isinstance(argument, Fold):
            return argument
        if id(argument) not in self._sent:
            import dask

            # Dask warns of what is large, and this is sent once.
            with dask.config.set({LARGE_GRAPH: "1 PB"}):
                self._sent[id(argument)] = self._submit(client, Fold, *argument.parts)
        return self._sent[id(argument)]

    def _submit(
        self, client: "Client", function: Callable[..., Any], *arguments: Any
    ) -> "Promise[Any]":
        wanted = list_versions()
        return client.submit(_check_and_call, wanted, function, *arguments, pure=False)

    def _give_up(self, error: Exception) -> None:
        reason = shorten(str(error) or repr(error), LONGEST_REASON).rstrip(".")
        log.warning(
            f"The Dask cluster {self.address} is given up: {reason}; what is left is "
            "searched on the cores here. See that its scheduler and its workers run, "
            "from the same image as this stage."
        )
        self._disconnect()

    def _disconnect(self) -> None:
        self._sent.clear()
        client, self._client = self._client, None
        if client is not None:
            # A scheduler that hangs does not answer this either.
            with suppress(Exception):
                client.close(CONNECT_SECONDS)


def make_client(address: str) -> "Client":
    # Imported where it is used: it takes half a second.
    import dask

    # What it has to say of a cluster that fails is in the warning.
    quiet = dict.fromkeys(("distributed", "distributed.client"), "critical")
    with dask.config.set({"logging": quiet}):
        from distributed import Client

    connect = partial(
        Client,
        address,
        timeout=CONNECT_SECONDS,
        # No more than the search does it concern.
        set_as_default=False,
        # All goes by the scheduler, so that workers need not be reached.
        direct_to_workers=False,
    )
    for _ in range(CONNECT_RETRIES):
        # Its failure when what concerns another client comes with the first answer.
        with suppress(AssertionError):
            return connect()
    return connect()


def _check_and_call(
    wanted: dict[str, str], function: Callable[..., Result], *arguments: Any
) -> Result:
    """What a worker does for a task."""
    check_versions(wanted)
    return function(*arguments)
