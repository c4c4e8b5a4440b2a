"""The weekly run, as the cluster has it: a CronJob that deploys a release."""

from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from deploy.kubernetes_api import STRATEGIC_MERGE, Cluster, path_of
from deploy.releases.repository import ROOT, Release
from deploy.releases.rollout import branch_of

MANIFEST = ROOT / "deploy" / "cluster" / "schedule.yaml"
# As often as it runs, and as long as its runs are kept.
WEEK = timedelta(days=7)


class Schedule:
    """The CronJob that deploy/cluster describes, or another like it."""

    def __init__(self, cluster: Cluster, manifest: Any = None) -> None:
        self.cluster = cluster
        self.manifest = manifest or yaml.safe_load(MANIFEST.read_text())
        self.path = path_of(self.manifest)
        self.name = self.manifest["metadata"]["name"]
        self.namespace = self.manifest["metadata"]["namespace"]

    def tag(self) -> str:
        """The tag of the release that it deploys; "" before the first one.

        Raises:
            RuntimeError: The cluster has no such CronJob.
        """
        found = self.cluster.find(self.path)
        if found is None:
            raise RuntimeError(
                f"The cluster has no CronJob {self.name}; "
                "make it with kubectl apply -k deploy/cluster."
            )
        return branch_of(found["spec"]["jobTemplate"]["spec"]["template"])

    def write(self, release: Release) -> None:
        """Let it deploy a release from now on."""
        containers = {
            "initContainers": [{"name": "leftover-jobs", "image": release.image}],
            "containers": [
                {
                    "name": "bodywork",
                    "image": release.image,
                    "args": [release.repository, f"--branch={release.tag}"],
                }
            ],
        }
        change = {"spec": {"jobTemplate": {"spec": {"template": {"spec": containers}}}}}
        self.cluster.patch(self.path, change, STRATEGIC_MERGE)

    def check(self, release: Release) -> str:
        """Check that it deploys a release, and that its last run did not fail.

        Returns:
            A sentence on the last run.

        Raises:
            RuntimeError: It names another release, is paused, has not run for a week,
                or its last run failed.
        """
        scheduled = self.tag()
        if scheduled != release.tag:
            raise RuntimeError(
                f"The weekly run deploys {scheduled or 'nothing'}, not {release.tag}; "
                f"release it again with python -m deploy.release {release.tag}."
            )
        found = self.cluster.get(self.path)
        if found["spec"].get("suspend"):
            raise RuntimeError(
                "The weekly run is paused; docs/deploy.md says how to resume it."
            )
        runs = self.runs()
        if not runs:
            made = datetime.fromisoformat(found["metadata"]["creationTimestamp"])
            if datetime.now(UTC) - made > WEEK:
                raise RuntimeError(
                    "The weekly run has not run for a week; "
                    f"kubectl -n {self.namespace} describe cronjob tells why."
                )
            return f"The weekly run deploys {scheduled}; it has not run yet."
        name, status = runs[-1]["metadata"]["name"], runs[-1]["status"]
        started = status.get("startTime", "at an unknown time")
        if status.get("active"):
            return f"The weekly run {name} is under way since {started}."
        if not status.get("succeeded"):
            reasons = [
                f" ({each['reason']})"
                for each in status.get("conditions", [])
                if each["type"] == "Failed"
            ]
            raise RuntimeError(
                f"The weekly run {name}, started {started}, failed{''.join(reasons)}; "
                f"kubectl -n {self.namespace} logs job/{name} --all-containers tells "
                "why."
            )
        return f"The weekly run {name}, started {started}, succeeded."

    def runs(self) -> list[Any]:
        """The Jobs of its runs that are kept, the oldest first."""
        path = f"/apis/batch/v1/namespaces/{self.namespace}/jobs"
        runs = [
            job
            for job in self.cluster.get(path)["items"]
            for owner in job["metadata"].get("ownerReferences", [])
            if (owner["kind"], owner["name"]) == ("CronJob", self.name)
        ]
        return sorted(runs, key=lambda job: job["metadata"]["creationTimestamp"])
