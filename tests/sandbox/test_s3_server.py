"""The local S3 server: where it is, and that nothing else is used in its place."""

import os
from pathlib import Path
from uuid import uuid4

import boto3
import httpx2
import pytest
from botocore.exceptions import ClientError
from types_boto3_s3 import S3Client

from sandbox.s3_server import make_bucket, replace_aws_settings, run_s3_server
from tests.stages.services import client

pytestmark = pytest.mark.once


@pytest.mark.process
def test_it_answers_as_soon_as_and_as_long_as_the_block_lasts() -> None:
    with run_s3_server() as settings:
        address = settings["AWS_ENDPOINT_URL"]
        assert client.get(address).status_code == 200
    with pytest.raises(httpx2.ConnectError):
        client.get(address)


def test_the_users_own_settings_have_no_effect(
    s3_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "config"
    own.write_text("[profile own]\nendpoint_url = http://127.0.0.1:1\n")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.update(
        AWS_PROFILE="own",
        AWS_CONFIG_FILE=str(own),
        AWS_CA_BUNDLE="/no/such/file",
        AWS_ENDPOINT_URL_S3="http://127.0.0.1:1",
        http_proxy="http://127.0.0.1:1",
    )
    replace_aws_settings(s3_environment)
    assert boto3.session.Session().client("s3").list_buckets()["Buckets"] is not None


def test_buckets_keep_versions_and_puts_can_be_refused(s3: S3Client) -> None:
    bucket = f"test-{uuid4()}"
    make_bucket(bucket)
    first = s3.put_object(Bucket=bucket, Key="key", Body=b"1", IfNoneMatch="*")
    assert first["VersionId"]
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="key", Body=b"2", IfNoneMatch="*")
    s3.put_object(Bucket=bucket, Key="key", Body=b"3")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.get_object(Bucket=bucket, Key="key", IfMatch=first["ETag"])
