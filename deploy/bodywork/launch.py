"""Run the `bodywork` command, with those of its faults mended that would be felt here.

Tini sends SIGTERM to Bodywork as well as to the stage. If Bodywork died of it, tini
would end, and with it the container, before the requests in flight are answered. With a
handler, which unlike an ignored signal is not inherited, it waits for the stage's end.
"""

import os
import re
import runpy
import signal
import sys
import time
import warnings
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

ROOT = Path(__file__).parents[2]
# As long as a pod on a drained node takes to end, and one in its place to be made.
ATTEMPTS = 60
POLL_SECONDS = 1
# What a stage says last, if it fails.
ERROR = re.compile(r"^\S+ - ERROR - \S+ - (.+)$", re.MULTILINE)
# Before it, in a line of its own that is not broken, as those of Bodywork's log are.
CAUSE = "Its log says: "
# When the stage that tells people has succeeded, which not each failure is followed by.
TOLD = "The failure was reported."
# A pod that a drained node has ended is made again, and its failure is nobody's.
RETRY_DISRUPTED_PODS = {
    "rules": [
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        }
    ]
}


def ask_again(ask: Callable[..., Any]) -> Callable[..., Any]:
    """Make Bodywork ask again for what it does not understand.

    While a pod ends, a Job is neither active, succeeded nor failed, and a new pod has
    no conditions; Bodywork would give up the deployment.
    """

    @wraps(ask)
    def ask_patiently(*arguments: Any) -> Any:
        for _ in range(ATTEMPTS - 1):
            try:
                return ask(*arguments)
            except (RuntimeError, TypeError):
                time.sleep(POLL_SECONDS)
        return ask(*arguments)

    return ask_patiently


def create_job(job: Any) -> None:
    """Make a Job as Bodywork does, but for pods that are lost with their node."""
    client = import_module("kubernetes.client")
    # Of the older client's own classes, none has a policy.
    body = client.ApiClient().sanitize_for_serialization(job)
    body["spec"]["podFailurePolicy"] = RETRY_DISRUPTED_PODS
    client.BatchV1Api().create_namespaced_job(job.metadata.namespace, body)


def say_why(workflow: dict[str, Any]) -> None:
    """Let what is told of a failure say what the log of the stage does, which is lost,
    and whoever runs Bodywork know that it was told.

    Args:
        workflow: Bodywork's functions that print logs and run what follows a failure.
    """
    print_pod_logs = workflow["print_pod_logs"]
    run_failure_stage = workflow["_run_failure_stage"]
    causes: list[str] = []

    def print_and_note(log: str, header: str) -> None:
        print_pod_logs(log, header)
        causes.extend(ERROR.findall(log))

    def run_and_say(configuration: Any, failure: Exception, *others: Any) -> None:
        if causes:
            failure = RuntimeError(f"{failure}: {causes[-1]}")
            print(f"{CAUSE}{causes[-1]}", flush=True)
        run_failure_stage(configuration, failure, *others)
        print(TOLD, flush=True)

    workflow["print_pod_logs"] = print_and_note
    workflow["_run_failure_stage"] = run_and_say


def end_with(parent: int) -> None:
    """End when another process has ended, which can stop this one no more."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)


def mend_bodywork() -> None:
    """Replace what is faulty in Bodywork's modules."""
    jobs, utils = vars_of("k8s.batch_jobs"), vars_of("k8s.utils")
    jobs["_get_job_status"] = ask_again(jobs["_get_job_status"])
    utils["has_unscheduleable_pods"] = ask_again(utils["has_unscheduleable_pods"])
    vars_of("k8s")["create_job"] = create_job
    say_why(vars_of("workflow_execution"))
    # The namespaces are made beforehand; it would list those of the whole cluster.
    vars_of("k8s")["namespace_exists"] = lambda namespace: True
    vars_of("cli.cli")["is_namespace_available_for_bodywork"] = lambda namespace: True


def vars_of(module: str) -> dict[str, Any]:
    return vars(import_module(f"bodywork.{module}"))


if __name__ == "__main__":
    # Run as a file, it finds the rest of deploy/ around itself, in the image as well.
    sys.path.append(str(ROOT))
    import_module("deploy.kubernetes_api").accept_authorities_of_eks()
    # Setuptools is pinned because of it, and each log would begin with it.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    signal.signal(signal.SIGTERM, lambda *_: None)
    # Whoever deploys in the background of a script ignores it, and this inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "BODYWORK_PARENT" in os.environ:
        parent = int(os.environ["BODYWORK_PARENT"])
        Thread(target=end_with, args=(parent,), daemon=True).start()
    mend_bodywork()
    command = Path(sys.executable).with_name("bodywork")
    runpy.run_path(str(command), run_name="__main__")
