"""A release: where it comes from, what it is on a cluster, and how it gets there."""

from deploy.releases.leftover_jobs import remove_leftover_jobs
from deploy.releases.repository import ROOT, Release, find_release, git, make_release
from deploy.releases.rollout import (
    ANSWER_TIMEOUT_SECONDS,
    ENDPOINT,
    ORDER,
    ROLLOUT_TIMEOUT_SECONDS,
    Rollout,
    branch_of,
    last_logs,
    repeat_until_true,
)
from deploy.releases.schedule import Schedule

__all__ = [
    "ANSWER_TIMEOUT_SECONDS",
    "ENDPOINT",
    "ORDER",
    "ROLLOUT_TIMEOUT_SECONDS",
    "ROOT",
    "Release",
    "Rollout",
    "Schedule",
    "branch_of",
    "find_release",
    "git",
    "last_logs",
    "make_release",
    "remove_leftover_jobs",
    "repeat_until_true",
]
