"""The records of a bucket: one is added for each run, none is ever changed."""

from datetime import datetime
from itertools import islice
from os import environ
from typing import NamedTuple

from pydantic import ValidationError

from pipeline import aws
from pipeline.orders import REPORTS_FOLDER, RUNS_FOLDER
from pipeline.records.record import RunRecord

# So many older records are looked at for the last one that changed anything.
LOOKED_BACK = 20
# Where people open what lies in the bucket's folder of reports; "" for its S3 address.
ADDRESS_VARIABLE = "REPORTS_ADDRESS"


class StoredRecord(NamedTuple):
    """A record as it lies in a bucket.

    Attributes:
        key: Of its object.
        timestamp: When the run began, in UTC.
        record: None if it cannot be believed.
        refusal: Why it cannot, one sentence; "" if it can.
    """

    key: str
    timestamp: datetime
    record: RunRecord | None
    refusal: str = ""

    @property
    def name(self) -> str:
        """Of its file, safe for logs."""
        return aws.quote(self.key.rpartition("/")[2])


def add_record(bucket: str, record: RunRecord) -> str:
    """Add the record of a run, signed if a key is set.

    Returns:
        Its key.

    Raises:
        RuntimeError: S3 could not be written to.
        ValueError: The signing key is too short, or empty.
    """
    location = aws.add_signed_object_to_s3(
        record.model_dump_json(indent=1).encode(),
        record.pipeline,
        record.started,
        "json",
        bucket,
        RUNS_FOLDER,
    )
    return location.partition("/")[2]


def read_records(bucket: str, last: int | None = None) -> list[StoredRecord]:
    """Read the newest records of a bucket, by default all; the newest first.

    Raises:
        S3Failure: S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    found = aws.read_signed_objects_from_s3("json", bucket, RUNS_FOLDER)
    return [read_record(each) for each in islice(found, last)]


def read_record(found: aws.SignedObject) -> StoredRecord:
    """Read a record from its bytes."""
    key, timestamp = found.artefact.key, found.artefact.timestamp
    if found.content is None:
        return StoredRecord(key, timestamp, None, found.refusal)
    try:
        record = RunRecord.model_validate_json(found.content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its text"
        refusal = (
            f"{found.artefact.address} is no record of a run that this release reads "
            f"({aws.quote(place)}: {aws.quote(first['msg'])}); read it with the "
            "release that wrote it."
        )
        return StoredRecord(key, timestamp, None, refusal)
    return StoredRecord(key, timestamp, record)


def find_previous(bucket: str) -> RunRecord | None:
    """Find the newest run that published, was refused or failed; None if there is none.

    Raises:
        S3Failure: S3 could not be read.
        ValueError: The signing key is too short, or empty.
    """
    for each in read_records(bucket, LOOKED_BACK):
        if each.record and (each.record.is_good or each.record.is_bad):
            return each.record
    return None


def name_page(key: str) -> str:
    """The file name of the page of a run, by the key of its record."""
    return f"{key.rpartition('/')[2].removesuffix('.json')}.html"


def tell_address(bucket: str, key: str) -> str:
    """Where people find the page of a run; "" for a key if it has no record."""
    folder = environ.get(ADDRESS_VARIABLE, "") or f"s3://{bucket}/{REPORTS_FOLDER}"
    return f"{folder.rstrip('/')}/{name_page(key) if key else 'index.html'}"
