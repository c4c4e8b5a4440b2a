"""The weekly run, as the cluster has it: a CronJob that deploys a release."""

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.kubernetes_api import Cluster, path_of
from deploy.releases.repository import Release
from deploy.releases.rollout import branch_of

# As often as it runs, and as long as its runs are kept.
WEEK = timedelta(days=7)
# Where the CronJob keeps the pods of the release that it deploys.
TEMPLATE = "release/pod-template"
# Where Kubernetes says when the CronJob meant a Job to start; one by hand has none.
DUE = "batch.kubernetes.io/cronjob-scheduled-timestamp"


class Schedule:
    """The CronJob of a pipeline: the one place that says what is released.

    `python -m deploy.release` makes it of deploy/cluster/schedule.yaml, with tag and
    image of the release, when the release serves.
    """

    def __init__(self, cluster: Cluster, manifest: Any) -> None:
        """Take name and namespace from a manifest of it."""
        self.cluster = cluster
        self.path = path_of(manifest)
        self.name = manifest["metadata"]["name"]
        self.namespace = manifest["metadata"]["namespace"]

    def read(self) -> Any:
        """Read the CronJob; None before the first release."""
        return self.cluster.find(self.path)

    def write(self, release: Release, template: Any) -> None:
        """Let it deploy a release from now on; one that is paused stays paused.

        Args:
            template: Of the pods of the release, for going back to them.
        """
        manifest = deepcopy(release.schedule)
        metadata = manifest["metadata"]
        metadata["annotations"] = {TEMPLATE: json.dumps(template)}
        pods = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        for container in [*pods.get("initContainers", []), *pods["containers"]]:
            container["image"] = release.image
        [container] = pods["containers"]
        container["args"] = [release.repository, f"--branch={release.tag}"]
        self.put(manifest)

    def put(self, manifest: Any) -> None:
        """Put a CronJob in the place of the one that is there, if any."""
        found = self.read()
        if found is None:
            self.cluster.create(manifest)
            return
        metadata = {**manifest["metadata"]}
        # It may have been changed meanwhile: by a pause, or by its last run.
        metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
        spec = {**manifest["spec"], "suspend": found["spec"].get("suspend", False)}
        self.cluster.replace({**manifest, "metadata": metadata, "spec": spec})

    def check(self, release: Release, is_deploying: bool) -> str:
        """Check that it deploys a release, and that its last run did not fail.

        Args:
            is_deploying: Whether a weekly run holds the lease.

        Returns:
            A sentence on the last run.

        Raises:
            RuntimeError: It names another release, is paused, has not run for a week,
                or its last run failed.
        """
        found = self.read()
        scheduled = released_tag(found)
        if scheduled != release.tag:
            raise RuntimeError(
                f"The weekly run deploys {scheduled or 'nothing'}, not {release.tag}; "
                f"release it again with python -m deploy.release {release.tag}."
            )
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
        # One without a pod has not failed: the next may be about to be made.
        conditions = {each["type"]: each for each in status.get("conditions", [])}
        if failed := conditions.get("Failed") or conditions.get("FailureTarget"):
            raise RuntimeError(
                f"The weekly run {name}, started {started}, failed "
                f"({failed['reason']}); kubectl -n {self.namespace} logs job/{name} "
                "--all-containers tells why."
            )
        if status.get("succeeded"):
            return f"The weekly run {name}, started {started}, succeeded."
        doing = "deploys" if is_deploying else "waits, as its log says for what"
        return f"The weekly run {name} is under way since {started}: it {doing}."

    def find_due(self, job: str) -> datetime | None:
        """Find when a run was due; None for one that was started by hand."""
        path = f"/apis/batch/v1/namespaces/{self.namespace}/jobs/{job}"
        found = self.cluster.find(path) if job else None
        annotations = found["metadata"].get("annotations", {}) if found else {}
        return datetime.fromisoformat(annotations[DUE]) if DUE in annotations else None

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


def released_tag(schedule: Any) -> str:
    """The tag of the release that a CronJob deploys; "" before the first one."""
    return branch_of(pods_of(schedule)) if schedule else ""


def released_repository(schedule: Any) -> str:
    """The URL from which a CronJob's release is cloned; "" before the first one."""
    arguments = pods_of(schedule)["spec"]["containers"][0].get("args") or [""]
    return str(arguments[0])


def released_template(schedule: Any) -> Any:
    """The template of the pods that a CronJob's release has; None if unknown."""
    annotations = schedule["metadata"].get("annotations", {}) if schedule else {}
    return json.loads(annotations.get(TEMPLATE, "null"))


def pods_of(schedule: Any) -> Any:
    return schedule["spec"]["jobTemplate"]["spec"]["template"]
