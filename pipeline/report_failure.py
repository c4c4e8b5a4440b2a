"""What Bodywork and the weekly run call when a deployment failed: tell the operators.

Usage: python -m pipeline.report_failure [PIPELINE [S3_BUCKET]]

PIPELINE is the name that the message gives to what failed, by default time-to-dispatch.
Logs an ERROR with what happened, EXCEPTION_MESSAGE of the environment, and tells
the channels in ALERT_URLS, Apprise's addresses of Slack, Teams, e-mail and others. With
S3_BUCKET, nobody is told a second time of what training has told them already: that the
run was refused, or failed. A channel that cannot be reached is told in the log alone.
"""

import logging
import sys
from datetime import UTC, datetime, timedelta
from os import environ

from pipeline.logs import configure_logger
from pipeline.records import read_records, send

PIPELINE = "time-to-dispatch"
TITLE = "{pipeline}: the deployment failed"
# A failed stage ends the deployment, and Bodywork runs this one, within minutes.
RECENT = timedelta(minutes=30)

log = logging.getLogger("pipeline")


def main(
    exception_message: str, pipeline_name: str = PIPELINE, s3_bucket: str = ""
) -> None:
    """Report a failure.

    Args:
        exception_message: Why.
        pipeline_name: Whose deployment failed.
        s3_bucket: Where training leaves its records; "" for nowhere.
    """
    log.error(f"Deployment of {pipeline_name} failed: {exception_message}")
    told = find_message(s3_bucket) if s3_bucket else ""
    if told:
        log.info(f'Training has told people already: "{told}".')
    else:
        title = TITLE.format(pipeline=pipeline_name)
        send(title, f"Deployment of {pipeline_name} failed: {exception_message}")


def find_message(s3_bucket: str) -> str:
    """Find what training told people of a run that ended badly just now; "" if it told
    them nothing, or that cannot be known."""
    try:
        found = read_records(s3_bucket, last=1)
    except (RuntimeError, ValueError) as error:
        log.warning(f"Whether training has told people is not known: {error}")
        return ""
    for each in found:
        record = each.record
        if record and record.is_bad and datetime.now(UTC) - each.timestamp < RECENT:
            return record.message
    return ""


if __name__ == "__main__":
    configure_logger()
    main(
        environ.get("EXCEPTION_MESSAGE") or "Bodywork gave no reason.", *sys.argv[1:3]
    )
