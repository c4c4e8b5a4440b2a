"""An object that is written to S3 piece by piece, however large it becomes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from io import IOBase
from typing import TYPE_CHECKING, TypeVar, cast

from pipeline.aws.artefacts import NAME_IS_TAKEN
from pipeline.aws.client import (
    S3Failure,
    error_code,
    explain_s3_errors,
    s3_client,
    within_deadline,
)
from pipeline.aws.derived import MADE_FROM, read_made_from
from pipeline.logs import printable

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import CompletedPartTypeDef

# The least that S3 takes; of its 10,000 parts, an object has 48 GiB at most.
PART_BYTES = 5 * 2**20
# What S3 says of an upload that is complete already: of a retry of our own.
IS_COMPLETE = "NoSuchUpload"

Result = TypeVar("Result")


class MultipartUpload(IOBase):
    """A file for writing: an object that is there as a whole, or not at all.

    Nobody sees anything of it before `publish`, and no other is ever overwritten. A
    `with` block that ends without leaves nothing behind. One part is sent while the
    next is written; no more is held.
    """

    def __init__(self, bucket: str, key: str, made_from: str) -> None:
        """Begin an object; S3 is asked when there is something to write.

        Args:
            made_from: Fingerprint of what it is made from, kept with it: of two that
                have the same, the content is the same.
        """
        self.address = printable(f"s3://{bucket}/{key}")
        self._bucket = bucket
        self._key = key
        self._made_from = made_from
        self._upload_id = ""
        self._written = bytearray()
        self._position = 0
        self._sender = ThreadPoolExecutor(max_workers=1)
        self._sent: list[Future[CompletedPartTypeDef]] = []

    def __exit__(self, *_: object) -> None:
        # A part that is on its way would outlive the end of its upload.
        self._sender.shutdown(cancel_futures=True)
        if self._upload_id:
            # What went wrong before says more; S3 forgets the parts after some days.
            with suppress(S3Failure):
                self._abort()

    def write(self, data: bytes) -> int:
        """Write on.

        Raises:
            S3Failure: S3 could not be written to.
        """
        self._written += data
        self._position += len(data)
        if len(self._written) >= PART_BYTES:
            self._send_part()
        return len(data)

    def publish(self) -> bool:
        """Let the object be there, with all that was written, which is not nothing.

        Returns:
            Whether it is now there; False if another has taken its name.

        Raises:
            S3Failure: S3 could not be written to.
        """
        from botocore.exceptions import ClientError

        if self._written:
            self._send_part()
        parts = [each.result() for each in self._sent]

        def complete() -> bool:
            try:
                s3_client().complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=self._key,
                    UploadId=self._upload_id,
                    MultipartUpload={"Parts": parts},
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if error_code(error) not in {*NAME_IS_TAKEN, IS_COMPLETE}:
                    raise
                return False
            return True

        is_published = self._act(complete)
        if is_published:
            self._upload_id = ""
            return True
        made_from = read_made_from(self._bucket, self._key)
        return made_from == self._made_from

    def tell(self) -> int:
        return self._position

    def writable(self) -> bool:
        return True

    def _send_part(self) -> None:
        """Send what was written, when the part before has been taken."""
        if self._sent:
            self._sent[-1].result()
        else:
            self._upload_id = self._act(self._create)
        content, number = self._written, len(self._sent) + 1
        self._written = bytearray()
        self._sent.append(self._sender.submit(self._upload, content, number))

    def _create(self) -> str:
        created = s3_client().create_multipart_upload(
            Bucket=self._bucket,
            Key=self._key,
            Metadata={MADE_FROM: self._made_from},
        )
        return created["UploadId"]

    def _upload(self, content: bytearray, number: int) -> "CompletedPartTypeDef":
        def upload() -> "CompletedPartTypeDef":
            taken = s3_client().upload_part(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._upload_id,
                PartNumber=number,
                # Botocore takes one as it is, its types do not know.
                Body=cast(bytes, content),
            )
            part: CompletedPartTypeDef = {"PartNumber": number, "ETag": taken["ETag"]}
            # S3 compares what it was told of each part.
            if "ChecksumCRC32" in taken:
                part["ChecksumCRC32"] = taken["ChecksumCRC32"]
            return part

        return self._act(upload)

    def _abort(self) -> None:
        upload_id, self._upload_id = self._upload_id, ""
        self._act(
            lambda: s3_client().abort_multipart_upload(
                Bucket=self._bucket, Key=self._key, UploadId=upload_id
            )
        )

    def _act(self, act: Callable[[], Result]) -> Result:
        with explain_s3_errors(f"write {self.address}"):
            return within_deadline(act)
