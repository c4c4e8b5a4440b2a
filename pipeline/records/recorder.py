"""Taking down what happens in a run, and leaving it in the bucket whatever came out."""

import logging
import platform
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import ValidationError

from pipeline import aws
from pipeline.logs import collecting_warnings
from pipeline.records.channels import ALERT_URLS, REPORT_URLS, send
from pipeline.records.message import (
    INTERRUPTED,
    compose_body,
    compose_report_title,
    compose_title,
)
from pipeline.records.record import Outcome, RunRecord, Thresholds
from pipeline.records.storage import add_record, find_previous, tell_address

LIBRARIES = ("boto3", "numpy", "pandas", "pydantic", "scikit-learn", "scipy")
PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)

log = logging.getLogger("pipeline")


class Recorder:
    """Takes down a run, step by step.

    Attributes:
        warnings: What was logged as a WARNING since the run began.
    """

    def __init__(
        self, pipeline: str, thresholds: Thresholds, warnings: list[str]
    ) -> None:
        """Begin.

        Args:
            pipeline: Its name, the first part of the record's.
            warnings: A list that others add to.
        """
        self.warnings = warnings
        self._facts: dict[str, Any] = {
            "pipeline": pipeline,
            "thresholds": thresholds,
            "started": datetime.now(UTC),
        }
        self._seconds: dict[str, float] = {}
        self._last = monotonic()
        self._outcome, self._reason = Outcome.FAILED, INTERRUPTED
        self._warnings = warnings

    def add(self, **facts: Any) -> None:
        """Add what is known by now: fields of `RunRecord`."""
        self._facts.update(facts)

    def end_step(self, step: str) -> None:
        """Take down how long a step took, which began where the last one ended."""
        now = monotonic()
        self._seconds[step] = round(now - self._last, 3)
        self._last = now

    def end(self, outcome: Outcome, reason: str = "") -> None:
        """Take down what came of the run.

        Args:
            reason: One sentence; "" where it went well.
        """
        self._outcome, self._reason = outcome, reason
        # The line that tells how many there were is none of them.
        self._warnings = list(self.warnings)

    def make_record(self) -> RunRecord:
        """Put together all that was taken down; what does not fit is left out."""
        try:
            return self._make_record(self._facts)
        except ValidationError as error:
            log.warning(f"The record of this run is not whole: {error}")
            needed = ("pipeline", "thresholds", "started")
            return self._make_record({name: self._facts[name] for name in needed})

    def _make_record(self, facts: dict[str, Any]) -> RunRecord:
        return RunRecord(
            **facts,
            outcome=self._outcome,
            reason=self._reason,
            seconds=self._seconds,
            warnings=self._warnings,
            versions={
                "python": platform.python_version(),
                **{name: version(name) for name in LIBRARIES},
            },
            commit=aws.deployed_commit(),
            memory_peak_bytes=measure_memory_peak(),
        )


@contextmanager
def recording(
    bucket: str,
    pipeline: str,
    thresholds: Thresholds,
    refusals: tuple[type[Exception], ...],
) -> Iterator[Recorder]:
    """Record a run, for the time of a with block; at its end there is one record more.

    That a record cannot be written is a WARNING, and changes nothing else.

    Args:
        refusals: The errors that say that a gate was not passed. Any other one means
            that the run failed.
    """
    with collecting_warnings() as warnings:
        recorder = Recorder(pipeline, thresholds, warnings)
        try:
            yield recorder
        except refusals as error:
            recorder.end(Outcome.REFUSED, str(error))
            raise
        except Exception as error:
            recorder.end(Outcome.FAILED, str(error) or type(error).__name__)
            raise
        finally:
            recorder.end_step("end")
            leave_record(bucket, recorder)


def leave_record(bucket: str, recorder: Recorder) -> None:
    """Add the record of a run to the bucket, and tell people of it if it is worth that.

    Whatever is wrong with either, the run is what it is.
    """
    record, key, previous = recorder.make_record(), "", None
    try:
        previous = find_previous(bucket)
    except Exception as error:
        log.warning(f"The runs before this one could not be read: {tell(error)}")
    title = compose_title(record, previous)
    try:
        key = add_record(bucket, record.model_copy(update={"message": title}))
        log.info(f"Recorded this run in s3://{bucket}/{key}.")
    except Exception as error:
        log.warning(f"The record of this run was not written: {tell(error)}")
    variable = ALERT_URLS if title else REPORT_URLS
    title = title or compose_report_title(record)
    if title:
        send(title, compose_body(record, tell_address(bucket, key)), variable)


def tell(error: Exception) -> str:
    return str(error) or type(error).__name__


def measure_memory_peak() -> int:
    """The most memory that this process has had, in bytes."""
    with suppress(OSError):
        peaks = PEAK.findall(Path("/proc/self/status").read_text())
        if peaks:
            return int(peaks[0]) * 1024
    # In which Linux counts what was before the program began: whoever has started it.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
