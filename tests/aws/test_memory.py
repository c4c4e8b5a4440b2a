"""The limit of a delivery follows from the memory that the process may use."""

import os
from pathlib import Path

import pytest

from pipeline import aws
from pipeline.aws.memory import (
    BYTES_ANYWAY,
    BYTES_PER_BYTE,
    BYTES_PER_FIRST_ROW,
    BYTES_PER_ROW,
    BYTES_PER_ROW_AND_THREAD,
    FIRST_ROWS,
    MOST_THREADS,
    Memory,
    find_memory,
)

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
# What the first version of cgroups has where there is no limit.
UNLIMITED = "9223372036854771712"
V1 = "5:cpu,cpuacct:/pods/one\n4:memory:/pods/one\n0::/\n"


def fake_cgroup(root: Path, cgroup: str, **limits: str) -> Path:
    """Lay out what the kernel tells of cgroups.

    Args:
        cgroup: The content of /proc/self/cgroup.
        limits: By file below /sys/fs/cgroup, "/" as "__" and "." as "_of_".
    """
    files = {"proc/self/cgroup": cgroup}
    for name, limit in limits.items():
        path = name.replace("__", "/").replace("_of_", ".")
        files[f"sys/fs/cgroup/{path}"] = f"{limit}\n"
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return root


def limit_memory(root: Path, limit: int, patch: pytest.MonkeyPatch) -> None:
    """Let this process find that it may use so many bytes."""
    fake_cgroup(root, "0::/\n", memory_of_max=str(limit))
    patch.setattr(find_memory, "__defaults__", (root,))


@pytest.mark.parametrize(
    "cgroup, limits, expected",
    [
        ("0::/\n", {"memory_of_max": "700000000"}, 700_000_000),
        ("0::/\n", {"memory_of_max": "max"}, MACHINE),
        ("0::/\n", {"memory_of_max": UNLIMITED}, MACHINE),
        (
            "0::/a/b\n",
            {"a__b__memory_of_max": "max", "a__memory_of_max": "600000000"},
            600_000_000,
        ),
        (
            "0::/a/b\n",
            {"a__b__memory_of_max": "500000000", "a__memory_of_max": "600000000"},
            500_000_000,
        ),
        ("0::/on/the/host\n", {"memory_of_max": "700000000"}, 700_000_000),
        (V1, {"memory__memory_of_limit_in_bytes": "700000000"}, 700_000_000),
        (V1, {"memory__pods__memory_of_limit_in_bytes": "800000000"}, 800_000_000),
        (V1, {"memory__pods__one__memory_of_limit_in_bytes": UNLIMITED}, MACHINE),
        ("", {}, MACHINE),
    ],
    ids=[
        "v2",
        "v2 without a limit",
        "v2 with a huge one",
        "v2, a group around it",
        "v2, the smaller of two",
        "v2 in a container, named as on the host",
        "v1 in a container",
        "v1, a group around it",
        "v1 without a limit",
        "no cgroups",
    ],
)
def test_the_least_limit_counts(
    tmp_path: Path, cgroup: str, limits: dict[str, str], expected: int
) -> None:
    assert find_memory(fake_cgroup(tmp_path, cgroup, **limits)).limit == expected


def test_where_there_is_no_proc_the_machine_counts(tmp_path: Path) -> None:
    assert find_memory(tmp_path).limit == MACHINE


@pytest.mark.parametrize("rows", [1, FIRST_ROWS - 1, FIRST_ROWS, FIRST_ROWS + 9])
def test_what_just_fits_is_taken_and_a_row_or_a_byte_more_is_not(rows: int) -> None:
    per_row = BYTES_PER_ROW + 3 * BYTES_PER_ROW_AND_THREAD
    of_first = min(rows, FIRST_ROWS) * BYTES_PER_FIRST_ROW
    taken = BYTES_ANYWAY + 1000 * BYTES_PER_BYTE + rows * per_row + of_first
    memory = Memory(taken, threads=3)
    assert memory.most_rows(1000) == rows
    memory.refuse_more("here", rows, 1000)
    with pytest.raises(aws.TooLarge):
        memory.refuse_more("here", rows + 1, 1000)
    with pytest.raises(aws.TooLarge):
        memory.refuse_more("here", rows, 1001)
    memory.refuse_more("here", 0, memory.most_bytes)
    with pytest.raises(aws.TooLarge):
        memory.refuse_more("here", 0, memory.most_bytes + 1)


def test_a_refusal_says_what_it_takes_what_there_is_and_what_to_do() -> None:
    with pytest.raises(aws.TooLarge) as refusal:
        Memory(10**9, 1).refuse_more("s3://b/week.csv", 5_000_000, 160_000_000)
    taken = Memory(0).find_taken(5_000_000, 160_000_000)
    assert str(refusal.value) == (
        "s3://b/week.csv is too large: it has 5,000,000 rows, which take "
        f"{-(-taken // 10**6):,} MB of memory to train on, and this process may use "
        "1,000 MB; give it that much, or fewer CPUs, or deliver fewer rows under a "
        "newer timestamp."
    )


def test_each_cpu_is_a_thread_up_to_the_parts_of_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cpus, threads in ((1, 1), (3, 3), (64, MOST_THREADS)):
        monkeypatch.setattr("joblib.cpu_count", lambda cpus=cpus: cpus)
        assert find_memory(tmp_path).threads == threads


def test_a_million_rows_fit_into_4_gib_with_two_cpus() -> None:
    # A row of the real week takes 30 bytes.
    assert Memory(4 * 2**30, threads=2).most_rows(32 * 10**6) >= 1_000_000


def test_where_less_than_nothing_is_left_nothing_is_taken() -> None:
    memory = Memory(BYTES_ANYWAY // 2)
    assert memory.most_bytes == memory.most_rows(0) == 0
    with pytest.raises(aws.TooLarge):
        memory.refuse_more("here", 1, 0)
