"""What the runs of training came to, as pages for a browser.

An index over the last 52 weeks and a page for each run: HTML files that need nothing
else. --output writes them into a folder, --publish puts them to reports/ in the bucket,
where the index and what has changed or is missing is put anew.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline import aws
from pipeline.logs import Parser, tell_count
from pipeline.orders import REPORTS_FOLDER
from pipeline.pages import (
    INDEX,
    Evidence,
    Run,
    make_index,
    make_run_page,
    read_source,
    sort_into_weeks,
)
from pipeline.records import StoredRecord, read_records, tell_address

HTML = "text/html; charset=utf-8"
# Five in each of 52 weeks; older ones are not read.
MOST_RECORDS = 260


def write_pages(folder: Path, bucket: str, records: list[StoredRecord]) -> Path:
    """Write all pages into a folder; returns the path of the index.

    Raises:
        RuntimeError: S3 could not be read, or the folder not be written to.
        ValueError: The signing key is too short, or empty.
    """
    now = datetime.now(UTC)
    index = folder / INDEX
    evidence = Evidence(bucket)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for run in find_runs(records, now):
            page = make_run_page(bucket, run, evidence)
            (folder / run.page).write_bytes(page.content)
        index.write_bytes(make_index(bucket, records, now))
    except OSError as error:
        raise RuntimeError(
            f"Could not write into {folder}: {error.strerror}; choose another folder."
        ) from error
    return index.resolve()


def publish_pages(bucket: str, records: list[StoredRecord]) -> int:
    """Put the index to the bucket, and those pages that are not there as they should
    be; returns how many were put.

    Raises:
        RuntimeError: S3 could not be read or written to.
        ValueError: The signing key is too short, or empty.
    """
    now = datetime.now(UTC)
    evidence = Evidence(bucket)
    source = read_source()
    count = 1
    for run in find_runs(records, now):
        key = f"{REPORTS_FOLDER}/{run.page}"
        made_from = aws.fingerprint(source, run.record.model_dump_json().encode())
        if aws.read_made_from(bucket, key) == made_from:
            continue
        page = make_run_page(bucket, run, evidence)
        # What could not be read today may be there tomorrow.
        made_from = made_from if page.is_complete else ""
        aws.put_derived_object_to_s3(page.content, bucket, key, HTML, made_from)
        count += 1
    index = make_index(bucket, records, now)
    aws.put_derived_object_to_s3(index, bucket, f"{REPORTS_FOLDER}/{INDEX}", HTML)
    return count


def find_runs(records: list[StoredRecord], now: datetime) -> list[Run]:
    return [run for week in sort_into_weeks(records, now) for run in week.runs]


def parse(arguments: Sequence[str]) -> Namespace:
    parser = Parser(prog="python -m pipeline.report", description=__doc__)
    parser.add_argument("bucket", metavar="BUCKET")
    parser.add_argument(
        "--output", metavar="FOLDER", type=Path, help="write the pages into it"
    )
    parser.add_argument(
        "--publish", action="store_true", help="put the pages to reports/ in the bucket"
    )
    chosen = parser.parse_args(arguments)
    if chosen.output is None and not chosen.publish:
        parser.error("neither --output FOLDER nor --publish is given")
    return chosen


def main(arguments: Sequence[str]) -> None:
    """Make the pages, and print where they are.

    Raises:
        RuntimeError: It could not be done.
        ValueError: The signing key is too short, or empty.
        SystemExit: The arguments are invalid.
    """
    chosen = parse(arguments)
    records = read_records(chosen.bucket, MOST_RECORDS)
    if chosen.output is not None:
        print(write_pages(chosen.output, chosen.bucket, records))
    if chosen.publish:
        count = publish_pages(chosen.bucket, records)
        address = tell_address(chosen.bucket, "")
        print(f"Put {tell_count(count, 'page')}: {address}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))
