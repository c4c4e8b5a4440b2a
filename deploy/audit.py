"""Look up the known vulnerabilities of every release that a lock names.

Usage: python -m deploy.audit

Asks PyPI, through pip-audit. What audit_exceptions.toml lists is passed. Where PyPI's
advisories cannot be had, as behind a mirror, it says so and passes; in CircleCI, which
has CIRCLECI in its environment, it fails: nobody would see that nothing was looked up.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from datetime import date
from os import environ
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EXCEPTIONS = Path(__file__).with_name("audit_exceptions.toml")
# The shortest first, which tells soonest that there are no advisories to be had.
LOCKS = [
    "deploy/uv.txt",
    "deploy/bodywork/build_constraints.txt",
    "requirements_pipe.txt",
    "deploy/bodywork/requirements.txt",
    "notebooks/requirements_nb.txt",
    "requirements_cicd.txt",
]


class NotAuditedError(Exception):
    """There was no advisory to be had for some release."""


def main() -> str:
    """Audit every lock.

    Returns:
        What was found out, in a sentence.

    Raises:
        RuntimeError: There is a vulnerability that is no exception, or an exception is
            not to be had any more; in CircleCI also, nothing could be looked up.
    """
    exceptions = read_exceptions(EXCEPTIONS.read_text(), date.today())
    found: list[str] = []
    try:
        for lock in LOCKS:
            found += audit(lock, exceptions)
    except NotAuditedError as reason:
        if environ.get("CIRCLECI"):
            raise RuntimeError(
                f"Not audited: {reason}; CircleCI must reach https://pypi.org/pypi."
            ) from reason
        if not found:
            return f"Not audited: {reason}. CircleCI looks them up."
    if found:
        remedy = f"Renew these pins, or except them in {EXCEPTIONS.name}."
        raise RuntimeError("\n".join([*found, remedy]))
    return f"No vulnerability is known of the releases in {len(LOCKS)} locks" + (
        f" but for {len(exceptions)} exceptions." if exceptions else "."
    )


def read_exceptions(content: str, today: date) -> list[str]:
    """Read the vulnerabilities that are passed.

    Raises:
        RuntimeError: One has no reason or no date, or its date has passed.
    """
    identifiers = []
    for entry in tomllib.loads(content).get("exception", []):
        name = f"Exception {entry.get('id', 'without id')} in {EXCEPTIONS.name}"
        until = entry.get("until")
        if entry.keys() != {"id", "reason", "until"} or not (
            entry["id"] and entry["reason"].strip() and type(until) is date
        ):
            raise RuntimeError(f"{name} needs an id, a reason and a date `until`.")
        if until <= today:
            raise RuntimeError(f"{name} has passed its date, {until}: decide again.")
        identifiers.append(entry["id"])
    return identifiers


def audit(lock: str, exceptions: Sequence[str]) -> list[str]:
    """Look up a lock's releases; returns a line for each vulnerability.

    Raises:
        NotAuditedError: Some could not be looked up.
    """
    command = ["--disable-pip", "--require-hashes", "--progress-spinner=off"]
    command += ["--format=json", f"--requirement={ROOT / lock}"]
    process = subprocess.run(
        [sys.executable, "-m", "pip_audit", *command]
        + [f"--ignore-vuln={identifier}" for identifier in exceptions],
        capture_output=True,
        text=True,
    )
    try:
        dependencies = json.loads(process.stdout)["dependencies"]
    except ValueError as error:
        reason = process.stderr.strip().rpartition("\n")[2]
        raise NotAuditedError(f"pip-audit ended with {reason!r} on {lock}") from error
    return read_findings(lock, dependencies)


def read_findings(lock: str, dependencies: list[dict[str, Any]]) -> list[str]:
    """Read what pip-audit says, which counts what it could not look up as no finding.

    Raises:
        NotAuditedError: Some could not be looked up, and nothing else was found.
    """
    lines = [
        f"{lock}: {dependency['name']} {dependency['version']} has {found['id']} "
        f"({', '.join(found['aliases']) or 'no other name'}), fixed in "
        f"{', '.join(found['fix_versions']) or 'no release'}."
        for dependency in dependencies
        for found in dependency.get("vulns", [])
    ]
    skipped = [each for each in dependencies if "skip_reason" in each]
    if skipped and not lines:
        raise NotAuditedError(
            f"no advisories were found for {len(skipped)} of the {len(dependencies)} "
            f"releases in {lock} ({skipped[0]['skip_reason']})"
        )
    return lines


if __name__ == "__main__":
    try:
        print(main())
    except RuntimeError as error:
        sys.exit(str(error))
