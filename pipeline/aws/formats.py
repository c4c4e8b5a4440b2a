"""The formats of objects on S3, and how large one may be."""

from typing import NamedTuple

from pipeline.aws.pickling import MAX_BYTES as MAX_MODEL_BYTES


class FileFormat(NamedTuple):
    """What the objects of one format are called, and how large they may be.

    Attributes:
        max_bytes: A larger object is not read; None if the memory decides.
        remedy: What to do about one that is larger.
    """

    endings: tuple[str, ...]
    max_bytes: int | None = None
    remedy: str = ""


# The record of a run with 5,000 products takes 1 MiB.
MAX_RECORD_BYTES = 8 * 2**20
CSV, PARQUET = (".csv", ".csv.gz"), (".parquet",)
FILE_FORMATS = {
    "csv": FileFormat(CSV),
    "parquet": FileFormat(PARQUET),
    "pkl": FileFormat((".pkl",), MAX_MODEL_BYTES, "train a new model in its place"),
    "json": FileFormat((".json",), MAX_RECORD_BYTES, "do not rely on it"),
    "withdrawn": FileFormat((".withdrawn",), 16 * 2**10, "remove it"),
    # Read in pieces, so that any size will do that S3 has.
    "table": FileFormat(CSV + PARQUET, 5 * 2**40, "divide it"),
}
# What a delivery may be.
TABLE_FORMATS = ("csv", "parquet")
TABLE_ENDINGS = CSV + PARQUET


class TooLarge(RuntimeError):
    """There is more in an object than is taken, so that none exhausts the memory."""

    def __init__(self, address: str, found: str, remedy: str):
        super().__init__(f"{address} is too large: it has {found}; {remedy}.")


def find_format(file_format: str) -> FileFormat:
    """Find what is known of a format.

    Raises:
        ValueError: The format is not supported.
    """
    chosen = FILE_FORMATS.get(file_format.lower())
    if chosen is None:
        raise ValueError(
            f"{file_format} is not a supported file format; "
            f"choose one of {', '.join(FILE_FORMATS)}."
        )
    return chosen
