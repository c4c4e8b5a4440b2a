"""Every estimate that anybody may ask for, published."""

import logging

from pipeline import aws
from pipeline.estimator import read_curves
from pipeline.orders import MODELS_FOLDER
from pipeline.publication import begin, connected, publish, read_address

log = logging.getLogger("pipeline")


def publish_estimates(s3_bucket: str, expire_hours: float | None) -> None:
    """Publish the estimates of the newest model into the Redis at REDIS_URL.

    Args:
        expire_hours: After how many hours they are forgotten; None for never.

    Raises:
        RuntimeError: There is no model to publish, or S3 or Redis failed.
        ValueError: REDIS_URL is not set, or no address of a Redis; or the signing key
            is too short, or empty.
    """
    log.info("Starting to publish estimates.")
    with connected(read_address()) as redis:
        name = begin(redis)
        candidate, passed_over = aws.find_newest_good_model_on_s3(
            s3_bucket, MODELS_FOLDER, check=read_curves
        )
        publish(redis, name, candidate, passed_over, expire_hours)
