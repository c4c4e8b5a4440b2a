"""Every estimate that anybody may ask for, published."""


def publish_estimates(s3_bucket: str, expire_hours: float | None) -> None:
    raise NotImplementedError
