"""A file of requests, answered with a file of estimates."""


def estimate_requests(s3_bucket: str) -> None:
    raise NotImplementedError
