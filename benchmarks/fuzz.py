"""Ask the service whatever its OpenAPI document allows, and what it does not.

Usage: python -m benchmarks.fuzz [REQUESTS]

Schemathesis generates 100,000 requests, or REQUESTS, and checks each answer against the
document: no 5xx, no status, header or body that it does not promise, nothing accepted
that it forbids. The memory of the service is compared with that after the first round.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

from benchmarks.services import OURS, resident_memory, run_service, trained_model

REQUESTS = 100_000
ROUND_REQUESTS = 10_000
MAX_GROWTH = 1.05
OPENAPI = "/openapi.json"
# What is invalid may be too large as well.
CONFIGURATION = """
[checks.negative_data_rejection]
expected-statuses = [400, 413, 415, 422]
"""


class Fuzzed(NamedTuple):
    """What came of a round: how many requests were made, and what was wrong."""

    requests: int
    failures: list[str]


def fuzz(url: str, requests: int) -> Fuzzed:
    """Make about so many requests, other ones each time.

    Args:
        url: Any URL of the service.

    Raises:
        RuntimeError: Schemathesis could not do its work.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        (Path(folder) / "schemathesis.toml").write_text(CONFIGURATION)
        process = subprocess.run(
            [
                *(Path(sys.executable).with_name("schemathesis"), "run"),
                *(urljoin(url, OPENAPI), f"--max-examples={requests}"),
                *("--continue-on-failure", "--generation-database=none"),
                *("--report=json", f"--report-json-path={report}"),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if not report.exists():
            raise RuntimeError(f"Schemathesis failed:\n{process.stdout}")
        told = json.loads(report.read_text())
    problems = [*told["failures"], *told["errors"]]
    if process.returncode and not problems:
        raise RuntimeError(f"Schemathesis failed:\n{process.stdout}")
    return Fuzzed(told["test_cases"]["generated"], list(map(json.dumps, problems)))


def main(requests: int) -> None:
    """Fuzz in rounds.

    Raises:
        RuntimeError: An answer was wrong, or the memory of the service has grown.
    """
    made = 0
    failures: list[str] = []
    with trained_model(), run_service(OURS) as service:
        while made < requests and not failures:
            fuzzed = fuzz(service.url, min(ROUND_REQUESTS, requests - made))
            made += fuzzed.requests
            failures += fuzzed.failures
            memory = resident_memory(service.process_id)
            if made == fuzzed.requests:
                first_made, first_memory = made, memory
            print(f"{made:,} requests, {len(failures)} failures", flush=True)
    print(*failures, sep="\n", end="\n" if failures else "")
    print(
        f"Memory of the service: {first_memory / 2**20:.1f} MiB after {first_made:,} "
        f"requests, {memory / 2**20:.1f} MiB after {made:,}."
    )
    if failures or memory > MAX_GROWTH * first_memory:
        raise RuntimeError("The service did not keep its promises: see above.")


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS)
    except RuntimeError as error:
        sys.exit(str(error))
