"""Without a cluster that can be used, one sentence and exit code 2.

The rest needs one: make e2e itself.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.error import HTTPError

import pytest

from deploy.e2e.__main__ import ask_at
from deploy.kubernetes_api import Cluster
from deploy.releases.repository import ROOT
from deploy.releases import ENDING_SIGNALS, ENDPOINT
from tests.deploy.api_server import run_api_server
from tests.programs import run_here

pytestmark = pytest.mark.once


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(use_kubeconfig: Callable[[Path], None]) -> Iterator[Run]:
    """Run it here; returns the exit code and what it says."""

    def run(*arguments: str, kubeconfig: Path | str) -> tuple[int, str]:
        use_kubeconfig(Path(kubeconfig))
        program = "deploy.e2e.__main__"
        ended = run_here(program, *arguments, KUBECONFIG=str(kubeconfig))
        assert ended.stdout == ""
        return ended.returncode, ended.stderr

    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_without_a_kubeconfig_it_says_what_it_needs(run: Run) -> None:
    exit_code, said = run(kubeconfig="")
    assert exit_code == 2
    assert said.startswith("Set KUBECONFIG to the kubeconfig of a cluster to try this")
    assert said.count("\n") == 1


def test_a_cluster_that_takes_no_pods_or_is_gone_is_refused(
    run: Run, tmp_path: Path
) -> None:
    with run_api_server(tmp_path) as (api, kubeconfig):
        message = "cni plugin not initialized"
        ready = {"type": "Ready", "status": "False", "message": message}
        node = {"metadata": {"name": "n"}, "status": {"conditions": [ready]}}
        api.objects["/api/v1/nodes"] = {"items": [node]}
        exit_code, said = run(kubeconfig=kubeconfig)
        assert (exit_code, said.count("\n")) == (2, 1)
        assert f"takes pods: n: {message}." in said
    exit_code, said = run(kubeconfig=kubeconfig)
    assert exit_code == 2
    assert "does not answer" in said and "Traceback" not in said


@pytest.mark.process
def test_an_interruption_before_anything_is_made_is_one_line(tmp_path: Path) -> None:
    asked, interrupted = Event(), Event()

    def nodes() -> dict[str, list[Any]]:
        asked.set()
        interrupted.wait()
        return {"items": []}

    with (
        run_api_server(tmp_path) as (api, kubeconfig),
        subprocess.Popen(
            [sys.executable, "-m", "deploy.e2e"],
            cwd=ROOT,
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        api.objects["/api/v1/nodes"] = nodes
        try:
            assert asked.wait(timeout=60)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate()
        finally:
            interrupted.set()
            process.kill()
    assert (process.returncode, said) == (1, "Interrupted.\n")


def test_an_option_that_cannot_be_is_refused(run: Run) -> None:
    for option in ("--address=node:30080", "--image=name"):
        exit_code, said = run(option, kubeconfig="")
        assert exit_code == 2
        assert "is not like" in said


@pytest.mark.parametrize("content", [None, "", "nonsense", "clusters: [", "users: 1"])
def test_a_kubeconfig_that_is_none_is_refused(
    tmp_path: Path, content: str | None, use_kubeconfig: Callable[[Path], None]
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    if content is not None:
        kubeconfig.write_text(content)
    use_kubeconfig(kubeconfig)
    with pytest.raises(RuntimeError, match=r"^No cluster is configured \(.*\.$"):
        Cluster()


def test_an_address_is_asked_as_a_client_asks() -> None:
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, json.loads(body), self.headers["Connection"]))
            self.send_response(200 if len(asked) == 1 else 503)
            self.end_headers()
            self.wfile.write(b"answer")

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        ask = ask_at(f"http://127.0.0.1:{server.server_port}")
        order = {"product_code": "A", "orders_placed": 1}
        assert ask("POST", ENDPOINT, order) == b"answer"
        assert asked == [(f"/{ENDPOINT}", order, "close")]
        with pytest.raises(HTTPError, match="503") as error:
            ask("POST", ENDPOINT, order)
        error.value.close()
        server.shutdown()
