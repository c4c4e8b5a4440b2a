"""Publishing the pages of the runs after a deployment, which does not wait for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deploy.kubernetes_api import Cluster
from deploy.releases.repository import Release
from deploy.releases.stage_job import make_job

NAME = "publish-reports"
MODULE = "pipeline.report"
MEMORY = "400M"
# It takes some seconds, and an image may have to be pulled, or a node to be found.
TIMEOUT_SECONDS = 600


@contextmanager
def publishing_reports(
    cluster: Cluster, release: Release, say: Callable[[str], None]
) -> Iterator[None]:
    """Publish the pages after a with block, however that ends.

    Args:
        say: Called with a sentence if that cannot be begun.
    """
    try:
        yield
    finally:
        publish_reports(cluster, release, say)


def publish_reports(
    cluster: Cluster, release: Release, say: Callable[[str], None]
) -> None:
    """Begin to publish the pages, if the release has code for it."""
    command = (MODULE, release.bucket, "--publish")
    try:
        if release.has_reports:
            job = make_job(release, NAME, command, MEMORY, TIMEOUT_SECONDS)
            cluster.create(job)
    # Whatever it is, the deployment is what it is.
    except Exception as error:
        say(f"The pages of the runs are not published: {' '.join(str(error).split())}")
