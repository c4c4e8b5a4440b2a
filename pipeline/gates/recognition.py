"""Which files among the datasets are deliveries."""

from pipeline import aws
from pipeline.orders import FEATURES, LABEL

# Whatever has another name is a delivery if it has its columns.
DELIVERY_NAME = "time_to_dispatch"


def is_named_as_delivery(artefact: aws.S3TimestampedArtefact) -> bool:
    return artefact.key.rpartition("/")[2].startswith(DELIVERY_NAME)


def read_delivery(artefact: aws.S3TimestampedArtefact) -> aws.Dataset | str:
    """Read a delivery; of another file, the reason why it is none.

    Raises:
        ValueError, TooLarge: It is named as a delivery, and cannot be read as CSV.
        Replaced, S3Failure: S3 could not be read.
    """
    is_named = is_named_as_delivery(artefact)
    try:
        dataset = aws.get_csv_dataset(artefact)
    except (ValueError, aws.TooLarge) as error:
        if is_named:
            raise
        return f"is no delivery: {error}"
    missing = {*FEATURES, LABEL} - {*dataset.data.columns}
    if missing and not is_named:
        return f"is no delivery: it lacks the columns {', '.join(sorted(missing))}"
    return dataset
