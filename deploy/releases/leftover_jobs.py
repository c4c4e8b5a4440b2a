"""Remove the Jobs that an interrupted deployment left behind.

Usage: python leftover_jobs.py NAMESPACE

Bodywork names a Job by its stage, so the next deployment fails on one that is still
there. The runtime image holds a copy of this file, for the environment of Bodywork and
its older client of Kubernetes.
"""

import ssl
import sys
import time
from datetime import UTC, datetime, timedelta

from kubernetes import client, config
from urllib3.util import ssl_

# Longer than Bodywork waits for any stage: an older Job is nobody's any more.
ABANDONED = timedelta(minutes=15)
POLL_SECONDS = 2


def remove_leftover_jobs(namespace: str, api_client: client.ApiClient) -> list[str]:
    """Remove the Jobs of stages in a namespace.

    One that is not finished may be that of a deployment at work, which removes it
    itself; it is waited for until it is finished or abandoned.

    Returns:
        The names of those that were removed.
    """
    batch = client.BatchV1Api(api_client)
    removed: set[str] = set()
    while True:
        jobs = batch.list_namespaced_job(namespace, label_selector="app=bodywork").items
        if not jobs:
            return sorted(removed)
        for job in jobs:
            conditions = {condition.type for condition in job.status.conditions or []}
            age = datetime.now(UTC) - job.metadata.creation_timestamp
            if conditions & {"Complete", "Failed"} or age > ABANDONED:
                removed.add(job.metadata.name)
                try:
                    batch.delete_namespaced_job(
                        job.metadata.name, namespace, propagation_policy="Background"
                    )
                except client.ApiException as error:
                    if error.status != 404:
                        raise
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    # The authorities of EKS lack a key identifier: kubernetes-client/python#2394.
    vars(ssl_)["VERIFY_X509_STRICT"] = ssl.VerifyFlags(0)
    try:
        config.load_incluster_config()
        names = remove_leftover_jobs(sys.argv[1], client.ApiClient())
    except Exception as error:
        sys.exit(f"Could not remove leftover jobs: {error}")
    print(f"Removed leftover jobs: {', '.join(names) or 'none were there'}.")
