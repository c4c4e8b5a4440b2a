"""An object on S3 as a file that is read piece by piece, however large it is."""

from io import RawIOBase

from pipeline.aws.artefacts import Replaced, read_answer
from pipeline.aws.client import error_code, explain_s3_errors, within_deadline
from pipeline.aws.listing import S3TimestampedArtefact

PIECE_BYTES = 8 * 2**20


class RangedFile(RawIOBase):
    """The very content that was listed, of which one piece is held at a time.

    Each piece is asked for by itself: it has a deadline of its own, and is asked for
    again if it breaks off.
    """

    def __init__(self, artefact: S3TimestampedArtefact, piece_bytes: int = PIECE_BYTES):
        """Open an object.

        Args:
            piece_bytes: The fewest that are asked for.
        """
        self.artefact = artefact
        self._piece_bytes = piece_bytes
        self._position = 0
        self._piece = b""
        self._piece_start = 0

    def read(self, size: int = -1) -> bytes:
        """Read on.

        Args:
            size: In bytes; all that is left if it is negative.

        Raises:
            Replaced: The object was replaced or deleted after it was listed.
            S3Failure: S3 could not be read.
        """
        left = max(0, self.artefact.size - self._position)
        wanted = left if size < 0 else min(size, left)
        start = self._position - self._piece_start
        found = self._piece[start : start + wanted] if start >= 0 else b""
        while len(found) < wanted:
            self._piece_start = self._position + len(found)
            self._piece = self._get(wanted - len(found))
            found += self._piece[: wanted - len(found)]
        self._position += wanted
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        origin = (0, self._position, self.artefact.size)[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _get(self, wanted: int) -> bytes:
        """Get the piece at its start, as long as is wanted or a piece is."""
        from botocore.exceptions import ClientError

        artefact, start = self.artefact, self._piece_start
        size = min(max(wanted, self._piece_bytes), artefact.size - start)
        part = f"bytes={start}-{start + size - 1}"
        with explain_s3_errors(f"read {artefact.address}"):
            try:
                return within_deadline(lambda: read_answer(artefact, size, part))[0]
            except ClientError as error:
                if error_code(error) in ("PreconditionFailed", "NoSuchKey"):
                    raise Replaced(
                        f"{artefact.address} was replaced or deleted while it was "
                        "read; wait until it is complete, then retry."
                    ) from error
                raise
