"""Models in S3 whose estimates tell which of them has made one."""

from sklearn.dummy import DummyRegressor

from pipeline import aws
from pipeline.batch.publish import publish_estimates
from pipeline.estimator import RANGES, Ranges
from tests.stages.services import DATASET

MOST = {"SKU001": 1200.0, "SKU002": 7.5, "Größe 7/ü:": 0.0}
SIDES = {0.9: (-1.5, 1.75)}


def add_model(
    bucket: str, number: int, most: dict[str, float] = MOST, limits: bool = True
) -> aws.Model:
    """Add a model to S3 that estimates NUMBER hours and a fraction.

    Args:
        most: The most orders placed that were observed, by product.
        limits: Whether the model has ranges, which say so.
    """
    curves = {
        code: {
            "orders_placed": [0.0, placed] if placed else [0.0],
            "hours": [number + 1 / 3, number + 2 / 3] if placed else [number + 0.5],
        }
        for code, placed in most.items()
    }
    metadata: dict[str, object] = {"curves": curves}
    if limits:
        observed = {code: (min(2.0, placed), placed) for code, placed in most.items()}
        metadata[RANGES] = Ranges((0.125, 0.0625), SIDES, {}, observed).describe()
    model = aws.Model("time-to-dispatch", DummyRegressor(), DATASET, metadata)
    model.put_model_to_s3(bucket, "models")
    return model


def publish_model(bucket: str, number: int) -> aws.Model:
    """Add a model to S3, and publish it into the Redis of the environment."""
    model = add_model(bucket, number)
    publish_estimates(bucket, None)
    return model
