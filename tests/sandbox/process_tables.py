"""Which processes there are, and that they end."""

import subprocess
import time

END_TIMEOUT_SECONDS = 20


def running_processes() -> dict[int, tuple[int, str]]:
    """Each running process's parent and command line, by its own number."""
    table = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(None, 3) for line in table.stdout.splitlines()]
    return {
        int(row[0]): (int(row[1]), row[3])
        for row in rows
        if len(row) == 4 and not row[2].startswith("Z")
    }


def find_descendants(process: int) -> dict[int, str]:
    """The command lines of all processes that a process and its children started."""
    table = running_processes()
    found: dict[int, str] = {}
    ancestors = {process}
    while ancestors:
        ancestors = {
            child
            for child, (parent, _) in table.items()
            if parent in ancestors and child not in found
        }
        found |= {child: table[child][1] for child in ancestors}
    return found


def still_running(processes: dict[int, str]) -> dict[int, str]:
    """Those that have not ended within a generous time."""
    deadline = time.monotonic() + END_TIMEOUT_SECONDS
    while True:
        table = running_processes()
        left = {
            number: command
            for number, command in processes.items()
            if number in table and table[number][1] == command
        }
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)
