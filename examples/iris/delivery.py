"""What a valid delivery is: checked before anything is learnt from it."""

from collections import Counter

from pandas import DataFrame
from pydantic import ValidationError

from examples.iris import flowers
from pipeline import aws

# Of ten, two are held out.
MIN_FLOWERS_PER_SPECIES = 10


def check_delivery(dataset: aws.Dataset) -> DataFrame:
    """Check a delivery and choose its columns by name.

    Returns:
        The same rows with the columns of a `DeliveredFlower`.

    Raises:
        ValueError: Says in one sentence what is wrong, in which column and line.
    """
    refused = f"Delivery {dataset.address} refused: column"
    remedy = "correct the file and deliver it again under a newer timestamp."
    rows = []
    # The header is line 1.
    for line, row in enumerate(dataset.data.to_dict("records"), start=2):
        try:
            rows.append(dict(flowers.DeliveredFlower.model_validate(row)))
        except ValidationError as error:
            fault = error.errors()[0]
            where = f"{fault['loc'][0]}, line {line}"
            raise ValueError(f"{refused} {where}: {fault['msg']}; {remedy}") from error
    counts = Counter(row[flowers.LABEL] for row in rows)
    for species in flowers.SPECIES:
        if counts[species] < MIN_FLOWERS_PER_SPECIES:
            raise ValueError(
                f"{refused} {flowers.LABEL}: {species} has {counts[species]} rows, and "
                f"each species needs {MIN_FLOWERS_PER_SPECIES}; {remedy}"
            )
    return DataFrame(rows)
