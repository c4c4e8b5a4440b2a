"""One at a time: releases and weekly runs of a pipeline hold a Lease meanwhile."""

import getpass
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from deploy.kubernetes_api import ApiError, Cluster, NotYetError, path_of, wait_for

# Renewed three times before it is anybody's, who then has it within a minute.
DURATION = timedelta(seconds=40)
RENEWAL_SECONDS = 10
# Longer than a release and a weekly run take that both fail as late as they can.
WAIT_SECONDS = 1200
CONFLICT = 409
# As a holder.
WEEKLY_RUN = "the weekly run"


class LeaseLostError(RuntimeError):
    """Somebody else holds the lease, and is in charge now."""


class Lease:
    """The Lease beside a CronJob, of its name, which deploy/cluster makes.

    All times are those of the API server's clock, so that no machine's own matters.
    """

    def __init__(self, cluster: Cluster, schedule: Any, holder: str) -> None:
        """Take its name from a CronJob.

        Args:
            schedule: The manifest of the CronJob.
            holder: Who works, in words that those can use who wait for it.
        """
        self.cluster = cluster
        self.name = schedule["metadata"]["name"]
        self.path = path_of(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": schedule["metadata"],
            }
        )
        self.holder = f"{holder} ({getpass.getuser()}@{socket.gethostname()})"
        self.acquired = ""
        self._renewal = threading.Lock()

    def read(self) -> Any:
        """Read it.

        Raises:
            RuntimeError: The cluster has none.
        """
        found = self.cluster.find(self.path)
        if found is None:
            raise RuntimeError(
                f"The cluster has no Lease {self.name}; make it with "
                "kubectl apply -k deploy/cluster."
            )
        return found

    @contextmanager
    def hold(self, say: Callable[[str], None]) -> Iterator[None]:
        """Hold it for the time of a with block, and wait for it before.

        If it is lost, the process gets a SIGTERM.

        Args:
            say: Called with a sentence when it must be waited for.

        Raises:
            RuntimeError: Somebody else still holds it after WAIT_SECONDS.
        """
        said = set()

        def acquire() -> None:
            try:
                self.acquire()
            except NotYetError as error:
                if str(error) not in said:
                    said.add(str(error))
                    say(f"Waiting for {WAIT_SECONDS // 60} minutes at most: {error}")
                raise

        try:
            wait_for(acquire, WAIT_SECONDS)
        except NotYetError as error:
            raise RuntimeError(
                f"Gave up after {WAIT_SECONDS // 60} minutes of waiting: {error} "
                "Try again when it has ended."
            ) from error
        ended = threading.Event()
        renewal = threading.Thread(target=self._renew_until, args=(ended,), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()
            self._give_up()

    def find_holder(self) -> str:
        """Who holds it, and since when, in a sentence; "" if nobody does.

        Raises:
            RuntimeError: The cluster has none.
        """
        return tell_holder(self.read().get("spec", {}), self.cluster.now())

    def acquire(self) -> None:
        """Take it, if nobody holds it.

        Raises:
            NotYetError: Somebody does.
        """
        found, now = self.read(), self.cluster.now()
        spec = found.setdefault("spec", {})
        if at_work := tell_holder(spec, now):
            raise NotYetError(at_work)
        spec["holderIdentity"] = self.holder
        spec["leaseDurationSeconds"] = int(DURATION.total_seconds())
        spec["acquireTime"] = spec["renewTime"] = micro_time(now)
        spec["leaseTransitions"] = spec.get("leaseTransitions", 0) + 1
        try:
            self.cluster.replace(found)
        except ApiError as error:
            if error.status == CONFLICT:
                raise NotYetError("somebody else has just begun.") from error
            raise
        self.acquired = spec["acquireTime"]

    def renew(self) -> None:
        """Hold it for another while.

        To be called before what must not happen in the middle of another's work.

        Raises:
            LeaseLostError: Somebody else holds it.
        """
        with self._renewal:
            found = self.read()
            spec = found.get("spec", {})
            mine = (self.holder, self.acquired)
            if (spec.get("holderIdentity"), spec.get("acquireTime")) != mine:
                raise LeaseLostError(
                    f"{spec.get('holderIdentity') or 'Somebody else'} took over, for "
                    f"{self.holder} was not heard of for a while."
                )
            spec["renewTime"] = micro_time(self.cluster.now())
            self.cluster.replace(found)

    def _renew_until(self, ended: threading.Event) -> None:
        while not ended.wait(RENEWAL_SECONDS):
            try:
                self.renew()
            except LeaseLostError:
                os.kill(os.getpid(), signal.SIGTERM)
                return
            except RuntimeError:
                # The next time may be in time still, and if not, will tell.
                continue

    def _give_up(self) -> None:
        """Let the next one have it at once."""
        try:
            found = self.read()
            if found["spec"].get("acquireTime") == self.acquired:
                found["spec"]["holderIdentity"] = ""
                self.cluster.replace(found)
        except RuntimeError:
            # It runs out by itself.
            pass


def tell_holder(spec: Any, now: datetime) -> str:
    """Who holds a lease, and since when, in a sentence; "" if nobody does."""
    if not spec.get("holderIdentity"):
        return ""
    duration = timedelta(seconds=spec["leaseDurationSeconds"])
    if now >= datetime.fromisoformat(spec["renewTime"]) + duration:
        return ""
    return f"{spec['holderIdentity']} is at work since {spec['acquireTime'][:19]}Z."


def micro_time(time: datetime) -> str:
    """Write a time as the API server wants it."""
    return f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"
