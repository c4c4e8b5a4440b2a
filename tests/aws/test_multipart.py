"""A large object is there as a whole or not at all, and overwrites nothing."""

import os

import pytest
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.aws import multipart, s3_client
from tests.stages.s3_proxy import (
    Request,
    answer_error,
    lose_the_answer,
    pass_on,
    run_s3_proxy,
)

KEY = "folder/large"
# Of three parts, the last of which is short.
CONTENT = os.urandom(2 * multipart.PART_BYTES + 1000)
PIECE = 2**20


def write(upload: aws.MultipartUpload, content: bytes = CONTENT) -> None:
    for start in range(0, len(content), PIECE):
        upload.write(content[start : start + PIECE])


def keys(s3: S3Client, bucket: str) -> list[str]:
    found = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return [each["Key"] for each in found]


def read(s3: S3Client, bucket: str) -> bytes:
    return s3.get_object(Bucket=bucket, Key=KEY)["Body"].read()


def assert_nothing_is_left(s3: S3Client, bucket: str) -> None:
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_it_is_there_when_it_is_published(s3: S3Client, bucket: str) -> None:
    with aws.MultipartUpload(bucket, KEY, "c0ffee") as upload:
        write(upload)
        assert upload.tell() == len(CONTENT)
        assert keys(s3, bucket) == []
        assert upload.publish()
        assert keys(s3, bucket) == [KEY]
    assert read(s3, bucket) == CONTENT
    assert aws.read_made_from(bucket, KEY) == "c0ffee"
    # So S3 tells how many parts there were.
    assert s3.head_object(Bucket=bucket, Key=KEY)["ETag"].endswith('-3"')
    assert_nothing_is_left(s3, bucket)


@pytest.mark.parametrize("content", [CONTENT, b"little"], ids=["much", "little"])
def test_without_that_nothing_is_left(
    s3: S3Client, bucket: str, content: bytes
) -> None:
    with pytest.raises(SystemExit):
        with aws.MultipartUpload(bucket, KEY, "c0ffee") as upload:
            write(upload, content)
            raise SystemExit
    assert keys(s3, bucket) == []
    assert_nothing_is_left(s3, bucket)


@pytest.mark.parametrize("made_from", ["c0ffee", "another"])
def test_it_never_overwrites(s3: S3Client, bucket: str, made_from: str) -> None:
    with aws.MultipartUpload(bucket, KEY, made_from) as upload:
        upload.write(b"first")
        assert upload.publish()
    with aws.MultipartUpload(bucket, KEY, "c0ffee") as upload:
        upload.write(b"second")
        assert upload.publish() == (made_from == "c0ffee")
    assert read(s3, bucket) == b"first"
    assert_nothing_is_left(s3, bucket)


def test_an_end_whose_answer_was_lost_is_no_conflict(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(request: Request, kind: str, count: int) -> None:
        # The first begins.
        is_end = (kind, count) == ("begin or end folder", 2)
        (lose_the_answer if is_end else pass_on)(request)

    with run_s3_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        proxy.fail = fail
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        s3_client.cache_clear()
        try:
            with aws.MultipartUpload(bucket, KEY, "c0ffee") as upload:
                upload.write(b"first")
                assert upload.publish()
        finally:
            s3_client.cache_clear()
    assert read(s3, bucket) == b"first"


@pytest.mark.parametrize("kind", ["begin or end folder", "write folder"])
def test_what_s3_does_not_take_is_told_in_a_sentence(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    deny = answer_error(403, "AccessDenied", "Access Denied")

    def fail(request: Request, asked: str, count: int) -> None:
        (deny if asked == kind else pass_on)(request)

    with run_s3_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        proxy.fail = fail
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        s3_client.cache_clear()
        try:
            with pytest.raises(aws.S3Failure, match=f"Could not write .*{KEY}: Access"):
                with aws.MultipartUpload(bucket, KEY, "c0ffee") as upload:
                    write(upload)
                    upload.publish()
        finally:
            s3_client.cache_clear()
    assert keys(s3, bucket) == []
    assert_nothing_is_left(s3, bucket)
