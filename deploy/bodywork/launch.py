"""Run the `bodywork` command, with four of its faults mended.

Tini sends SIGTERM to Bodywork as well as to the stage. If Bodywork died of it, tini
would end, and with it the container, before the requests in flight are answered. With a
handler, which unlike an ignored signal is not inherited, it waits for the stage's end.
"""

import runpy
import signal
import ssl
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from urllib3.util import ssl_

STATUS_ATTEMPTS = 5
POLL_SECONDS = 1


def ask_again(get_job_status: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make Bodywork ask again for a Job's status that it does not understand.

    Between the end of its pod and its being counted, a Job is neither active, succeeded
    nor failed for a moment, and Bodywork would give up the deployment.
    """

    def get_job_status_again(job: Any) -> Any:
        for _ in range(STATUS_ATTEMPTS - 1):
            try:
                return get_job_status(job)
            except RuntimeError:
                time.sleep(POLL_SECONDS)
        return get_job_status(job)

    return get_job_status_again


if __name__ == "__main__":
    # The authorities of EKS lack a key identifier: kubernetes-client/python#2394.
    vars(ssl_)["VERIFY_X509_STRICT"] = ssl.VerifyFlags(0)
    # Setuptools is pinned because of it, and each log would begin with it.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    signal.signal(signal.SIGTERM, lambda *_: None)
    jobs = import_module("bodywork.k8s.batch_jobs")
    vars(jobs)["_get_job_status"] = ask_again(vars(jobs)["_get_job_status"])
    command = Path(sys.executable).with_name("bodywork")
    runpy.run_path(str(command), run_name="__main__")
