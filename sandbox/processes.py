"""Child processes that never outlive the process that started them.

Between the two stands a guard, `python -m sandbox.processes COMMAND...`. It ends the
command when its standard input ends, which the operating system sees to however the
parent dies. (Linux alone could do without, by PR_SET_PDEATHSIG.)
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).parents[1]
GRACE_SECONDS = 5


@contextmanager
def run_process(
    *command: str, stdout: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command, in the repository's root, for the time of a with block.

    A Ctrl-C in the terminal does not reach it; the end of the block does.

    Args:
        command: Program and arguments.
        stdout: As for `subprocess.Popen`.

    Yields:
        The process, whose exit code is that of the command.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.processes", *command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=stdout,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def guard(command: list[str]) -> int:
    """Run a command until it ends or standard input does; returns its exit code."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def end_with_parent() -> None:
        sys.stdin.read()
        os.killpg(0, signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os.killpg(0, signal.SIGKILL)

    # The group is this process, the command and whatever that has started.
    signal.signal(signal.SIGTERM, lambda *_: None)
    Thread(target=end_with_parent, daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
