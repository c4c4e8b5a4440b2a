"""A delivery that is not on S3 yet: the same file or folder on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.aws.csv_text import read_csv_text
from pipeline.aws.listing import COMPLETE, NO_PARTS, PARQUET_ENDINGS
from pipeline.aws.memory import find_memory
from pipeline.aws.parquet_text import read_parquet_text

if TYPE_CHECKING:
    from pandas import DataFrame


def read_local_table(address: str) -> "DataFrame":
    """Read a CSV, a Parquet file, or a folder of parts, each field as text.

    Raises:
        RuntimeError: There is none, it cannot be read, or is not complete.
        TooLarge: It has too many columns, or takes more memory to train on than there
            is.
        ValueError: It is not such a file.
    """
    path = Path(address)
    is_parquet = path.name.lower().endswith(PARQUET_ENDINGS)
    try:
        if path.is_dir() and is_parquet:
            if not (path / COMPLETE).exists():
                raise RuntimeError(
                    f"{address} has no {COMPLETE} in it, so that parts may be missing; "
                    "write it when all are there."
                )
            parts = [
                part
                for part in sorted(path.iterdir())
                if part.name.lower().endswith(PARQUET_ENDINGS)
                and not part.name.startswith(NO_PARTS)
            ]
            return read_parquet_text(
                ((part.name, part.read_bytes()) for part in parts), address
            )
        find_memory().refuse_more(address, 0, path.stat().st_size)
        content = path.read_bytes()
    except OSError as error:
        raise RuntimeError(
            f"{address} cannot be read: {error.strerror}; check its path and "
            "permissions."
        ) from error
    if is_parquet:
        return read_parquet_text([("it", content)], address)
    return read_csv_text(content, address)
