"""The stage that Bodywork runs when a deployment failed: tell the operators.

Usage: python -m pipeline.report_failure [PIPELINE]

PIPELINE is the name that the report gives to what failed, by default time-to-dispatch.
Logs an ERROR with Bodywork's sentence, EXCEPTION_MESSAGE of the environment. If
ALERT_WEBHOOK_URL is set, the same line is posted there as JSON, {"text": "..."}, the
form that Slack and Mattermost take. An unreachable webhook is told in the log alone.
"""

import json
import logging
import re
import sys
from http.client import HTTPException
from os import environ
from urllib.request import Request, urlopen

from pipeline.logs import configure_logger

PIPELINE = "time-to-dispatch"
TIMEOUT_SECONDS = 10

log = logging.getLogger("pipeline")


def main(
    exception_message: str, webhook_url: str, pipeline_name: str = PIPELINE
) -> None:
    """Report a failure.

    Args:
        exception_message: What Bodywork says.
        webhook_url: Where to post it; "" for nowhere.
        pipeline_name: Whose deployment failed.
    """
    line = f"Deployment of {pipeline_name} failed: {exception_message}"
    log.error(line)
    if re.match("https?://[^/]", webhook_url):
        post(webhook_url, line)
    elif webhook_url:
        log.warning("ALERT_WEBHOOK_URL is not like https://HOST/PATH; correct it.")


def post(webhook_url: str, line: str) -> None:
    """Post a line to a webhook; a failure to do so is a warning.

    The address is a secret, so the log does not repeat it.
    """
    try:
        request = Request(
            webhook_url,
            data=json.dumps({"text": line}).encode(),
            headers={"Content-Type": "application/json"},
        )
        urlopen(request, timeout=TIMEOUT_SECONDS).close()
    except (OSError, HTTPException, ValueError) as error:
        # Only the operating system's and the server's reasons leave the address out.
        reason = str(error) if isinstance(error, OSError) else type(error).__name__
        log.warning(f"The webhook was not told ({reason}); check ALERT_WEBHOOK_URL.")
    else:
        log.info("Told the webhook.")


if __name__ == "__main__":
    configure_logger()
    main(
        environ.get("EXCEPTION_MESSAGE") or "Bodywork gave no reason.",
        environ.get("ALERT_WEBHOOK_URL", "").strip(),
        *sys.argv[1:2],
    )
