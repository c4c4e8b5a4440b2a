"""CSV as text: each field as it stands in the file, or the sentence what is wrong."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, IOBase, TextIOWrapper
from typing import TYPE_CHECKING

from pipeline.aws.formats import TooLarge
from pipeline.aws.memory import Memory, find_memory
from pipeline.logs import printable, show_values

if TYPE_CHECKING:
    from pandas import DataFrame

# Pandas takes up to a kilobyte of memory for each, even where it refuses them.
MAX_COLUMNS = 100
# No line with more is split into fields, which would take much more memory than it.
MOST_DELIMITERS = 100_000

# So many rows at a time are lists of Python, which take ten times the memory.
ROWS_AT_ONCE = 10_000

GZIP_MAGIC = b"\x1f\x8b"
FOREIGN_FORMATS = {
    b"PK\x03\x04": (
        "it is an Excel workbook (.xlsx) or another zip archive",
        "save it as CSV in UTF-8",
    ),
    b"\xd0\xcf\x11\xe0": ("it is an Excel workbook (.xls)", "save it as CSV in UTF-8"),
    GZIP_MAGIC: ("it is gzipped twice", "gzip it once"),
    b"\xff\xfe": ("it is in UTF-16", "save it in UTF-8"),
    b"\xfe\xff": ("it is in UTF-16", "save it in UTF-8"),
}
OTHER_DELIMITERS = {";": "';'", "\t": "tabs", "|": "'|'"}
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)
WHOLE_NUMBER = re.compile(r"\s*[+-]?\d+\s*")

# As far as a delimiter is looked for.
LONGEST_HEADER = 100_000
# Where a decimal comma is looked for: whole numbers may stand in the first rows.
ROWS_LOOKED_AT = 100


class Unreadable(Exception):
    """What is wrong with a file, and what to do about it."""

    def __init__(self, fault: str, remedy: str):
        super().__init__(f"{fault}; {remedy}")


def read_csv_text(content: bytes, address: str) -> "DataFrame":
    """Read a CSV, gzipped or not, in UTF-8 with or without a byte order mark.

    Args:
        address: Where it lies, for the refusal.

    Returns:
        All columns as delivered, each as text, missing where the field is empty. The
        index is the line in which the row begins; the file's first line is 1. Blank
        lines are no rows.

    Raises:
        TooLarge: It has too many columns, or takes more memory to train on than there
            is.
        ValueError: It is not such a file; says what it is, in which line, and what to
            do.
    """
    memory = find_memory()
    with refusing_unreadable_csv(address):
        return _read(_expand(content, address, memory), address, memory)


@contextmanager
def refusing_unreadable_csv(address: str) -> Iterator[None]:
    """Turn what is wrong with a CSV, within a with block, into the refusal of it.

    Args:
        address: Where it lies.

    Raises:
        ValueError: It is `Unreadable`; says why, and what to do.
    """
    try:
        yield
    except Unreadable as fault:
        raise ValueError(
            f"{address} cannot be read as CSV: {fault}, and deliver it again under a "
            "newer timestamp."
        ) from fault


def read_csv_header(file: IOBase, address: str) -> list[str]:
    """Read the names of the columns, of a file that may be too large to be held.

    Args:
        file: Expanded if it was gzipped; from its beginning.
        address: Where it lies, for the refusal.

    Raises:
        TooLarge: It has too many columns.
        Unreadable: It does not begin as a CSV in UTF-8.
    """
    content = file.read(LONGEST_HEADER)
    if len(content) == LONGEST_HEADER:
        # What is cut off in the middle could be no text.
        content = content[: max(map(content.rfind, (b"\n", b"\r"))) + 1]
        if not content:
            raise Unreadable(
                f"its first line has more than {LONGEST_HEADER:,} bytes",
                "put each row into a line of its own",
            )
    _refuse_other_formats(content)
    _refuse_other_delimiters(content, address)
    line, header = next(_split(content, address), (0, []))
    if not header:
        raise Unreadable("it is empty", "put a header line and the rows into it")
    refuse_more_columns(address, len(header))
    return _name_columns(header, line)


def refuse_more_columns(address: str, columns: int) -> None:
    """Refuse a dataset before the memory for it is taken.

    Raises:
        TooLarge: It has too many columns.
    """
    if columns > MAX_COLUMNS:
        raise _too_wide(address, f"{columns:,} columns")


def _too_wide(address: str, found: str) -> TooLarge:
    return TooLarge(
        address,
        f"{found}, and at most {MAX_COLUMNS} columns are taken",
        "deliver it with fewer columns under a newer timestamp",
    )


def _expand(content: bytes, address: str, memory: Memory) -> bytes:
    """Expand what is gzipped, as far as it is taken.

    Raises:
        TooLarge: It goes on.
        Unreadable: It is damaged.
    """
    if not content.startswith(GZIP_MAGIC):
        return content
    with refusing_damaged_gzip():
        with gzip.GzipFile(fileobj=BytesIO(content)) as expanded:
            content = expanded.read(memory.most_bytes + 1)
    if len(content) > memory.most_bytes:
        found = f"more than {memory.most_bytes:,} bytes when it is expanded"
        memory.refuse_more(address, 0, len(content), found)
    return content


@contextmanager
def refusing_damaged_gzip() -> Iterator[None]:
    """Turn what goes wrong when a gzip is read into a refusal.

    Raises:
        Unreadable: It breaks off, or is damaged.
    """
    try:
        yield
    except EOFError as error:
        raise Unreadable(
            "its gzip breaks off before its end", "copy it whole"
        ) from error
    except (OSError, zlib.error) as error:
        raise Unreadable(f"its gzip is damaged ({error})", "gzip it anew") from error


def _read(content: bytes, address: str, memory: Memory) -> "DataFrame":
    from pandas import DataFrame, Index, concat

    memory.refuse_more(address, 0, len(content))
    _refuse_other_formats(content)
    _refuse_other_delimiters(content, address)
    records = _split(content, address)
    header_line, header = next(records, (0, []))
    if not header:
        raise Unreadable("it is empty", "put a header line and the rows into it")
    refuse_more_columns(address, len(header))
    names = _name_columns(header, header_line)

    def keep() -> DataFrame:
        index = Index(lines, dtype="int64")
        data = DataFrame(rows, columns=names, index=index, dtype="str")
        return data.where(data != "")

    parts: list[DataFrame] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    uneven: tuple[int, list[str]] | None = None
    count = uneven_rows = 0
    most_rows = memory.most_rows(len(content))
    try:
        for line, row in records:
            count += 1
            if len(row) != len(names):
                refuse_more_columns(address, len(row))
                uneven_rows += 1
                uneven = uneven or (line, row)
            elif count <= most_rows and not uneven:
                rows.append(row)
                lines.append(line)
            if len(rows) == ROWS_AT_ONCE:
                parts.append(keep())
                rows, lines = [], []
    except Unreadable:
        # A quote that is not closed shows first in the row that it swallows.
        if not uneven:
            raise
    memory.refuse_more(address, count, len(content))
    if uneven:
        raise _tell_uneven_rows(uneven_rows, *uneven, names)
    return concat([*parts, keep()])


def _refuse_other_formats(content: bytes) -> None:
    """Refuse what is not text in UTF-8.

    Raises:
        Unreadable: Says what it is.
    """
    for magic, told in FOREIGN_FORMATS.items():
        if content.startswith(magic):
            raise Unreadable(*told)
    # In UTF-16 every second byte of Latin letters is zero.
    first, second = content[:200:2], content[1:200:2]
    if second and any(first) is not any(second):
        raise Unreadable("it is in UTF-16", "save it in UTF-8")
    if b"\0" in content:
        line = _line_of(content, content.index(b"\0"))
        raise Unreadable(f"line {line} holds a NUL byte", "export it anew")
    try:
        if not content.isascii():
            content.decode()
    except UnicodeDecodeError as error:
        byte = content[error.start : error.start + 1]
        letter = printable(byte.decode("cp1252", "replace"))
        raise Unreadable(
            f"it is not in UTF-8 but looks like Latin-1 (byte 0x{byte.hex().upper()}, "
            f"there {letter!r}, in line {_line_of(content, error.start)})",
            "save it in UTF-8",
        ) from error


def _refuse_other_delimiters(content: bytes, address: str) -> None:
    """Refuse what is separated by anything but commas.

    Raises:
        TooLarge: A line has too many of the delimiters.
        Unreadable: Names the delimiter and the columns, and decimal commas as well.
    """
    with _open(content) as text:
        lines = text.read(LONGEST_HEADER).splitlines()
    header = next(filter(str.strip, lines), "")
    delimiter = next((each for each in OTHER_DELIMITERS if each in header), "")
    if "," in header or not delimiter:
        return
    found = f"its fields are separated by {OTHER_DELIMITERS[delimiter]}"
    remedy = "separate them by commas"
    records = _split(content, address, delimiter)
    line, columns = next(records)
    shown = f"{found} ({show_values(columns)} in line {line})"
    for (line, row), _ in zip(records, range(ROWS_LOOKED_AT), strict=False):
        number = next(filter(DECIMAL_COMMA.fullmatch, row), "")
        if number:
            example = f"{show_values([number])} in line {line}"
            shown += f" and its decimals by commas ({example})"
            remedy += " and decimals by points"
            break
    raise Unreadable(shown, remedy)


def _open(content: bytes) -> TextIOWrapper:
    return TextIOWrapper(BytesIO(content), "utf-8-sig", newline="")


def _lines(text: TextIOWrapper, address: str, delimiter: str) -> Iterator[str]:
    """The lines of a file.

    Raises:
        TooLarge: One has so many delimiters that its columns must be too many.
    """
    for number, line in enumerate(text, 1):
        found = line.count(delimiter)
        if found > MOST_DELIMITERS:
            raise _too_wide(address, f"{found:,} delimiters in line {number}")
        yield line


def _split(
    content: bytes, address: str, delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Split a file into rows, each with the line in which it begins.

    Raises:
        TooLarge: A line has too many delimiters.
        Unreadable: A quote is not closed, or not where a field ends.
    """
    with _open(content) as text:
        lines = _lines(text, address, delimiter)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                begins = f"the row that begins in line {line}"
                if "end of data" in str(error):
                    fault = f"a quote in {begins} is never closed"
                elif "field limit" in str(error):
                    fault = (
                        f"{begins} has a field of more than {csv.field_size_limit():,} "
                        "characters, as if a quote were never closed"
                    )
                else:
                    reason = printable(str(error))
                    fault = f"{begins} cannot be split into fields ({reason})"
                raise Unreadable(fault, "correct its quotes") from error
            if row is None:
                return
            if row and not (len(row) == 1 and row[0].isspace()):
                yield line, row


def _name_columns(header: list[str], line: int) -> list[str]:
    """Name the columns as delivered, those without a name by their place, as pandas.

    Raises:
        Unreadable: Two have one name, or the names are data.
    """
    if any(map(NUMBER.fullmatch, header)):
        raise Unreadable(
            f"line {line} is data and no header ({show_values(header)})",
            "put a line with the columns' names first",
        )
    names = [name or f"Unnamed: {place}" for place, name in enumerate(header)]
    refuse_columns_of_one_name(names, f"in line {line}")
    return names


def refuse_columns_of_one_name(names: list[str], where: str) -> None:
    """Refuse two columns that differ in nothing but space around their names.

    Raises:
        Unreadable: Names them.
    """
    stripped = [name.strip() for name in names]
    for place, name in enumerate(stripped):
        if name in stripped[:place]:
            raise Unreadable(
                f"columns {stripped.index(name) + 1} and {place + 1} {where} are both "
                f"named {show_values([name])}",
                "give each column a name of its own",
            )


def _tell_uneven_rows(
    count: int, line: int, first: list[str], names: list[str]
) -> Unreadable:
    remedy = "complete them"
    if len(first) > len(names):
        remedy = "quote fields that hold commas"
        if any(
            WHOLE_NUMBER.fullmatch(whole) and WHOLE_NUMBER.fullmatch(decimals)
            for whole, decimals in zip(first, first[1:], strict=False)
        ):
            remedy += ", or write decimals with a point"
    rows = "1 row has" if count == 1 else f"{count:,} rows have"
    return Unreadable(
        f"{rows} another number of fields than the header, which has {len(names)} "
        f"({show_values(names)}), the first in line {line} with {len(first)} "
        f"({show_values(first)})",
        remedy,
    )


def _line_of(content: bytes, place: int) -> int:
    before = content[:place]
    ends = before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")
    return ends + 1
