"""Which tables among the datasets are deliveries, and which one is the newest."""

import logging
from contextlib import suppress

from pipeline import aws
from pipeline.orders import DATASETS_FOLDER, FEATURES, LABEL

# Whatever has another name is a delivery if it has its columns.
DELIVERY_NAME = "time_to_dispatch"
# To read the newest one, which may be replaced meanwhile.
ATTEMPTS = 3
# So many files are named in one line of the log.
NAMED = 10

log = logging.getLogger("pipeline")


class UnreadableDelivery(ValueError):
    """The newest delivery cannot be read, and why.

    Attributes:
        key: Of its object.
    """

    def __init__(self, reason: str, key: str) -> None:
        super().__init__(reason)
        self.key = key


def is_named_as_delivery(artefact: aws.S3TimestampedArtefact) -> bool:
    return artefact.key.rpartition("/")[2].startswith(DELIVERY_NAME)


def read_delivery(artefact: aws.S3TimestampedArtefact) -> aws.Dataset | str:
    """Read a delivery; of another file, the reason why it is none.

    Raises:
        UnreadableDelivery: It is named as a delivery, and cannot be read.
        Replaced, S3Failure: S3 could not be read.
    """
    is_named = is_named_as_delivery(artefact)
    try:
        dataset = aws.get_dataset(artefact)
    except (ValueError, aws.TooLarge) as error:
        if is_named:
            raise UnreadableDelivery(str(error), artefact.key) from error
        return f"is no delivery: {error}"
    missing = {*FEATURES, LABEL} - {*dataset.data.columns}
    if missing and not is_named:
        return f"is no delivery: it lacks the columns {', '.join(sorted(missing))}"
    return dataset


def find_delivery(s3_bucket: str) -> aws.Dataset:
    """Read the newest delivery, and look again if it is replaced meanwhile.

    What else is newer is told in one WARNING: what no delivery is called or placed
    like, other files, folders whose parts may be missing, and deliveries that S3 does
    not let us read.

    Raises:
        UnreadableDelivery: The newest delivery cannot be read.
        RuntimeError: There is none, it keeps changing, or S3 could not be read.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(aws.Replaced):
            return look_for_delivery(s3_bucket)
    return look_for_delivery(s3_bucket)


def look_for_delivery(s3_bucket: str) -> aws.Dataset:
    """Read the newest delivery.

    Raises:
        Replaced: It was replaced between listing and reading.
        Exception: As for `find_delivery`.
    """
    survey = aws.survey_tables(s3_bucket, DATASETS_FOLDER)
    passed_over = survey.passed_over
    found = None
    for artefact, read in aws.read_each(survey.usable, read_delivery):
        if isinstance(read, aws.Dataset):
            found = read
            break
        reason = str(read)
        passed_over.append(aws.PassedOver(artefact.address, artefact.timestamp, reason))
    newer = [each for each in passed_over if not found or each.when > found.datetime]
    told = "; ".join(f"{each.address} {each.reason}" for each in newer[:NAMED])
    told += f"; and {len(newer) - NAMED} more" if len(newer) > NAMED else ""
    if found is None:
        raise RuntimeError(
            f"No delivery found in s3://{s3_bucket}/{DATASETS_FOLDER}/; deliver one "
            f"named like {DELIVERY_NAME}_2021-07-03T23:00:00.csv"
            + (f" (what is there: {told})." if told else ".")
        )
    if newer:
        log.warning(f"Passed over, though newer than {found.address}: {told}.")
    return found
