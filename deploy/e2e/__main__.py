"""Try the whole of this project on a real cluster, and remove all of it again.

Needs KUBECONFIG, the file of a cluster where you may do everything (kind, minikube,
EKS), and which pulls the runtime image from Docker Hub, where Bodywork looks for it.
In a namespace of its own, beside a sandbox that stands in for S3 and the Git host:

  - a first release is made, and the page of its run; a steady load on the service then
    goes on while
  - a second release is trained and rolled out,
  - a release is refused whose model is below the error threshold,
  - a release is rolled back whose service cannot start,
  - a release is rolled back whose service starts, and answers elsewhere,
  - the service's pods are deleted one by one, and pass over what failed releases left,
  - the weekly run is fired by hand, and its pods and those of training are evicted,
  - releases and weekly runs begin at once, in both orders.

Not one request may fail. Exits with 1 if something did not happen as it must, with 2 if
there is no cluster to try it on.
"""

import json
import os
import re
import signal
import sys
from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    RawDescriptionHelpFormatter,
)
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener
from urllib.request import Request as HttpRequest

import yaml

from deploy.e2e import controller
from deploy.e2e.environment import BODYWORK_NAMESPACE, Environment
from deploy.e2e.load import steady_load
from deploy.e2e.manifests import NAME
from deploy.e2e.releases import (
    BELOW_THRESHOLD,
    BUNDLE,
    DOES_NOT_START,
    FIRST,
    READY_AND_WRONG,
    SECOND,
    THIRD,
    make_releases,
)
from deploy.e2e.report import Report, say
from deploy.e2e.service import Service
from deploy.kubernetes_api import Cluster, path_of
from deploy.releases import (
    ENDING_SIGNALS,
    ENDPOINT,
    ROOT,
    Release,
    Request,
    Schedule,
    git,
    interrupt,
)

TIMEOUT_SECONDS = 30
# In the title of what training tells of a run that was good.
PUBLISHED = "a new model is published"

NEEDED = (
    "Set KUBECONFIG to the kubeconfig of a cluster to try this on, where you may do "
    "everything, such as that of kind, minikube or EKS; a namespace of its own is made "
    "there and removed again."
)


def main(cluster: Cluster, image: str, address: str | None) -> None:
    """Run it all.

    Args:
        image: The runtime image, as account/repository:tag.
        address: Where the service will answer; None for the API server's proxy.

    Raises:
        RuntimeError: Something did not happen as it must.
    """
    name = f"{NAME}-e2e-{token_hex(3)}"
    version = cluster.get("/version")["gitVersion"]
    commit = git(ROOT, "rev-parse", "--short", "HEAD")
    say(f"Trying commit {commit} in {image}, on {cluster.address}, {version}.")
    say(f"Everything is made for this run, in namespace {name} for the most part.")
    environment = Environment(cluster, name, image)
    report = Report()
    try:
        with TemporaryDirectory() as directory:
            releases = make_releases(Path(directory), name, image)
            report.tags = {each.commit: each.tag for each in releases.values()}
            prepare(environment, report, Path(directory) / BUNDLE, releases[FIRST])
        run(environment, report, releases, address)
    finally:
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        say("Removing all that was made; this takes a minute.")
        left = environment.remove()
        say(f"\n{report.table()}\n")
        for path in left:
            say(f"Remove what is left: kubectl delete --raw {path}")
    if left:
        raise RuntimeError("Not all of what was made could be removed: see above.")
    if report.failures:
        raise RuntimeError(f"{report.failures} requests failed, and none may.")
    say("All of it happened as it must, and no request failed.")


def prepare(
    environment: Environment, report: Report, bundle: Path, release: Release
) -> None:
    """Make everything that a first release needs."""
    with report.step("Make the namespace") as step:
        step.outcome = f"made; {environment.make_namespace()} for all pipelines"
    with report.step("Start the sandbox: S3 and the repository") as step:
        step.outcome = f"ready on {environment.start_sandbox(bundle)}"
    environment.make_secrets(release.configuration)
    # The first release makes it.
    environment.made.append(path_of(release.schedule))


def run(
    environment: Environment,
    report: Report,
    releases: Mapping[str, Release],
    address: str | None,
) -> None:
    """Let each thing happen, and check what comes of it."""
    cluster = environment.cluster
    ask = ask_at(address) if address else None
    service = {tag: Service(cluster, each, ask) for tag, each in releases.items()}
    schedule = Schedule(cluster, releases[FIRST].schedule)
    if address:
        environment.open_node_port(address)

    with report.step("Deliver a week") as step:
        step.outcome = environment.deliver(releases[FIRST])
    with report.step("Make a first release") as step:
        started = cluster.now()
        controller.release(environment, releases[FIRST])
        step.outcome = f"{report.name(service[FIRST].check(started))} answers"
    with report.step("Wait for the pages of its run") as step:
        step.outcome = controller.wait_for_reports(environment)
    rollout = service[FIRST].rollout
    request = partial(rollout.request, "POST", ENDPOINT, rollout.make_order())

    with report.step("Train and roll out a second release") as step:
        with steady_load(request) as step.load:
            environment.deliver(releases[FIRST])
            started = cluster.now()
            controller.release(environment, releases[SECOND])
            step.outcome = f"{report.name(service[SECOND].check(started))} answers"

    not_ready = ("have yet to reach status=complete", "Withdrew ")
    broken = [
        (
            "Release a model below the error threshold",
            BELOW_THRESHOLD,
            ("is below deployment threshold 0.9999",),
        ),
        ("Release a service that cannot start", DOES_NOT_START, not_ready),
        ("Release a service whose endpoint has moved", READY_AND_WRONG, not_ready),
    ]
    for alerts, (title, tag, sentences) in enumerate(broken, start=1):
        with report.step(title) as step:
            with steady_load(request) as step.load:
                controller.fail_to_release(environment, releases[tag], *sentences)
                service[SECOND].check()
                step.outcome = f"refused; {check_alert(environment, alerts)}"

    with report.step("Delete the service's pods one by one") as step:
        with steady_load(request) as step.load:
            pods, before = service[SECOND].pods(), service[SECOND].check()
            for pod in pods:
                service[SECOND].replace(pod)
            check_model(before, service[SECOND].check())
            step.outcome = f"{len(pods)} pods replaced"

    with report.step("Fire the weekly run by hand, and evict its pods") as step:
        with steady_load(request) as step.load:
            environment.deliver(releases[SECOND])
            started = cluster.now()
            job = controller.start_weekly_run(environment, schedule.read())
            training = "stage=train-model"
            weekly_run = f"job-name={job['metadata']['name']}"
            controller.evict(environment, environment.name, training)
            controller.evict(environment, BODYWORK_NAMESPACE, weekly_run)
            controller.succeed(environment, job)
            step.outcome = f"{report.name(service[SECOND].check(started))} answers"

    for tag, weekly_first in ((THIRD, False), (SECOND, True)):
        first = "weekly run" if weekly_first else "release"
        with report.step(f"Overlap of both, the {first} first") as step:
            with steady_load(request) as step.load:
                started = cluster.now()
                controller.overlap(environment, schedule, releases[tag], weekly_first)
                step.outcome = f"{report.name(service[tag].check(started))} answers"


def check_model(before: str, after: str) -> None:
    """Check that new pods have taken the same model, and none of a failed release.

    Raises:
        RuntimeError: They have not.
    """
    if after != before:
        raise RuntimeError(f"Pods that were replaced have {after}, not {before}.")


def check_alert(environment: Environment, alerts: int) -> str:
    """Check that each failure so far was told once; returns what was told last.

    Raises:
        RuntimeError: It was not.
    """
    # That training is good again, or warns, is another matter.
    told = [each for each in environment.alerts() if PUBLISHED not in each]
    if len(told) != alerts:
        raise RuntimeError(
            f"{alerts} failures make {alerts} alerts, and there were {len(told)}: "
            f"{told}"
        )
    return told[-1]


def ask_at(address: str) -> Request:
    """Make a function that makes one request at an address."""
    headers = {"Content-Type": "application/json"}
    without_proxy = build_opener(ProxyHandler({}))

    def ask(method: str, path: str, body: object) -> bytes:
        content = None if body is None else json.dumps(body).encode()
        url = f"{address}/{path}"
        request = HttpRequest(url, content, headers, method=method)
        with without_proxy.open(request, timeout=TIMEOUT_SECONDS) as response:
            answer: bytes = response.read()
            return answer

    return ask


def find_cluster() -> Cluster:
    """Find the cluster of KUBECONFIG.

    Raises:
        RuntimeError: There is none, or it takes no pods.
    """
    # Never the one that kubectl happens to be set to.
    if not os.environ.get("KUBECONFIG"):
        raise RuntimeError(NEEDED)
    cluster = Cluster()
    reasons = []
    for node in cluster.get("/api/v1/nodes")["items"]:
        for condition in node["status"].get("conditions", []):
            if condition["type"] == "Ready":
                if condition["status"] == "True":
                    return cluster
                reasons.append(f"{node['metadata']['name']}: {condition['message']}")
    why = "; ".join(reasons) or "there is none"
    raise RuntimeError(f"No node of {cluster.address} takes pods: {why}.")


def image_name(argument: str) -> str:
    """Check a name as strictly as Bodywork does."""
    if not re.fullmatch(r"[^/:\s]+/[^/:\s]+:[^/:\s]+", argument):
        raise ArgumentTypeError(f"{argument!r} is not like account/repository:tag")
    return argument


def service_address(argument: str) -> str:
    try:
        url = urlsplit(argument)
        if url.scheme in ("http", "https") and url.hostname and url.port != 0:
            return argument.rstrip("/")
    except ValueError:
        pass
    raise ArgumentTypeError(f"{argument!r} is not like http://NODE:30080")


if __name__ == "__main__":
    parser = ArgumentParser(
        prog="python -m deploy.e2e",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    released = yaml.safe_load((ROOT / "bodywork.yaml").read_text())
    parser.add_argument(
        "--image",
        default=released["pipeline"]["docker_image"],
        type=image_name,
        help="the runtime image, public on Docker Hub (default: %(default)s)",
    )
    parser.add_argument(
        "--address",
        metavar="URL",
        type=service_address,
        help="where to find the service, if not through the API server: a node, and a "
        "free port from 30000 to 32767 that the run opens, as http://NODE:30080",
    )
    chosen = parser.parse_args()
    for number in ENDING_SIGNALS:
        signal.signal(number, interrupt)
    try:
        try:
            cluster = find_cluster()
        except RuntimeError as error:
            print(error, file=sys.stderr)
            sys.exit(2)
        main(cluster, chosen.image, chosen.address)
    except RuntimeError as error:
        sys.exit(f"FAILED: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
