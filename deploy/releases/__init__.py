"""A release: where it comes from, what it is on a cluster, and how it gets there."""

from deploy.releases.deployment import deploy
from deploy.releases.interruption import ENDING_SIGNALS, interrupt
from deploy.releases.lease import WEEKLY_RUN, Lease, LeaseLostError
from deploy.releases.reports import NAME as REPORTS_JOB
from deploy.releases.reports import publishing_reports
from deploy.releases.repository import (
    ROOT,
    SCHEDULE,
    Release,
    describe,
    find_release,
    git,
    make_release,
)
from deploy.releases.rollout import (
    ANSWER_TIMEOUT_SECONDS,
    ENDPOINT,
    ROLLOUT_TIMEOUT_SECONDS,
    Request,
    Rollout,
    branch_of,
    check_estimate,
    last_logs,
    template_of,
)
from deploy.releases.schedule import Schedule, released_tag, released_template
from deploy.releases.stage_job import read_log
from deploy.releases.withdrawal import withdraw_models

__all__ = [
    "ANSWER_TIMEOUT_SECONDS",
    "ENDING_SIGNALS",
    "ENDPOINT",
    "ROLLOUT_TIMEOUT_SECONDS",
    "ROOT",
    "SCHEDULE",
    "Lease",
    "LeaseLostError",
    "REPORTS_JOB",
    "Release",
    "Request",
    "Rollout",
    "Schedule",
    "WEEKLY_RUN",
    "branch_of",
    "check_estimate",
    "deploy",
    "describe",
    "find_release",
    "git",
    "interrupt",
    "last_logs",
    "make_release",
    "publishing_reports",
    "read_log",
    "released_tag",
    "released_template",
    "template_of",
    "withdraw_models",
]
