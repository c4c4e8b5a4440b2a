"""The iris data that come with scikit-learn, as a delivery of flowers."""

from datetime import datetime

from pandas import DataFrame
from sklearn.datasets import load_iris

from examples.iris.flowers import LABEL, MEASUREMENTS
from pipeline import aws

FILENAME_PREFIX = "iris"


def make_flowers() -> DataFrame:
    """Make a delivery of the 150 flowers that Edgar Anderson measured.

    Returns:
        The columns sepal_length, sepal_width, petal_length and petal_width (cm), and
        species.
    """
    iris = load_iris(as_frame=True)
    flowers: DataFrame = iris.data.set_axis(MEASUREMENTS, axis="columns")
    return flowers.assign(**{LABEL: iris.target_names[iris.target]})


def deliver_flowers(
    flowers: DataFrame, at: datetime, bucket: str, folder: str
) -> str:
    """Deliver flowers to S3.

    Args:
        at: When; becomes the timestamp in the object's name, in UTC.

    Returns:
        The address, s3://bucket/folder/filename.

    Raises:
        RuntimeError: S3 could not be written to, or has that delivery already.
    """
    location = aws.put_csv_dataset_to_s3(flowers, FILENAME_PREFIX, at, bucket, folder)
    return f"s3://{location}"
