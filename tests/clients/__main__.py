"""Check the OpenAPI document, and ask both versions with a client in TypeScript.

Usage: python -m tests.clients

By the rules of spectral and of redocly, and with the client that openapi-ts generates,
which is compiled in strict mode and run. Needs npm; what npm installs is locked with
hashes in package-lock.json.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin

from benchmarks.services import HEADERS, OURS, run_service, trained_model
from tests.stages.services import ENDPOINT, MANY_ENDPOINT, ORDER, client

FOLDER = Path(__file__).parent
GENERATED = FOLDER / "generated"
COMPILED = GENERATED / "compiled"
DOCUMENT = GENERATED / "openapi.json"
# What they would tell others, or ask them.
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


def main() -> None:
    """Run all checks.

    Raises:
        RuntimeError: One failed, or none could be run.
    """
    if shutil.which("npm") is None:
        raise RuntimeError("not run: no npm; install Node.js 20 or newer.")
    run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    with trained_model(), run_service(OURS) as service:
        DOCUMENT.write_text(client.get(urljoin(service.url, "/openapi.json")).text)
        run_tool("spectral", "lint", str(DOCUMENT), "--ruleset=spectral.yaml")
        run_tool("redocly", "lint", str(DOCUMENT), "--extends=recommended")
        print(f"passed: {DOCUMENT.name} has no errors by spectral and redocly")
        ask_in_typescript(urljoin(service.url, "/"))
        print("passed: the TypeScript client is answered by both versions")


def ask_in_typescript(address: str) -> None:
    """Compare what the generated client gets with what is answered."""
    client_folder = f"--output={GENERATED / 'client'}"
    run_tool("openapi-ts", f"--input={DOCUMENT}", client_folder, "--no-log-file")
    run_tool("tsc", "--outDir", str(COMPILED))
    told = json.loads(run("node", str(COMPILED / "ask.js"), address))
    orders = [ORDER, ORDER | {"product_code": "SKU002"}]
    request = {"orders": orders, "level": 0.8}
    one, many = (
        client.post(urljoin(address, path), json=content, headers=HEADERS).json()
        for path, content in [(ENDPOINT, ORDER), (MANY_ENDPOINT, request)]
    )
    expected = {"one": one, "many": many, "loc": ["body", "orders"]}
    if told != expected:
        raise RuntimeError(f"The TypeScript client got {told}, and not {expected}.")


def run_tool(name: str, *arguments: str) -> str:
    return run(str(FOLDER / "node_modules" / ".bin" / name), *arguments)


def run(*command: str) -> str:
    process = subprocess.run(
        command,
        cwd=FOLDER,
        env=os.environ | QUIET,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{process.stdout}")
    return process.stdout


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(str(error))
