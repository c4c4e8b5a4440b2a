"""A data engineer learns before delivering what the stage would say."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.aws.memory import BYTES_ANYWAY
from pipeline.deliveries import main
from sandbox.orders import make_week
from tests.aws.test_csv_text import FAULTS
from tests.aws.test_memory import limit_memory
from tests.programs import run_here

WEEK = make_week(rows=200, seed=1)
GOOD = WEEK.to_csv(index=False)
NAME = "week_2021-07-02T23:00:00.csv"
FOUND = (
    "is good: 200 orders of 5 products, orders_placed from 0 to "
    f"{WEEK['orders_placed'].max():g}, hours_to_dispatch from 0 to "
    f"{WEEK['hours_to_dispatch'].max():.6g}"
)

Check = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Check:
    """Check files of these contents, or addresses, from within their folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **files: str | bytes) -> tuple[int, list[str]]:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (tmp_path / name).write_bytes(data)
        code = main(["check", *arguments, *files])
        captured = capsys.readouterr()
        assert captured.err == ""
        return code, captured.out.splitlines()

    return run


def test_a_good_file_is_told_in_one_line(check: Check) -> None:
    assert check(**{NAME: GOOD}) == (0, [f"{NAME} {FOUND}"])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_cannot_be_read_is_told_as_the_stage_would(
    check: Check, fault: str
) -> None:
    content, sentence = FAULTS[fault]
    code, [line] = check(**{NAME: content})
    assert code == 1
    assert line.startswith(f"{NAME} cannot be read as CSV: {sentence}")


@pytest.mark.parametrize(
    "content, fault",
    [
        (GOOD.partition("\n")[0] + "\n", "it has no rows"),
        (
            GOOD.replace("product_code", "product", 1),
            "column product_code is missing; the columns found are hours_to_dispatch, "
            "orders_placed, product",
        ),
        (
            GOOD + '\n"7,5",12,SKU001\n',
            "column hours_to_dispatch: 1 row is not numeric (7,5), the first in line "
            "203: 7,5 has a comma where 7.5 is meant",
        ),
        (
            "comment,"
            + '\n"a\nb",'.join(GOOD.splitlines())
            + "\nlate,-7.5,12,SKU001",
            "column hours_to_dispatch: 1 row is negative (-7.5), the first in line 402",
        ),
        (
            GOOD + "NaN,12,SKU001\n",
            "column hours_to_dispatch: 1 row is not numeric (NaN), the first in line "
            "202",
        ),
        (
            GOOD + "7.5,,SKU001\n",
            "column orders_placed: 1 row is missing, the first in line 202",
        ),
    ],
    ids=["no rows", "no column", "comma", "lines in quotes", "NaN", "missing value"],
)
def test_a_file_that_is_refused_is_told_as_the_stage_would(
    check: Check, content: str, fault: str
) -> None:
    assert check(**{NAME: content}) == (
        1,
        [
            f"Delivery {NAME} refused: {fault}; correct the file and deliver it again "
            "under a newer timestamp."
        ],
    )


def test_each_of_several_files_gets_its_line(check: Check, tmp_path: Path) -> None:
    code, lines = check("nowhere.csv", ".", **{"bad.csv": "", NAME: GOOD})
    assert code == 1
    assert lines[:2] == [
        "nowhere.csv cannot be read: No such file or directory; check its path and "
        "permissions.",
        ". cannot be read: Is a directory; check its path and permissions.",
    ]
    assert lines[2].startswith("bad.csv cannot be read as CSV: it is empty; ")
    assert lines[3:] == [f"{NAME} {FOUND}"]


def test_a_file_that_is_too_large_is_told(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(tmp_path, BYTES_ANYWAY, monkeypatch)
    for name in (NAME, NAME.replace("csv", "parquet")):
        code, [line] = check(**{name: b"12"})
        assert code == 1
        assert line.startswith(f"{name} is too large: it has 2 bytes, which take ")


def test_parquet_is_told_as_csv_is(check: Check, tmp_path: Path) -> None:
    name, folder = "week_2021-07-02.parquet", "week_2021-07-03.parquet"
    WEEK.to_parquet(tmp_path / name, index=False)
    (tmp_path / folder).mkdir()
    WEEK[:80].to_parquet(tmp_path / folder / "part-0.parquet", index=False)
    WEEK[80:].to_parquet(tmp_path / folder / "part-1.parquet", index=False)
    (tmp_path / folder / "_metadata.parquet").write_bytes(b"no part")
    assert check(name, folder) == (
        1,
        [
            f"{name} {FOUND}",
            f"{folder} has no _SUCCESS in it, so that parts may be missing; write it "
            "when all are there.",
        ],
    )
    (tmp_path / folder / "_SUCCESS").touch()
    assert check(f"{folder}/") == (0, [f"{folder}/ {FOUND}"])
    (tmp_path / folder / "part-1.parquet").write_bytes(b"torn")
    code, [line] = check(folder)
    assert code == 1
    assert line.startswith(f"{folder} cannot be read as Parquet: part-1.parquet is no")


IN_FUTURE = datetime.now(UTC) + timedelta(days=2)


@pytest.mark.parametrize(
    "name, faults",
    [
        ("week_2021-07-02.csv.gz", []),
        ("week_2021-07-02.CSV", []),
        ("week_02-07-2021.csv", ["has no timestamp as in "]),
        ("week_2021-07-02.txt", ["does not end in .csv, .csv.gz or .parquet"]),
        (
            "week.xlsx",
            ["does not end in .csv, .csv.gz or .parquet", "has no timestamp as in "],
        ),
        (f"week_{IN_FUTURE:%Y-%m-%d}.csv", ["is dated in the future ("]),
        ("week\x1b_2021-07-02.csv", ["has invisible characters"]),
    ],
)
def test_a_name_that_would_not_be_taken_is_warned_of(
    check: Check, name: str, faults: list[str]
) -> None:
    code, [line] = check(**{name: GOOD})
    assert code == 0
    good, *warnings = line.split("; warning: its name ")
    assert good == f"{name} {FOUND}".replace("\x1b", "\\x1b")
    assert len(warnings) == len(faults)
    assert all(map(str.startswith, warnings, faults))


def test_a_file_on_s3_is_checked_there(
    check: Check, s3: S3Client, bucket: str
) -> None:
    address = f"s3://{bucket}/inbox/{NAME}"
    s3.put_object(Bucket=bucket, Key=f"inbox/{NAME}", Body=GOOD.encode())
    s3.put_object(Bucket=bucket, Key="inbox/week.csv", Body=GOOD.encode())
    others = [
        address.replace("2021", "2022"),
        f"s3://{bucket}/inbox/week.csv",
        f"s3://no-{bucket}/{NAME}",
    ]
    assert check(address, *others) == (
        1,
        [
            f"{address} {FOUND}",
            f"There is no {others[0]}; check its name.",
            f"{others[1]} is passed over: its name has no timestamp as in {NAME}.",
            f"Could not list s3://no-{bucket}/: NoSuchBucket (The specified bucket "
            "does not exist); check the bucket's name.",
        ],
    )


def test_the_newest_is_what_the_stage_would_take_whatever_is_in_it(
    s3: S3Client, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What has another name is one if it has the columns; what is refused is one."""
    with pytest.raises(RuntimeError, match=f"No delivery found in s3://{bucket}/dat"):
        main(["newest", bucket])
    s3.put_object(Bucket=bucket, Key="datasets/other_2021-07-06.csv", Body=b"a\n1\n")
    for key, content in {
        f"datasets/{NAME}": GOOD.encode(),
        "datasets/time_to_dispatch_2021-07-03.csv": b"no delivery",
    }.items():
        s3.put_object(Bucket=bucket, Key=key, Body=content)
        assert main(["newest", bucket]) == 0
    assert capsys.readouterr().out == (
        f"2021-07-02T23:00:00+00:00 datasets/{NAME}\n"
        "2021-07-03T00:00:00+00:00 datasets/time_to_dispatch_2021-07-03.csv\n"
    )


def test_without_a_model_in_service_there_is_none_to_check_against(
    check: Check, bucket: str
) -> None:
    with pytest.raises(RuntimeError) as refusal:
        check("--against", bucket, **{NAME: GOOD})
    assert str(refusal.value) == (
        f"There is no model in s3://{bucket}/models/ to check against; check without "
        "--against."
    )
    with pytest.raises(aws.S3Failure, match=f"s3://no-{bucket}/models/: NoSuchBucket"):
        check("--against", f"no-{bucket}", NAME)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "the following arguments are required: COMMAND; see "),
        (["check"], "the following arguments are required: FILE; see "),
        (["check", NAME, "--quick"], "unrecognized arguments: --quick; see "),
        (["deliver", NAME], "argument COMMAND: invalid choice: 'deliver'"),
    ],
)
def test_unknown_arguments_end_in_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    captured = capsys.readouterr()
    assert (end.value.code, captured.out) == (1, "")
    assert captured.err.startswith(f"Invalid arguments: {sentence}")
    assert captured.err.count("\n") == 1


def test_help_tells_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["check", "--help"])
    assert end.value.code == 0
    assert "--against BUCKET" in capsys.readouterr().out


@pytest.mark.once
@pytest.mark.process
def test_the_command_ends_with_its_exit_code_and_without_a_trace(
    tmp_path: Path,
) -> None:
    (tmp_path / NAME).write_text(GOOD)
    without_keys = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") or name == "AWS_DEFAULT_REGION"
    }
    good = str(tmp_path / NAME)
    here = run_here("pipeline.deliveries", "check", good)
    assert (here.returncode, here.stdout, here.stderr) == (0, f"{good} {FOUND}\n", "")
    process = subprocess.run(
        [sys.executable, "-m", "pipeline.deliveries", "check", good]
        + ["--against", "bucket"],
        capture_output=True,
        text=True,
        env={**without_keys, "AWS_EC2_METADATA_DISABLED": "true"},
    )
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr == (
        "Could not list s3://bucket/models/: no AWS credentials found; set "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.\n"
    )
