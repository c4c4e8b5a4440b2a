"""The end of the service: by SIGTERM nothing is lost, by SIGKILL what is in flight."""

import signal
import socket
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from itertools import cycle
from threading import Barrier, Event

import pytest

from sandbox.s3_server import make_bucket
from tests.stages.services import (
    ROOT,
    TIMEOUT_SECONDS,
    client,
    persist,
    running_service,
    wait_until,
)
from tests.stages.test_request_limits import REQUEST, connected, read_answer

pytestmark = [pytest.mark.once, pytest.mark.process]

CLIENTS = 16


@pytest.fixture(scope="module")
def models(s3_environment: dict[str, str]) -> str:
    """A bucket with a model."""
    make_bucket("ending")
    persist("ending")
    return "ending"


def ask_anew(address: str) -> str:
    """Ask on a new connection; tells how it went."""
    try:
        with connected(address) as [connection]:
            connection.sendall(REQUEST)
            return str(read_answer(connection)[0].status)
    except ConnectionRefusedError:
        return "refused"
    except (OSError, HTTPException) as error:
        return repr(error)


def test_sigterm_under_load_loses_no_request(models: str) -> None:
    all_have_asked = Barrier(CLIENTS + 1)
    with running_service(models) as (process, address):

        def ask_until_refused() -> Counter[str]:
            outcomes = Counter([ask_anew(address)])
            all_have_asked.wait()
            while not outcomes["refused"]:
                outcomes[ask_anew(address)] += 1
            return outcomes

        with ThreadPoolExecutor(CLIENTS) as clients:
            asking = [clients.submit(ask_until_refused) for _ in range(CLIENTS)]
            all_have_asked.wait()
            process.send_signal(signal.SIGTERM)
            outcomes = sum((asked.result() for asked in asking), Counter())
        assert process.wait(timeout=TIMEOUT_SECONDS) == 0
    assert outcomes.keys() == {"200", "refused"}
    assert outcomes["refused"] == CLIENTS


def test_sigterm_ends_connections_without_resetting_them(models: str) -> None:
    with running_service(models) as (process, address):
        with connected(address, 4) as [idle, unused, asking, arriving]:
            for connection in (idle, asking):
                connection.sendall(REQUEST)
                assert read_answer(connection)[0].headers["connection"] is None
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: is_told_to_move_on(address))
            asking.sendall(REQUEST)
            assert read_answer(asking)[0].headers["connection"] == "close"
            arriving.sendall(REQUEST[:-5])
            for connection in (idle, unused, asking):
                assert connection.recv(1) == b""
            arriving.sendall(REQUEST[-5:])
            assert read_answer(arriving)[0].status == 200
            assert arriving.recv(1) == b""
        assert process.wait(timeout=TIMEOUT_SECONDS) == 0


def test_a_second_signal_ends_it_without_a_traceback(models: str) -> None:
    with running_service(models) as (process, address):
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: is_told_to_move_on(address))
        process.send_signal(signal.SIGINT)
        log, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0
    assert "Traceback" not in log


def test_sigterm_while_it_loads_ends_it_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_s3:
        port = silent_s3.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.serve_model", "any-bucket"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        silent_s3.settimeout(TIMEOUT_SECONDS)
        connection, _ = silent_s3.accept()
        with connection:
            process.send_signal(signal.SIGTERM)
            log, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0
    assert log.endswith(" - Stopped by SIGTERM when loading the model.\n")


def is_told_to_move_on(address: str) -> bool:
    return client.get(f"{address}/livez").headers.get("connection") == "close"


def test_sigkill_of_one_of_two_loses_only_what_is_in_flight(models: str) -> None:
    """Clients take the replicas in turn; whoever is refused goes on to the next."""
    all_have_asked = Barrier(CLIENTS + 1)
    gone = Event()

    def ask_in_turn(addresses: list[str]) -> Counter[str]:
        outcomes = Counter(map(ask_anew, addresses))
        all_have_asked.wait()
        for address in cycle(addresses):
            if outcomes["refused"] == 20:
                break
            was_gone = gone.is_set()
            outcome = ask_anew(address)
            lost = outcome not in ("200", "refused")
            outcomes["lost" if lost else outcome] += 1
            assert not lost or (address == addresses[0] and not was_gone), outcome
        return outcomes

    with (
        running_service(models) as (process, first),
        running_service(models) as (_, second),
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        asking = [clients.submit(ask_in_turn, [first, second]) for _ in range(CLIENTS)]
        all_have_asked.wait()
        process.kill()
        process.wait()
        gone.set()
        outcomes = [asked.result() for asked in asking]
    for outcome in outcomes:
        assert outcome["200"] >= outcome["refused"] == 20
