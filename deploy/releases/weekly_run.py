"""The weekly run: deploy with Bodywork, and fail unless the model just trained serves.

Usage: python weekly_run.py NAMESPACE SERVICE:PORT REPOSITORY --branch=RELEASE

Bodywork exits with 0 on some failures, and a service that refuses the new model takes
an older one. So the service is asked which model it has, through the API server. The
runtime image holds a copy of this file, for the environment of Bodywork.
"""

import json
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from kubernetes import client, config
from urllib3.exceptions import HTTPError
from urllib3.util import ssl_

# Beside this file in the image.
LAUNCHER = Path(__file__).with_name("launch.py")
# A pod that goes away may answer for a moment more.
ATTEMPTS = 30
POLL_SECONDS = 2
TIMEOUT_SECONDS = 10


def read_version(model_version: str) -> dict[str, str]:
    """Read what a model's version says: its name, when and of what it was made, ..."""
    return dict(pair.split(":", 1) for pair in model_version.split("|"))


def check_age(model_version: str, trained_after: datetime) -> None:
    """Check that a model is the one that was just trained.

    Raises:
        RuntimeError: It is an older one.
    """
    made = read_version(model_version)["model_timestamp"]
    if datetime.fromisoformat(made) < trained_after:
        raise RuntimeError(
            f"The model in service was made at {made}, before this deployment: the one "
            "just trained does not serve; /readyz tells what was refused."
        )


def ask(namespace: str, service: str, trained_after: datetime) -> str:
    """Ask the service for its model, until that is the one just trained.

    Returns:
        Its version.

    Raises:
        RuntimeError: It is an older one, or the service does not answer.
    """
    for attempt in range(ATTEMPTS):
        time.sleep(POLL_SECONDS if attempt else 0)
        try:
            answer = client.CoreV1Api().connect_get_namespaced_service_proxy_with_path(
                service,
                namespace,
                "readyz",
                _preload_content=False,
                _request_timeout=TIMEOUT_SECONDS,
            )
            readiness = json.loads(answer.data)
            check_age(readiness["model_version"], trained_after)
            return str(readiness["model_version"])
        except client.ApiException as error:
            failure = f"{service} answered {error.status} {error.reason}."
        except HTTPError as error:
            failure = f"The API server does not answer: {error}."
        except RuntimeError as error:
            failure = " ".join([str(error), *readiness["refused"]])
    raise RuntimeError(failure)


def main(namespace: str, service: str, arguments: list[str]) -> int:
    """Run Bodywork, then ask the service; returns Bodywork's exit code.

    Raises:
        RuntimeError: The model just trained does not serve.
    """
    started = datetime.now(UTC)
    command = [sys.executable, str(LAUNCHER), "create", "deployment", *arguments]
    exit_code = subprocess.call(command)
    if exit_code == 0:
        print(f"It answers with {ask(namespace, service, started)}.")
    return exit_code


if __name__ == "__main__":
    # The authorities of EKS lack a key identifier: kubernetes-client/python#2394.
    vars(ssl_)["VERIFY_X509_STRICT"] = ssl.VerifyFlags(0)
    config.load_incluster_config()
    try:
        sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
    except RuntimeError as error:
        sys.exit(f"The weekly run failed: {error}")
