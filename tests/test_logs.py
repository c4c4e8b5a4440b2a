"""One log format, each line once, and what a stage is started with."""

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

LOG_THREE_TIMES = """
from pipeline.logs import configure_logger
configure_logger()
configure_logger()
log = configure_logger()
log.debug("unseen")
log.info("seen")
log.warning("warned")
"""


def test_each_line_is_printed_once_on_stdout_in_utc_with_its_level() -> None:
    process = subprocess.run(
        [sys.executable, "-c", LOG_THREE_TIMES],
        capture_output=True,
        text=True,
        env={"TZ": "Asia/Tokyo", "PYTHONPATH": "."},
    )
    assert process.stderr == ""
    time = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z"
    info, warning = process.stdout.splitlines()
    assert re.fullmatch(rf"{time} - INFO - .* - seen", info)
    assert re.fullmatch(rf"{time} - WARNING - .* - warned", warning)


def test_no_message_writes_a_line_of_its_own() -> None:
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            "from pipeline.logs import configure_logger\n"
            r"configure_logger().error('a\n2021-07-03 - INFO - b\x1b[2J\r')",
        ],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": "."},
    )
    [line] = process.stdout.splitlines()
    assert line.endswith(r" - a\n2021-07-03 - INFO - b\x1b[2J")


def test_library_warnings_go_to_the_log() -> None:
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            "import warnings; from pipeline.logs import configure_logger\n"
            "configure_logger(); warnings.warn('from a library')",
        ],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": "."},
    )
    assert process.stderr == ""
    assert "WARNING" in process.stdout and "from a library" in process.stdout
