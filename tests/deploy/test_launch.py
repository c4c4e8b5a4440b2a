"""What is mended of Bodywork; with Bodywork itself, tests/bodywork_stages has more."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from deploy.bodywork import launch

pytestmark = pytest.mark.once

CHILD = """
import os
from deploy.bodywork import launch
parent = os.getppid()
print("started", flush=True)
launch.end_with(parent)
"""
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {CHILD!r}])
"""


@pytest.mark.process
def test_bodywork_ends_with_who_started_it() -> None:
    """Killed, a release would else go live after another one."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGKILL)
        # Until the last one has ended that could write.
        assert process.stdout.read() == ""


def test_what_is_not_understood_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "POLL_SECONDS", 0)
    answers: Iterator[Exception | str] = iter(
        [RuntimeError("cannot find pods"), TypeError("None"), "status"]
    )
    asked = []

    def ask(job: str) -> str:
        asked.append(job)
        answer = next(answers, RuntimeError("for ever"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert launch.ask_again(ask)("job") == "status"
    assert asked == ["job"] * 3
    with pytest.raises(RuntimeError, match="for ever"):
        launch.ask_again(ask)("job")
    assert len(asked) == 3 + launch.ATTEMPTS
