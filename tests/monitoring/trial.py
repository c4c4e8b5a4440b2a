"""Break the service in each way that an alert tells of, and see that it is told.

Usage: python -m tests.monitoring.trial

The service runs as a process, with a model that was trained; the real Prometheus asks
it each second, with the rules of deploy/monitoring; the real Alertmanager posts to a
webhook. For each alert something is broken, the message waited for, the fault mended,
and its end waited for. No other alert may come. Then each query of the dashboard is
made.

All times of the rules are divided by 60: a minute passes in a second. There is no
Kubernetes: what kube-state-metrics would say, a stub says.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple
from urllib.parse import urlencode

import boto3
import yaml

from pipeline import aws
from sandbox.orders import deliver_week, make_week
from sandbox.ports import HOST, free_port
from sandbox.processes import run_process
from sandbox.s3_server import make_bucket, replace_aws_settings, run_s3_server
from tests.monitoring.manifests import RULES, alerts, dashboard_queries, quicken

FACTOR = 60
TIMEOUT_SECONDS = 180
REQUEST_SECONDS = 0.05
PATH = "/api/v0.1/time_to_dispatch"
# What is asked with; the examples of the document, made at the start, have others.
ORDERS_PLACED = 50
PROGRAMS = ["prometheus", "prometheus-alertmanager"]
GOOD, OLD, REFUSED = "good", "old", "refused"

# No model that is loaded from S3 does either.
SERVE_WITH = """
import math, sys, time
from pipeline import serve_model
from pipeline.logs import configure_logger
def failing(orders_placed):
    return math.nan if orders_placed == %d else 1.0
def slow(orders_placed):
    time.sleep(0.2)
    return 1.0
read_curves = serve_model.read_curves
serve_model.read_curves = lambda model: dict.fromkeys(read_curves(model), %s)
configure_logger()
serve_model.main(sys.argv[1])
"""


class Service:
    """The service behind a load balancer: one process, replaced as a rollout does.

    Attributes:
        changed: When another process took over, or the last one was gone.
    """

    def __init__(self, targets: Path) -> None:
        self.targets = targets
        self.port = 0
        self.changed = 0.0
        self.running = ExitStack()

    def roll_out(self, bucket: str = GOOD, defect: str = "") -> None:
        """Start another process, then let the one before go."""
        port, process = free_port(), ExitStack()
        program = ["-m", "pipeline.serve_model"]
        if defect:
            program = ["-c", SERVE_WITH % (ORDERS_PLACED, defect)]
        process.enter_context(run_with_port(port, sys.executable, *program, bucket))
        wait_until(lambda: answers(port, "/readyz"), "the service starts")
        self.port = port
        labels = {"namespace": "time-to-dispatch", "job": "serve-model"}
        target = {"targets": [f"{HOST}:{port}"], "labels": labels}
        written = self.targets.with_suffix(".new")
        written.write_text(json.dumps([target]))
        written.replace(self.targets)
        self.changed = time.monotonic()
        # Until Prometheus knows it.
        time.sleep(3)
        self.running.close()
        self.running = process

    def stop(self) -> None:
        self.running.close()
        self.changed = time.monotonic()


@contextmanager
def run_with_port(port: int, *command: str) -> Iterator[None]:
    """Run what listens where its environment says; its log is for nobody."""
    os.environ |= {"HOST": HOST, "PORT": str(port)}
    with run_process(*command, stdout=subprocess.DEVNULL):
        yield


class Load(Thread):
    """Clients who ask all the time.

    Attributes:
        orders_placed: What they ask with.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self.service = service
        self.orders_placed = ORDERS_PLACED
        self.ended = Event()

    def run(self) -> None:
        while not self.ended.wait(REQUEST_SECONDS):
            # One of them has a product that the model does not know.
            for product in ("SKU001", "SKU002", "SKU003", "SKU004", "SKU005", "SKU9"):
                order = {"product_code": product, "orders_placed": self.orders_placed}
                ask(self.service.port, "POST", PATH, json.dumps(order))


def ask(port: int, method: str, path: str, body: str | None = None) -> bytes | None:
    """The body of a good answer; None where there is none."""
    connection = HTTPConnection(HOST, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        return content if response.status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def answers(port: int, path: str) -> bool:
    return ask(port, "GET", path) is not None


class Cluster:
    """What kube-state-metrics says of the weekly run and the Deployment.

    Attributes:
        scheduled: When the weekly run last started.
        jobs: Its Jobs: since when, and whether each is complete, failed or active.
    """

    def __init__(self) -> None:
        self.scheduled = hours_ago(48)
        self.jobs = {"friday": (self.scheduled, "complete")}

    def describe(self) -> str:
        namespace = 'namespace="bodywork-deployment-jobs"'
        cronjob = f'{{{namespace},cronjob="time-to-dispatch"}}'
        lines = [
            'kube_deployment_status_replicas_available{namespace="time-to-dispatch",'
            'deployment="serve-model"} 2',
            f"kube_cronjob_created{cronjob} {hours_ago(5000)}",
            f"kube_cronjob_status_last_schedule_time{cronjob} {self.scheduled}",
        ]
        for name, (started, state) in self.jobs.items():
            job = f'{namespace},job_name="{name}"'
            owner = 'owner_kind="CronJob",owner_name="time-to-dispatch"'
            lines += [
                f'kube_job_owner{{{job},{owner},owner_is_controller="true"}} 1',
                f"kube_job_status_start_time{{{job}}} {started}",
                f"kube_job_status_active{{{job}}} {int(state == 'active')}",
            ]
            if state != "active":
                lines.append(f'kube_job_{state}{{{job},condition="true"}} 1')
        return "\n".join([*lines, ""])


def hours_ago(hours: float) -> float:
    return time.time() - hours * 3600


class Message(NamedTuple):
    """That an alert began or ended."""

    alert: str
    status: str


class Listener:
    """Answers GET with what a cluster says, and keeps what is posted by Alertmanager.

    Attributes:
        messages: What was posted so far.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.messages: list[Message] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(cluster.describe().encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for alert in json.loads(body)["alerts"]:
                    name = alert["labels"]["alertname"]
                    listener.messages.append(Message(name, alert["status"]))
                self.answer(b"")

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer((HOST, 0), Handler)
        self.port = self.server.server_port

    @contextmanager
    def listening(self) -> Iterator[None]:
        Thread(target=self.server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            self.server.shutdown()
            self.server.server_close()


@contextmanager
def run_alertmanager(folder: Path, webhook: int) -> Iterator[int]:
    """Run Alertmanager, which posts to a port; yields its own."""
    receiver = {"url": f"http://{HOST}:{webhook}/", "send_resolved": True}
    route = {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "1d"}
    configuration = {
        "route": {"receiver": "webhook", "group_by": ["alertname"], **route},
        "receivers": [{"name": "webhook", "webhook_configs": [receiver]}],
    }
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    with run_process(
        "prometheus-alertmanager",
        f"--config.file={folder}/alertmanager.yaml",
        f"--storage.path={folder}/alertmanager",
        f"--web.listen-address={HOST}:{port}",
        "--cluster.listen-address=",
        "--log.level=error",
    ):
        wait_until(lambda: answers(port, "/-/ready"), "Alertmanager starts")
        yield port


@contextmanager
def run_prometheus(folder: Path, alertmanager: int, cluster: int) -> Iterator[int]:
    """Run Prometheus, which reads its targets from a file; yields its port."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(quicken(FACTOR)))
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{folder}/rules.yaml"],
        "alerting": {
            "alertmanagers": [
                {"static_configs": [{"targets": [f"{HOST}:{alertmanager}"]}]}
            ]
        },
        "scrape_configs": [
            {
                "job_name": "serve-model",
                "file_sd_configs": [
                    {"files": [f"{folder}/targets.json"], "refresh_interval": "1s"}
                ],
            },
            {
                "job_name": "kube-state-metrics",
                "honor_labels": True,
                "static_configs": [{"targets": [f"{HOST}:{cluster}"]}],
            },
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    with run_process(
        "prometheus",
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/prometheus",
        f"--web.listen-address={HOST}:{port}",
        "--log.level=error",
    ):
        wait_until(lambda: answers(port, "/-/ready"), "Prometheus starts")
        yield port


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something.

    Raises:
        RuntimeError: It has not come in time.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"Waited {TIMEOUT_SECONDS} seconds in vain: {what}.")
        time.sleep(0.05)


def make_models() -> None:
    """Train a model, and put it into three buckets: as it is; as if it were made nine
    days ago; and with a newer one that cannot be read."""
    for bucket in (GOOD, OLD, REFUSED):
        make_bucket(bucket)
    deliver_week(make_week(1000, seed=1), datetime.now(UTC), GOOD, "datasets")
    training = [sys.executable, "-m", "pipeline.train_model", GOOD, "0.8", "0.9"]
    subprocess.run(training, check=True, stdout=subprocess.DEVNULL)
    model = aws.get_latest_pkl_model_from_s3(GOOD, "models")
    model.put_model_to_s3(REFUSED, "models")
    later = f"models/m_{datetime.now(UTC) + timedelta(minutes=1):%Y-%m-%dT%H:%M:%S}.pkl"
    boto3.client("s3").put_object(Bucket=REFUSED, Key=later, Body=b"torn")
    model._creation_time -= timedelta(days=9)
    model.put_model_to_s3(OLD, "models")


class Fault(NamedTuple):
    """A way to break it, and to mend it."""

    alert: str
    what: str
    inflict: Callable[[], object]
    mend: Callable[[], object]


def list_faults(service: Service, load: Load, cluster: Cluster) -> list[Fault]:
    def set_orders(orders_placed: int) -> Callable[[], None]:
        return lambda: setattr(load, "orders_placed", orders_placed)

    def set_job(hours: float, state: str) -> Callable[[], None]:
        return lambda: cluster.jobs.update({"by-hand": (hours_ago(hours), state)})

    def set_scheduled(hours: float) -> Callable[[], None]:
        return lambda: setattr(cluster, "scheduled", hours_ago(hours))

    def roll_out(*release: str) -> Callable[[], None]:
        return lambda: service.roll_out(*release)

    mend = service.roll_out
    return [
        Fault("NoEstimates", "the process is stopped", service.stop, mend),
        Fault("EstimatesFail", "code that fails", roll_out(GOOD, "failing"), mend),
        Fault("EstimatesSlow", "code that waits 0.2 s", roll_out(GOOD, "slow"), mend),
        Fault(
            *("OrdersBeyondObserved", "all ask with 10,000 orders"),
            *(set_orders(10_000), set_orders(ORDERS_PLACED)),
        ),
        Fault("ModelOld", "a model made nine days ago", roll_out(OLD), mend),
        Fault("NewerModelRefused", "a newer model is torn", roll_out(REFUSED), mend),
        Fault(
            *("WeeklyRunFailed", "a stub says that a Job failed"),
            *(set_job(1, "failed"), set_job(0.5, "complete")),
        ),
        Fault(
            *("WeeklyRunNotStarted", "a stub says that the last began 8 days ago"),
            *(set_scheduled(8 * 24), set_scheduled(1)),
        ),
        Fault(
            *("WeeklyRunHangs", "a stub says that a Job began 4 hours ago"),
            *(set_job(4, "active"), set_job(4, "complete")),
        ),
    ]


def try_fault(
    fault: Fault, service: Service, messages: list[Message]
) -> tuple[float, float]:
    """Break it, and mend it; returns the seconds until each was told.

    Raises:
        RuntimeError: It was not told, or something else was.
    """
    seconds = []
    messages.clear()
    for act, status in ((fault.inflict, "firing"), (fault.mend, "resolved")):
        began = time.monotonic()
        act()
        # A rollout takes some seconds, before which nothing is broken.
        began = max(began, service.changed)
        message = Message(fault.alert, status)
        wait_until(lambda: message in messages, f"{fault.alert} is {status}")
        seconds.append(time.monotonic() - began)
    others = {each.alert for each in messages} - {fault.alert}
    if others:
        raise RuntimeError(f"{fault.alert} was told, and so was {', '.join(others)}.")
    firing, resolved = seconds
    return firing, resolved


def check_dashboard(prometheus: int) -> int:
    """Make each query of the dashboard; returns how many there are.

    Raises:
        RuntimeError: One has no data.
    """
    queries = list(dashboard_queries())
    for title, query in queries:
        query = query.replace("$__rate_interval", "60s")
        path = f"/api/v1/query?{urlencode({'query': query})}"
        answer = json.loads(ask(prometheus, "GET", path) or "{}")
        values = [
            float(each["value"][1]) for each in answer.get("data", {}).get("result", [])
        ]
        if not any(value == value for value in values):
            raise RuntimeError(f"The panel {title!r} has no data: {query}")
    return len(queries)


def main() -> None:
    """Try all alerts, and print a table.

    Raises:
        RuntimeError: One was not told, or a panel of the dashboard has no data.
    """
    patience = {alert["alert"]: alert["for"] for alert in alerts(RULES)}
    # Whatever runs ends before its folder goes.
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        enter, folder = stack.enter_context, Path(name)
        replace_aws_settings(enter(run_s3_server()))
        make_models()
        cluster = Cluster()
        listener = Listener(cluster)
        enter(listener.listening())
        service = Service(folder / "targets.json")
        stack.callback(service.stop)
        alertmanager = enter(run_alertmanager(folder, listener.port))
        service.roll_out()
        prometheus = enter(run_prometheus(folder, alertmanager, listener.port))
        load = Load(service)
        load.start()
        stack.callback(load.ended.set)
        # Until rates are known; what is told of the start counts for nothing.
        time.sleep(10)
        faults = list_faults(service, load, cluster)
        assert [fault.alert for fault in faults] == list(patience)
        print(f"All times of the rules are divided by {FACTOR}.", flush=True)
        print("| alert | fault | `for` | seconds to its message | to its end |")
        print("|---|---|---|---|---|", flush=True)
        for fault in faults:
            firing, resolved = try_fault(fault, service, listener.messages)
            row = f"{fault.alert} | {fault.what} | {patience[fault.alert]}"
            print(f"| {row} | {firing:.1f} | {resolved:.1f} |", flush=True)
        count = check_dashboard(prometheus)
        print(f"All {count} queries of the dashboard return data.")


if __name__ == "__main__":
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        sys.exit(
            "not run: install prometheus and prometheus-alertmanager "
            f"({' and '.join(missing)} not found)"
        )
    with suppress(KeyboardInterrupt):
        try:
            main()
        except RuntimeError as error:
            sys.exit(str(error))
