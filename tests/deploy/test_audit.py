"""The audit of the locks, against an advisory service on this machine.

That PyPI's own answers as pip-audit expects cannot be tested here.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from deploy.audit import (
    EXCEPTIONS,
    LOCKS,
    ROOT,
    NotAuditedError,
    audit,
    read_exceptions,
    read_findings,
)

pytestmark = [pytest.mark.once, pytest.mark.process]

TODAY = date(2026, 11, 21)
ENTRY = '[[exception]]\nid = "CVE-1"\nreason = "not reached"\nuntil = 2026-11-22\n'


class Advisories(ThreadingHTTPServer):
    """Answers as OSV does: with a vulnerability of one package."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), AdvisoryHandler)
        self.package = ""
        self.identifiers = ["PYSEC-2026-1", "CVE-2026-1"]
        self.asked: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class AdvisoryHandler(BaseHTTPRequestHandler):
    server: Advisories
    protocol_version = "HTTP/1.1"
    # Else the body waits for the other side to have heard of the headers: 40 ms.
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = query["package"]["name"]
        self.server.asked.add(name)
        first, *others = self.server.identifiers
        found = {"id": first, "aliases": others, "affected": []}
        body = json.dumps({"vulns": [found]} if name == self.server.package else {})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def advisories() -> Iterator[Advisories]:
    with Advisories() as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


def run_audit(address: str, circleci: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.audit"],
        cwd=ROOT,
        env={
            **os.environ,
            "CIRCLECI": circleci,
            "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
            "PIP_AUDIT_OSV_URL": address,
        },
        capture_output=True,
        text=True,
    )


def test_every_lock_is_audited() -> None:
    locks = {
        str(path.relative_to(ROOT))
        for folder in ("", "deploy", "deploy/bodywork", "notebooks")
        for path in (ROOT / folder).glob("*.txt")
        if "--hash=" in path.read_text()
    }
    assert {*LOCKS} == locks


def test_a_vulnerability_fails_it(advisories: Advisories) -> None:
    advisories.package = "uv"
    process = run_audit(advisories.address, circleci="")
    assert process.returncode == 1
    # Wherever its release is locked.
    first, second, remedy = process.stderr.splitlines()
    assert first.startswith("deploy/uv.txt: uv ")
    assert first.endswith(" has PYSEC-2026-1 (CVE-2026-1), fixed in no release.")
    assert second.startswith("requirements_cicd.txt: uv ")
    assert remedy.startswith("Renew these pins, or except them in ")
    assert {"setuptools", "scikit-learn", "bodywork", "matplotlib"} <= advisories.asked


def test_an_exception_passes_it(
    advisories: Advisories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", advisories.address)
    advisories.package = "uv"
    [finding] = audit("deploy/uv.txt", ["CVE-2026-2"])
    assert "PYSEC-2026-1" in finding
    for identifier in advisories.identifiers:
        assert audit("deploy/uv.txt", [identifier]) == []


def test_without_advisories_it_says_so_and_fails_in_circleci_alone() -> None:
    closed = "http://127.0.0.1:9/"
    process = run_audit(closed, circleci="")
    assert process.returncode == 0
    assert process.stdout.startswith("Not audited: pip-audit ended with ")
    process = run_audit(closed, circleci="true")
    assert process.returncode == 1
    assert process.stderr.startswith("Not audited: ") and "must reach" in process.stderr


def test_what_pip_audit_passes_over_is_not_audited() -> None:
    """It exits 0 behind a mirror without advisories."""
    known = {"name": "a", "version": "1", "vulns": []}
    assert read_findings("lock", [known]) == []
    skipped = {"name": "b", "skip_reason": "Dependency not found on PyPI"}
    with pytest.raises(NotAuditedError, match="1 of the 2 releases in lock"):
        read_findings("lock", [known, skipped])


def test_each_exception_has_a_reason_and_a_date_to_come() -> None:
    assert read_exceptions(ENTRY, TODAY) == ["CVE-1"]
    assert read_exceptions("", TODAY) == []
    with pytest.raises(RuntimeError, match="CVE-1 .* passed its date, 2026-11-22"):
        read_exceptions(ENTRY, date(2026, 11, 22))
    for part in ENTRY.splitlines()[1:]:
        with pytest.raises(RuntimeError, match="needs an id, a reason and a date"):
            read_exceptions(ENTRY.replace(part, ""), TODAY)
    for good, bad in (('"not reached"', '" "'), ("2026-11-22", '"soon"')):
        with pytest.raises(RuntimeError, match="needs an id, a reason and a date"):
            read_exceptions(ENTRY.replace(good, bad), TODAY)
    assert read_exceptions(EXCEPTIONS.read_text(), TODAY)
