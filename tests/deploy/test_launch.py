"""What is mended of Bodywork; with Bodywork itself, tests/bodywork_stages has more."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

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


LOG = """[09/07/21 23:45:28] INFO     Starting stage = train_model
2021-07-09T23:45:31Z - ERROR - models.get_champion - One model was refused
2021-07-09T23:45:31Z - ERROR - train_model.<module> - Error encountered - no good
[09/07/21 23:45:31] ERROR    Stage train_model failed - exit status 1"""


def test_what_the_log_of_a_failed_stage_says_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: list[object] = []
    functions: dict[str, Any] = {
        "print_pod_logs": lambda log, header: told.append(header),
        "_run_failure_stage": lambda *arguments: told.extend(map(str, arguments)),
    }
    launch.say_why(functions)
    failure = RuntimeError("job=train-model have failed")
    functions["_run_failure_stage"]("configuration", failure)
    functions["print_pod_logs"]("Answering", "logs for stage = serve-model")
    functions["print_pod_logs"](LOG, "logs for stage = train-model")
    functions["_run_failure_stage"]("configuration", failure, "namespace")
    assert told == [
        *("configuration", "job=train-model have failed"),
        *("logs for stage = serve-model", "logs for stage = train-model"),
        "configuration",
        "job=train-model have failed: Error encountered - no good",
        "namespace",
    ]
    assert capsys.readouterr().out.splitlines() == [
        launch.TOLD,
        f"{launch.CAUSE}Error encountered - no good",
        launch.TOLD,
    ]


def test_what_could_not_be_reported_is_not_said_to_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run_failure_stage(*_: object) -> None:
        raise RuntimeError("job=report-failure have failed")

    functions: dict[str, Any] = {
        "print_pod_logs": print,
        "_run_failure_stage": run_failure_stage,
    }
    launch.say_why(functions)
    with pytest.raises(RuntimeError, match="report-failure"):
        functions["_run_failure_stage"]("configuration", RuntimeError("failed"))
    assert capsys.readouterr().out == ""
