"""A delivery that comes late: asking for it each hour, until Monday morning.

What lies in S3, the release's own code tells: the pipeline's command for deliveries.
"""

from collections.abc import Callable
from datetime import datetime, time, timedelta

from deploy.kubernetes_api import Cluster, NotYetError, wait_for
from deploy.releases.released_code import clone_released, run_module
from deploy.releases.rollout import Rollout
from deploy.releases.schedule import Schedule

# On the first Monday after the run was due, in its time zone.
LAST = time(6)
PAUSE_SECONDS = 3600


class LateDelivery:
    """This week's delivery: dated on the day when the weekly run was due, or later."""

    def __init__(self, cluster: Cluster, schedule: Schedule, due: datetime) -> None:
        """Take when the run was due."""
        self.cluster = cluster
        self.schedule = schedule
        self.since = due.replace(hour=0, minute=0)
        monday = due.date() + timedelta(days=7 - due.weekday())
        self.last = datetime.combine(monday, LAST, due.tzinfo)

    def wait(self, say: Callable[[str], None]) -> bool:
        """Wait until it has come, asking each hour.

        Args:
            say: Called with a sentence each time that it has not.

        Returns:
            Whether it is still to be trained on; if not, its model serves.

        Raises:
            RuntimeError: It has not come until Monday.
        """

        def ask() -> bool:
            try:
                return self.ask()
            # What fails now may not do so in an hour.
            except RuntimeError as error:
                say(f"Not yet: {error}")
                raise NotYetError(str(error)) from error

        seconds = (self.last - self.cluster.now()).total_seconds() - PAUSE_SECONDS
        try:
            return wait_for(ask, seconds, PAUSE_SECONDS)
        except NotYetError as error:
            raise RuntimeError(
                f"No delivery to train on by {self.last:%A %H:%M} UTC: {error}"
            ) from error

    def ask(self) -> bool:
        """Ask whether it is to be trained on.

        Raises:
            RuntimeError: It has not come, or that cannot be told.
        """
        with clone_released(self.schedule) as (release, directory):
            bucket = release.bucket
            found = run_module(directory, "pipeline.deliveries", "newest", bucket)
            dated, _, key = found.partition(" ")
            if datetime.fromisoformat(dated) < self.since:
                raise NotYetError(
                    f"the newest delivery in s3://{bucket} is {key}, and none is dated "
                    f"{self.since:%A, %Y-%m-%d}, or later; ask the data engineers."
                )
            try:
                version = Rollout(self.cluster, release).ask()
            except RuntimeError:
                # Where nothing answers, a deployment may help.
                return True
            return f"|train_dataset_key:{key}|" not in version
