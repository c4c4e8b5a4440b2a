"""The whole pipeline on this machine, as `make run` starts it."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sandbox.ports import free_port
from tests.sandbox.process_tables import find_descendants, still_running
from tests.stages.services import client
from tests.test_readme import README, blocks, commands

pytestmark = [pytest.mark.once, pytest.mark.process]

ROOT = Path(__file__).parents[2]
IS_UP = "Ctrl-C ends everything."
TRAINING = "Starting train-model stage."


@contextmanager
def run_sandbox(
    *before: str, port: int, pipeline: str = "time-to-dispatch"
) -> Iterator["subprocess.Popen[str]"]:
    """Run the sandbox in a session of its own, without a terminal.

    Args:
        before: A program, with arguments, that starts it.
    """
    arguments = ["--port", str(port), "--pipeline", pipeline]
    with subprocess.Popen(
        [*before, sys.executable, "-m", "sandbox", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def read_until(text: str, process: "subprocess.Popen[str]") -> str:
    """The output up to the line with a text."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"{text!r} not in:\n{''.join(lines)}")


def read_rest(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.read()


@contextmanager
def run_in_a_terminal(*command: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a command as a person does; what is written to it is typed."""
    spawn = "import os, pty, sys; status = pty.spawn(sys.argv[1:]); "
    spawn += "sys.exit(os.waitstatus_to_exitcode(status))"
    with subprocess.Popen(
        [sys.executable, "-c", spawn, *command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as terminal:
        try:
            yield terminal
        finally:
            # Each has a session of its own, so that no group holds them all.
            for process in (*find_descendants(terminal.pid), terminal.pid):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def test_make_run_trains_serves_and_answers_until_ctrl_c() -> None:
    """With the commands of the first page, and of the page on requests."""
    port = free_port()
    api = (ROOT / "docs" / "api.md").read_text()
    requests = [line for line in commands(README) + commands(api) if line[0] == "curl"]
    [many] = [request for request in requests if "/api/v0.2/" in request[1]]
    requests.remove(many)
    assert len(requests) == 2
    with run_in_a_terminal("make", "run", f"PORT={port}") as make:
        output = read_until(IS_UP, make)
        assert output.count("Delivered s3://time-to-dispatch/datasets/") == 3
        assert "Model serialised and persisted to s3://time-to-dispatch/" in output
        assert f"Documentation: http://127.0.0.1:{port}/docs\n" in output
        assert client.get(f"http://127.0.0.1:{port}/docs").status_code == 200
        [report] = re.findall(r"^Report: file://(/.+)$", output, re.MULTILINE)
        assert "the model of" in Path(report).read_text()
        assert "s3://time-to-dispatch/reports/index.html" in output

        [shown] = [line for line in output.splitlines() if line.startswith("curl ")]
        answers = [ask(*request, port=port) for request in requests]
        answers.append(ask(*shlex.split(shown), port=port))
        assert answers[-1]["est_hours_to_dispatch"] == pytest.approx(8.4, abs=3)
        assert json.dumps(answers[-1], indent=2) in output
        [documented] = map(json.loads, blocks("json", README))
        for answer in answers:
            assert answer.keys() == documented.keys()
            assert answer["est_hours_to_dispatch"] > 0
        estimates = ask(*many, port=port)["estimates"]
        assert len(estimates) == 2
        for estimate in estimates:
            assert estimate["range"]["lower"] < estimate["range"]["upper"]

        started = find_descendants(make.pid)
        assert make.stdin is not None
        make.stdin.write("\x03")
        make.stdin.flush()
        farewell = read_rest(make)
        assert make.wait() == 0
        assert farewell.endswith("Ended, with every process that was started.\n")
        assert "Traceback" not in farewell and "make: ***" not in farewell
    assert not still_running(started)


def ask(*curl: str, port: int) -> Any:
    """Run a request that is shown for some port; returns its answer."""
    here = [re.sub(":[0-9]+/", f":{port}/", word) for word in curl]
    return json.loads(subprocess.check_output([*here, "--silent", "--fail"]))


def test_it_runs_that_of_irises_and_says_when_the_service_ends_by_itself() -> None:
    port = free_port()
    with run_sandbox(port=port, pipeline="iris") as process:
        output = read_until(IS_UP, process)
        assert output.count("Delivered s3://iris/datasets/iris_") == 1
        assert "Model serialised and persisted to s3://iris/models/iris_" in output
        page = (ROOT / "examples" / "iris" / "README.md").read_text()
        [documented] = re.findall("^curl .*$", page, re.MULTILINE)
        assert documented.replace(":8000/", f":{port}/") in output.splitlines()
        assert '"species_prediction": "setosa"' in output
        assert "Report: " not in output

        started = find_descendants(process.pid)
        [service] = [
            number
            for number, command in started.items()
            if "examples.iris.serve_model" in command and "sandbox" not in command
        ]
        os.kill(service, signal.SIGKILL)
        assert "The service ended by itself" in read_rest(process)
        assert process.wait() == 1
    assert not still_running(started)


def test_an_unknown_pipeline_ends_in_one_sentence() -> None:
    with run_sandbox(port=free_port(), pipeline="rose") as process:
        output = read_rest(process)
        assert process.wait() == 1
    known = "time-to-dispatch or iris"
    assert output == f"There is no pipeline 'rose'; set PIPELINE to {known}.\n"


def test_ctrl_c_ends_the_training() -> None:
    with run_sandbox(port=free_port()) as process:
        read_until(TRAINING, process)
        started = find_descendants(process.pid)
        assert len(started) == 4
        process.send_signal(signal.SIGINT)
        assert read_rest(process).splitlines()[-1].startswith("Ended, ")
        assert process.wait() == 0
    assert not still_running(started)


def test_it_ends_with_the_process_that_started_it() -> None:
    shell = ("sh", "-c", '"$@"; exit', "sh")
    with run_sandbox(*shell, port=free_port()) as process:
        read_until(TRAINING, process)
        started = find_descendants(process.pid)
        assert len(started) == 5
        process.kill()
        assert not still_running(started)


def test_a_taken_port_is_named_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with run_sandbox(port=port) as process:
            output = read_rest(process)
            assert process.wait() == 1
    assert output.startswith(f"Port {port} cannot be used: ")
    assert "choose another one: make run PORT=" in output
    assert output.count("\n") == 1


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_impossible_port_is_refused(port: int) -> None:
    with run_sandbox(port=port) as process:
        assert "argument --port" in read_rest(process)
        assert process.wait() != 0
