"""A whole pipeline on this machine: deliver, train, serve, ask.

Stays up until Ctrl-C, and then ends every process that it started.
"""

import json
import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from subprocess import Popen, TimeoutExpired
from threading import Thread
from urllib.request import Request, urlopen

from sandbox.pipelines import PIPELINES, Pipeline, find_pipeline
from sandbox.ports import HOST
from sandbox.processes import ROOT, run_process
from sandbox.s3_server import make_bucket, replace_aws_settings, run_s3_server

READY_TIMEOUT_SECONDS = 60
PROGRESS_SECONDS = 5
POLL_SECONDS = 0.2

# Stays when everything has ended.
REPORT = ROOT / "report"

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(port: int, pipeline: Pipeline) -> None:
    """Run a pipeline and serve on a port of the loopback until a signal ends it.

    Raises:
        RuntimeError: The port is taken, or a process failed.
        KeyboardInterrupt: A signal has ended it.
    """
    check_port(port, pipeline)
    say("Starting a local S3 server ...")
    with run_s3_server() as settings:
        replace_aws_settings(settings)
        say(f"S3 answers on {settings['AWS_ENDPOINT_URL']}; delivering.")
        make_bucket(pipeline.name)
        for delivered in pipeline.deliver(pipeline.name, datetime.now(UTC)):
            say(f"Delivered {delivered}")

        say("\nStage 1: training on the newest delivery.")
        train(pipeline)
        report = make_report(pipeline) if pipeline.has_report else ""

        say("\nStage 2: serving the newest model.")
        os.environ.update(HOST=HOST, PORT=str(port))
        address = f"http://{HOST}:{port}"
        with run_process(
            sys.executable, "-m", f"{pipeline.package}.serve_model", pipeline.name
        ) as service:
            wait_until_ready(service, f"{address}/readyz")
            show_request(address, pipeline)
            say(report + "Ctrl-C ends everything.")
            exit_code = service.wait()
            raise RuntimeError(f"The service ended by itself, exit code {exit_code}.")


def check_port(port: int, pipeline: Pipeline) -> None:
    """Make sure that the service will be able to open its port.

    Raises:
        RuntimeError: It will not.
    """
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        other = port + 1 if 1024 <= port < 65535 else 8001
        raise RuntimeError(
            f"Port {port} cannot be used: {error.strerror}; "
            f"choose another one: make run PORT={other} PIPELINE={pipeline.name}"
        ) from error


def train(pipeline: Pipeline) -> None:
    """Run the training stage, and show that it is still running.

    Raises:
        RuntimeError: It failed.
    """
    started = time.monotonic()
    with run_process(
        *(sys.executable, "-m", f"{pipeline.package}.train_model"),
        *(pipeline.name, *pipeline.thresholds),
    ) as training:
        while True:
            try:
                exit_code = training.wait(PROGRESS_SECONDS)
                break
            except TimeoutExpired:
                say(f"... training for {time.monotonic() - started:.0f} s")
    if exit_code != 0:
        raise RuntimeError(f"Training failed with exit code {exit_code}: see above.")


def make_report(pipeline: Pipeline) -> str:
    """Publish the pages of the run, and write them where a browser finds them.

    Returns:
        A line with their address; that it failed changes nothing else.
    """
    with run_process(
        *(sys.executable, "-m", f"{pipeline.package}.report", pipeline.name),
        *("--publish", "--output", str(REPORT)),
    ) as process:
        if process.wait() != 0:
            return "The report failed: see above.\n"
    return f"Report: {(REPORT / 'index.html').as_uri()}\n"


def wait_until_ready(service: "Popen[str]", address: str) -> None:
    """Wait until the service answers.

    Raises:
        RuntimeError: It ended, or did not answer in time.
    """
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise RuntimeError(
                f"The service failed with exit code {service.returncode}: see above."
            )
        try:
            urlopen(address, timeout=READY_TIMEOUT_SECONDS).close()
            return
        except OSError:
            time.sleep(POLL_SECONDS)
    raise RuntimeError(
        f"The service did not answer on {address} within {READY_TIMEOUT_SECONDS} s."
    )


def show_request(address: str, pipeline: Pipeline) -> None:
    """Make one request and print it, its answer and where to read on."""
    url = address + pipeline.endpoint
    body = json.dumps(pipeline.request)
    request = Request(url, body.encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=READY_TIMEOUT_SECONDS) as response:
        answer = json.load(response)
    say(
        f"\nAsk {pipeline.question}:\n\n"
        f"curl {url} -H 'Content-Type: application/json' -d '{body}'\n\n"
        f"{json.dumps(answer, indent=2)}\n\n"
        f"Documentation: {address}/docs"
    )


def say(line: str) -> None:
    print(line, flush=True)


def end_on_signals() -> None:
    """Turn the first signal that asks for the end into KeyboardInterrupt."""

    def end(*_: object) -> None:
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in ENDING_SIGNALS:
        signal.signal(number, end)


def end_with_parent() -> None:
    """End when the process that started this one is gone, for make may be killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, daemon=True).start()


@contextmanager
def terminal_without_make() -> Iterator[None]:
    """Let Ctrl-C in a terminal reach this process alone.

    Make, in the same process group, would take it for itself and report a failure.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        yield
        return
    group = os.getpgrp()
    if os.environ.get("MAKELEVEL") != "1" or os.tcgetpgrp(terminal) != group:
        yield
        return
    # Give the terminal back from the background; do not stop, for make would not.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(terminal, os.getpgrp())
    try:
        yield
    finally:
        # Whoever killed make may have closed the terminal as well.
        with suppress(OSError):
            os.tcsetpgrp(terminal, group)


def port_number(argument: str) -> int:
    port = int(argument)
    if not 0 < port < 65536:
        raise ValueError(argument)
    return port


if __name__ == "__main__":
    parser = ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument(
        "--port",
        type=port_number,
        default=8000,
        help="of the service, 1 to 65535 (default: 8000)",
    )
    parser.add_argument(
        "--pipeline",
        default=PIPELINES[0].name,
        help="its name (default: %(default)s)",
    )
    end_on_signals()
    end_with_parent()
    try:
        with terminal_without_make():
            chosen = parser.parse_args()
            main(chosen.port, find_pipeline(chosen.pipeline))
    except RuntimeError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        say("\nEnded, with every process that was started.")
