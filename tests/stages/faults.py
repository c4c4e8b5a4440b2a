"""Training under each fault of the network and of S3, and the page that tells it.

Write docs/reliability.md anew: python -m tests.stages.faults
"""

import multiprocessing
import os
import re
import runpy
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import boto3

from pipeline import aws, train_model
from pipeline.records import read_records
from sandbox.orders import deliver_week, make_week
from sandbox.processes import ROOT
from sandbox.s3_server import make_bucket, replace_aws_settings, run_s3_server
from tests.stages import s3_proxy
from tests.stages.s3_proxy import Act, Request, run_s3_proxy

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

PAGE = ROOT / "docs" / "reliability.md"
ROWS = 600
NOW = datetime.now(UTC)
SMALL_GRID = {"random_state": [42], "max_depth": [8], "min_samples_leaf": [5]}
EVER = 1_000
FAILED = "Error encountered when training model - "
# So that what never comes is given up sooner; both can be set by anyone.
IMPATIENT = {"AWS_MAX_ATTEMPTS": "2"}
HURRIED = {"S3_DEADLINE_SECONDS": "15"}

FORKING = multiprocessing.get_context("forkserver")
# Each stage is a process of its own, without the second in which it imports these.
FORKING.set_forkserver_preload(
    ["__main__", __name__, "pandera.strategies.pandas_strategies"]
)


class Fault(NamedTuple):
    """Something that goes wrong.

    Attributes:
        what: For the page.
        when: The kind of request to which it happens, as S3Proxy tells it.
        act: Happens to the request.
        first: The first request of its kind to which it happens.
        times: To how many requests of its kind in a row it happens.
        kill_after: How the log line starts after which the process gets SIGKILL.
        settings: Environment variables.
    """

    what: str
    when: str
    act: Act
    first: int = 1
    times: int = EVER
    kill_after: str = ""
    settings: dict[str, str] = {}


class Outcome(NamedTuple):
    """What was found after a fault, as told by the page."""

    exit_code: str
    models: str
    record: str
    says: str
    again: str


def refuse_the_newest(request: Request) -> None:
    """Refuse whoever reads the newest of the models, and no other."""
    newest = "older" not in request.path
    (ACCESS_DENIED if newest else s3_proxy.pass_on)(request)


def replace_delivery(request: Request) -> None:
    """Replace the newest delivery after it was listed, before it is read."""
    bucket, key = unquote(urlsplit(request.path).path).lstrip("/").split("/", 1)
    seed = 2 + len(request.proxy.delivered)
    week = make_week(ROWS, seed).assign(delivered=seed).to_csv(index=False).encode()
    put = s3_client().put_object(Bucket=bucket, Key=key, Body=week)
    request.proxy.delivered.add(put["VersionId"])
    s3_proxy.pass_on(request)


SLOW_DOWN = s3_proxy.answer_error(503, "SlowDown", "Please reduce your request rate.")
INTERNAL_ERROR = s3_proxy.answer_error(500, "InternalError", "We encountered an error.")
ACCESS_DENIED = s3_proxy.answer_error(403, "AccessDenied", "Access Denied")
NO_BUCKET = s3_proxy.answer_error(404, "NoSuchBucket", "The bucket does not exist")
NO_KEY = s3_proxy.answer_error(404, "NoSuchKey", "The key does not exist.")
CONFLICT = s3_proxy.answer_error(
    409, "ConditionalRequestConflict", "A conflicting operation is under way."
)
SHORTER = s3_proxy.answer_with(lambda body: body[:-9])
LONGER = s3_proxy.answer_with(lambda body: body * 2)
CHANGED = s3_proxy.answer_with(lambda body: body.replace(b"1", b"7", 1))

# The second "read datasets" is of the delivery that the model in service learnt from.
LIST, READ, WRITE = "list datasets", "read datasets", "write models"
READ_MODEL = "read models"
LIST_RECORDS, WRITE_RECORD = "list runs", "write runs"

LASTING = [
    Fault("connections are refused", LIST, s3_proxy.refuse_for_ever),
    Fault("the connection is reset", LIST, s3_proxy.reset_at_once),
    Fault("S3 answers 500", LIST, INTERNAL_ERROR),
    Fault("S3 answers 503 SlowDown", LIST, SLOW_DOWN),
    Fault("S3 answers 403", LIST, ACCESS_DENIED),
    Fault("S3 answers 404", LIST, NO_BUCKET),
    Fault("the answer drips without end", LIST, s3_proxy.drip, settings=HURRIED),
    Fault("connections are refused", READ, s3_proxy.refuse_for_ever),
    Fault("S3 answers 500", READ, INTERNAL_ERROR),
    Fault("S3 answers 503 SlowDown", READ, SLOW_DOWN),
    Fault("S3 answers 403", READ, ACCESS_DENIED),
    Fault("S3 answers 404", READ, NO_KEY),
    Fault("the connection is reset half way", READ, s3_proxy.reset_within_the_answer),
    Fault("the body breaks off half way", READ, s3_proxy.break_off),
    Fault("the body is shorter than listed", READ, SHORTER),
    Fault("the body is longer than listed", READ, LONGER),
    Fault("one byte of the body is changed", READ, CHANGED),
    Fault("the body stalls half way", READ, s3_proxy.stall, settings=HURRIED),
    Fault("the body drips without end", READ, s3_proxy.drip, settings=HURRIED),
    Fault("the delivery is replaced", READ, replace_delivery),
    Fault("S3 answers 500", READ_MODEL, INTERNAL_ERROR),
    Fault("one byte of the body is changed", READ_MODEL, CHANGED),
    Fault("S3 answers 403 for it, not for an older one", READ_MODEL, refuse_the_newest),
    Fault("S3 answers 500", READ, INTERNAL_ERROR, first=2),
    Fault("connections are refused", WRITE, s3_proxy.refuse_for_ever),
    Fault("S3 answers 500", WRITE, INTERNAL_ERROR),
    Fault("S3 answers 503 SlowDown", WRITE, SLOW_DOWN),
    Fault("S3 answers 403", WRITE, ACCESS_DENIED),
    Fault("S3 answers 404", WRITE, NO_BUCKET),
    Fault("S3 answers 409", WRITE, CONFLICT),
    Fault("the connection is reset half way", WRITE, s3_proxy.reset_within_the_request),
    Fault("no answer comes", WRITE, s3_proxy.give_no_answer, settings=HURRIED),
    Fault("the answer is lost", WRITE, s3_proxy.lose_the_answer),
    Fault("S3 answers 403", LIST_RECORDS, ACCESS_DENIED),
    Fault("S3 answers 403", WRITE_RECORD, ACCESS_DENIED),
    Fault("no answer comes", WRITE_RECORD, s3_proxy.give_no_answer, settings=HURRIED),
]
PASSING = [
    Fault("connections are refused", LIST, s3_proxy.refuse_for_a_moment, times=1),
    Fault("S3 answers 500", LIST, INTERNAL_ERROR, times=1),
    Fault("S3 answers 503 SlowDown", LIST, SLOW_DOWN, times=2),
    Fault("S3 answers 503 SlowDown", READ, SLOW_DOWN, times=2),
    Fault(
        "the connection is reset half way",
        READ,
        s3_proxy.reset_within_the_answer,
        times=2,
    ),
    Fault("the body breaks off half way", READ, s3_proxy.break_off, times=2),
    Fault("the body is shorter than listed", READ, SHORTER, times=2),
    Fault("one byte of the body is changed", READ, CHANGED, times=2),
    Fault("the body stalls half way", READ, s3_proxy.stall, times=1),
    Fault("the delivery is replaced", READ, replace_delivery, times=1),
    Fault("the body breaks off half way", READ_MODEL, s3_proxy.break_off, times=2),
    Fault("connections are refused", WRITE, s3_proxy.refuse_for_a_moment, times=1),
    Fault("S3 answers 500", WRITE, INTERNAL_ERROR, times=2),
    Fault("S3 answers 503 SlowDown", WRITE, SLOW_DOWN, times=2),
    Fault("S3 answers 409", WRITE, CONFLICT, times=2),
    Fault(
        "the connection is reset half way",
        WRITE,
        s3_proxy.reset_within_the_request,
        times=2,
    ),
    Fault("the answer is lost", WRITE, s3_proxy.lose_the_answer, times=1),
]
# How each line of the log starts. What is killed has no answer to its put by then: the
# kill may come a moment after the line.
LOG = [
    "Starting train-model stage",
    "Retrieved dataset",
    "Checked delivery",
    "Scored the model in service",
    "Drift",
    "Grown for all candidates",
    "Fitted because they could win",
    "Searched",
    "Projection removed",
    "Trained model",
    "Kept",
    "Calibrated ranges",
    "Compared with the champion",
    "Model serialised",
    "Recorded this run",
]
KILLED = [
    *(
        Fault(
            f"after the log line “{line} ...”",
            WRITE,
            s3_proxy.give_no_answer,
            kill_after=line,
        )
        # After the last one there is nothing left to do.
        for line in LOG[:-2]
    ),
    Fault(
        f"after the log line “{LOG[-2]} ...”",
        WRITE_RECORD,
        s3_proxy.give_no_answer,
        kill_after=LOG[-2],
    ),
    Fault("while half of the model is sent", WRITE, s3_proxy.kill_within_the_request),
    Fault("before S3 has answered", WRITE, s3_proxy.kill_before_the_answer),
]
TABLES = {"lasting": LASTING, "passing": PASSING, "killed": KILLED}
# Those in which training waits: they can be tried at once.
WAITING = [
    fault
    for fault in LASTING + PASSING
    if fault.act in (s3_proxy.drip, s3_proxy.stall, s3_proxy.give_no_answer)
]
# How buckets were left where training succeeded again: what was added, and whether the
# delivery was replaced. A bucket is all that a run sees of those before.
TRIED_AGAIN: set[tuple[str, bool]] = set()


def s3_client() -> "S3Client":
    return boto3.client("s3")


class StoppedClock(datetime):
    """Has one second, so that models made by it have the same name."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        microsecond = datetime.now().microsecond
        return cls.fromtimestamp(NOW.timestamp(), tz).replace(microsecond=microsecond)


def be_the_stage(
    bucket: str, environment: dict[str, str], stop_clock: bool, output: Connection
) -> None:
    """Become the stage, in a new process: the file that Bodywork runs, run by name."""
    if stop_clock:
        setattr(aws.models, "datetime", StoppedClock)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["train_model.py", bucket, "0.5", "0.6"]
    runpy.run_path(str(ROOT / "pipeline" / "train_model.py"), run_name="__main__")


class Run:
    """A stage that runs as a process."""

    def __init__(
        self, bucket: str, settings: dict[str, str], stop_clock: bool = False
    ) -> None:
        log, output = FORKING.Pipe(duplex=False)
        environment = {**os.environ, **settings}
        self.process = FORKING.Process(
            target=be_the_stage, args=[bucket, environment, stop_clock, output]
        )
        self.process.start()
        output.close()
        self._log = os.fdopen(os.dup(log.fileno()), encoding="utf-8")
        log.close()
        self.lines: list[str] = []

    def wait(self, kill_after: str = "") -> int:
        """Wait for its end, or for a log line; returns the exit code."""
        with self._log:
            for line in self._log:
                self.lines.append(line.rstrip())
                if kill_after and f" - {kill_after}" in line:
                    self.process.kill()
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode


@cache
def champion() -> tuple[str, bytes]:
    """The key and the content of a model in service, which all buckets have."""
    bucket = make_bucket_with_deliveries(weeks=1)
    train_model.main(bucket, 0.5, 0.6, SMALL_GRID)
    found = aws.list_artefacts_on_s3("pkl", bucket, "models")[0]
    stored = s3_client().get_object(Bucket=bucket, Key=found.key)
    return found.key, stored["Body"].read()


def make_bucket_with_deliveries(weeks: int) -> str:
    bucket = f"test-{uuid4()}"
    make_bucket(bucket)
    for week in range(1, weeks + 1):
        at = NOW - timedelta(days=7 * (2 - week), hours=1)
        deliver_week(make_week(ROWS, seed=week), at, bucket, "datasets")
    return bucket


def make_bucket_with_champion() -> str:
    """A bucket with last week's delivery and its model, and this week's delivery.

    The model is there twice, for training is to go back to the older one.
    """
    bucket = make_bucket_with_deliveries(weeks=2)
    key, content = champion()
    for name in (key, "models/older_2021-07-02T23:45:28.pkl"):
        s3_client().put_object(Bucket=bucket, Key=name, Body=content)
    return bucket


def contents(bucket: str) -> dict[str, str]:
    """All versions of all objects, with deletions: version to key."""
    listed = s3_client().list_object_versions(Bucket=bucket)
    found = [*listed.get("Versions", []), *listed.get("DeleteMarkers", [])]
    return {version["VersionId"]: version["Key"] for version in found}


def tell_change(bucket: str, before: dict[str, str], delivered: set[str]) -> str:
    """What was added to a bucket since: nothing, or new models, each one whole.

    Args:
        delivered: Versions that others have put meanwhile.
    """
    after = contents(bucket)
    assert before.items() <= after.items(), "something was lost"
    added = [after[version] for version in after.keys() - before.keys() - delivered]
    assert not set(added) & set(before.values()), "something was overwritten"
    assert len(set(added)) == len(added), "something was overwritten"
    new = [key for key in added if not key.startswith("runs/")]
    if not new:
        return "as they were"
    for artefact in aws.list_artefacts_on_s3("pkl", bucket, "models"):
        found = aws.get_object_from_s3(artefact)
        assert found is not None
        aws.check_loadable(aws.load_model(found))
    assert all(key.startswith("models/") for key in new)
    return {1: "one new model", 2: "two new models"}[len(new)]


def tell_record(bucket: str, before: dict[str, str]) -> str:
    """What was recorded of the run since: its outcome."""
    new = [each for each in read_records(bucket) if each.key not in before.values()]
    if not new:
        return "none"
    (found,) = new
    assert found.record is not None, found.refusal
    return found.record.outcome


def run_under(fault: Fault) -> Outcome:
    """Train under a fault, and once more without, if no other left a bucket so."""
    bucket = make_bucket_with_champion()
    before = contents(bucket)
    with run_s3_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        happened: list[int] = []

        def fail(request: Request, kind: str, count: int) -> None:
            if kind == fault.when and 0 <= count - fault.first < fault.times:
                happened.append(count)
                fault.act(request)
            else:
                s3_proxy.pass_on(request)

        proxy.fail = fail
        patience = IMPATIENT if fault.times == EVER else {}
        settings = {"AWS_ENDPOINT_URL": proxy.address, **patience, **fault.settings}
        run = Run(bucket, settings)
        proxy.kill = run.process.kill
        exit_code = run.wait(fault.kill_after)
        # A process that is killed early asks for nothing.
        least = fault.times if fault in PASSING else 0 if fault.kill_after else 1
        assert len(happened) >= least, "it did not happen"
        change = tell_change(bucket, before, proxy.delivered)

    record = tell_record(bucket, before)
    left = change, bool(proxy.delivered)
    if left not in TRIED_AGAIN:
        train_again(bucket)
        TRIED_AGAIN.add(left)
    says = "" if exit_code < 0 else tell_log(run.lines, bucket)
    return Outcome(tell_exit_code(exit_code), change, record, says, "succeeds")


def train_again(bucket: str) -> None:
    """Train without a fault, which adds a model."""
    before = contents(bucket)
    run = Run(bucket, {})
    exit_code = run.wait()
    change = tell_change(bucket, before, set())
    assert (exit_code, change) == (0, "one new model"), run.lines


def tell_exit_code(exit_code: int) -> str:
    return "137, SIGKILL" if exit_code == -signal.SIGKILL else str(exit_code)


def tell_log(lines: list[str], bucket: str) -> str:
    """The warnings and the error in a log, without what differs from run to run."""
    told = []
    for line in lines:
        _, level, _, message = line.split(" - ", 3)
        if level != "INFO":
            message = message.removeprefix(FAILED).replace(bucket, "BUCKET")
            message = re.sub(r"http://127\.0\.0\.1:\d+", "https://S3", message)
            message = re.sub(r"[\d-]{10}T\d\d(:|%3A)\d\d(:|%3A)\d\d", "TIME", message)
            message = re.sub(r"checksum:? [\w+/]{6}==", "checksum ...", message)
            message = re.sub(r": r-squared=.*", "", message)
            told.append(f"{level}: {message}")
    return "<br>".join(told)


WHEN = {
    LIST: "deliveries are listed",
    READ: "the delivery is read",
    READ_MODEL: "the model in service is read",
    WRITE: "the new model is written",
    LIST_RECORDS: "the records of runs are listed",
    WRITE_RECORD: "the record of the run is written",
}


def tell_fault(fault: Fault) -> str:
    """What goes wrong, when and how often, as told by the page."""
    if fault in KILLED:
        return fault.what
    when = WHEN[fault.when]
    if fault.first > 1:
        when = "the delivery of the model in service is read"
    times = {1: ", once", 2: ", twice"}.get(fault.times, "")
    return f"{fault.what}, when {when}{times}"


def tell_row(fault: Fault, outcome: Outcome) -> str:
    """The row of a fault in its table."""
    cells = [tell_fault(fault), *outcome]
    if fault not in LASTING:
        assert not outcome.says, outcome.says
        cells.remove("")
    return f"| {' | '.join(cells)} |"


def write_page() -> None:
    """Try every fault, and write what was found into the page."""
    faults = [fault for table in TABLES.values() for fault in table]
    champion()
    rows_of = {}
    with ThreadPoolExecutor(2) as pool:
        for fault, outcome in zip(faults, pool.map(run_under, faults), strict=True):
            rows_of[id(fault)] = tell_row(fault, outcome)
            print(rows_of[id(fault)], flush=True)
    page = PAGE.read_text()
    for name, table in TABLES.items():
        rows = "".join(f"{rows_of[id(fault)]}\n" for fault in table)
        written = find_rows(name, page)
        page = page[: written.start(1)] + rows + page[written.end(1) :]
    PAGE.write_text(page)


def find_rows(table: str, page: str) -> re.Match[str]:
    """Find the rows of a table, below its header, as the group 1."""
    found = re.search(rf"<!-- {table} -->\n\|.*\n\|.*\n((?:\|.*\n)*)", page)
    assert found is not None, table
    return found


if __name__ == "__main__":
    with run_s3_server() as settings:
        replace_aws_settings(settings)
        write_page()
