"""How much memory this process may use, and how much it takes to train on a delivery.

What would not fit is refused before its memory is taken: the kernel ends a process that
takes more, without a word.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.aws.formats import TooLarge

# From peaks of the resident memory (VmHWM) of the stage, Linux x86-64, Python 3.12. One
# thread: 270 MB with 1,000 rows, 670 MB with 20,000 of which no two are alike, 850 MB
# with 100,000 of 5,000 products. Two: 690 MB with 100,000 of which no two are alike,
# 1,330 MB with a million like the real ones. Of a million of which no two are alike,
# only parts were measured: 970 MB for the rows, 540 MB for growing trees in a thread.
# Bodywork's own process takes 118 MB beside.
BYTES_ANYWAY = 390 * 10**6
# Of the first rows: the search looks at so many at a time and no more.
FIRST_ROWS = 20_000
BYTES_PER_FIRST_ROW = 20_000
# What every row takes in all steps, and in each thread of the search.
BYTES_PER_ROW = 900
BYTES_PER_ROW_AND_THREAD = 1_100
# A file of 100 narrow columns takes 7.4 bytes for each of its own while it is read.
BYTES_PER_BYTE = 8
# Two criteria on five folds are searched at once, if there are so many CPUs.
MOST_THREADS = 10

ROOT = Path("/")
NO_LIMIT = "max"


@dataclass(frozen=True)
class Memory:
    """What a process may use.

    Attributes:
        limit: In bytes.
        threads: So many the search has.
    """

    limit: int
    threads: int = 1

    @property
    def most_bytes(self) -> int:
        """The most bytes of a delivery, if it had no rows."""
        return max(0, self.limit - BYTES_ANYWAY) // BYTES_PER_BYTE

    def most_rows(self, size: int) -> int:
        """The most rows of a delivery of so many bytes."""
        left = max(0, self.limit - self.find_taken(0, size))
        first = left // (self._bytes_per_row + BYTES_PER_FIRST_ROW)
        if first < FIRST_ROWS:
            return first
        return (left - FIRST_ROWS * BYTES_PER_FIRST_ROW) // self._bytes_per_row

    def find_taken(self, rows: int, size: int) -> int:
        """How many bytes it takes to train on so many rows in so many bytes."""
        of_rows = rows * self._bytes_per_row
        of_first = min(rows, FIRST_ROWS) * BYTES_PER_FIRST_ROW
        return BYTES_ANYWAY + of_first + of_rows + size * BYTES_PER_BYTE

    @property
    def _bytes_per_row(self) -> int:
        return BYTES_PER_ROW + self.threads * BYTES_PER_ROW_AND_THREAD

    def refuse_more(self, address: str, rows: int, size: int, found: str = "") -> None:
        """Refuse a delivery that does not fit.

        Args:
            rows, size: As far as they are known; size in bytes, expanded.
            found: What there is, where that is not known exactly.

        Raises:
            TooLarge: It takes more memory than there is.
        """
        taken = self.find_taken(rows, size)
        if taken <= self.limit:
            return
        found = found or (f"{rows:,} rows" if rows else f"{size:,} bytes")
        raise TooLarge(
            address,
            f"{found}, which take {show(taken)} of memory to train on, and this "
            f"process may use {self.limit // 10**6:,} MB",
            "give it that much, or fewer CPUs, or deliver fewer rows under a newer "
            "timestamp",
        )


def find_memory(root: Path = ROOT) -> Memory:
    """Find the least of the machine's memory and the limits of the process's cgroup and
    of those that it is in, of version 1 or 2.

    Args:
        root: Below it lie `proc/self/cgroup` and `sys/fs/cgroup`.
    """
    from joblib import cpu_count

    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    threads = min(cpu_count(), MOST_THREADS)
    return Memory(min([machine, *read_limits(root)]), threads)


def read_limits(root: Path) -> Iterator[int]:
    """Read the limits that are set, in bytes."""
    for file in list_limit_files(root):
        with suppress(OSError):
            limit = file.read_text().strip()
            if limit != NO_LIMIT:
                yield int(limit)


def list_limit_files(root: Path) -> Iterator[Path]:
    """List where limits may be set; in a container the nearest is at the top."""
    groups = []
    with suppress(OSError):
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    mount = root / "sys/fs/cgroup"
    for group in groups:
        number, controllers, path = group.split(":", 2)
        if number == "0":
            top, name = mount, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = mount / "memory", "memory.limit_in_bytes"
        else:
            continue
        place = PurePosixPath(path.lstrip("/"))
        for folder in (place, *place.parents):
            yield top / folder / name


def show(size: int) -> str:
    """Megabytes, rounded up."""
    return f"{-(-size // 10**6):,} MB"
