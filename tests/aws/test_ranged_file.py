"""A large object is read piece by piece, and always the one that was listed."""

import gzip
import os
from io import BytesIO

import pytest
from types_boto3_s3 import S3Client

from pipeline import aws
from pipeline.aws import s3_client
from tests.stages.s3_proxy import Request, break_off, pass_on, run_s3_proxy

CONTENT = os.urandom(1000)


def put(
    s3: S3Client, bucket: str, content: bytes = CONTENT
) -> aws.S3TimestampedArtefact:
    s3.put_object(Bucket=bucket, Key="large_2021-07-03.csv", Body=content)
    return aws.find_latest_artefact_on_s3("csv", bucket)


@pytest.mark.parametrize("piece_bytes", [1, 7, 300, 999, 1000, 5000])
def test_it_reads_as_any_file_does(
    s3: S3Client, bucket: str, piece_bytes: int
) -> None:
    file = aws.RangedFile(put(s3, bucket), piece_bytes)
    same = BytesIO(CONTENT)
    for position, size in ((0, 10), (10, 20), (5, 3), (970, 100), (0, 0), (2000, 5)):
        assert file.seek(position) == same.seek(position)
        assert file.read(size) == same.read(size)
    for offset, whence in ((-20, 2), (5, 1), (3, 0)):
        assert file.seek(offset, whence) == same.seek(offset, whence)
        assert file.read(11) == same.read(11)
        assert file.tell() == same.tell()
    assert file.read() == same.read()
    assert file.read(1) == b""


def test_a_piece_is_asked_for_once(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = aws.RangedFile(put(s3, bucket), 400)
    asked = []
    get = s3_client().get_object

    def count(**request: str) -> object:
        asked.append(request["Range"])
        return get(**request)  # type: ignore[arg-type]

    monkeypatch.setattr(s3_client(), "get_object", count)
    assert b"".join(file.read(10) for _ in range(100)) == CONTENT
    assert asked == ["bytes=0-399", "bytes=400-799", "bytes=800-999"]


def test_gzip_reads_it(s3: S3Client, bucket: str) -> None:
    file = aws.RangedFile(put(s3, bucket, gzip.compress(CONTENT)), 100)
    with gzip.GzipFile(fileobj=file) as expanded:
        assert expanded.read() == CONTENT


@pytest.mark.parametrize("is_deleted", [False, True])
def test_another_object_is_never_read_in_its_place(
    s3: S3Client, bucket: str, is_deleted: bool
) -> None:
    file = aws.RangedFile(put(s3, bucket), 400)
    assert file.read(400) == CONTENT[:400]
    if is_deleted:
        s3.delete_object(Bucket=bucket, Key="large_2021-07-03.csv")
    else:
        put(s3, bucket, bytes(1000))
    with pytest.raises(aws.Replaced, match="large_2021-07-03.csv was replaced or del"):
        file.read(1)


@pytest.mark.parametrize("broken", [2, 3])
def test_a_piece_that_breaks_off_is_asked_for_again(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    def fail(request: Request, kind: str, count: int) -> None:
        act = break_off if 1 < count <= 1 + broken else pass_on
        act(request)

    artefact = put(s3, bucket)
    with run_s3_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        proxy.fail = fail
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        s3_client.cache_clear()
        try:
            file = aws.RangedFile(artefact, 400)
            if broken < 3:
                assert file.read(400) + file.read() == CONTENT
            else:
                assert file.read(400) == CONTENT[:400]
                with pytest.raises(aws.S3Failure, match="Could not read s3://.*large"):
                    file.read(400)
        finally:
            s3_client.cache_clear()
