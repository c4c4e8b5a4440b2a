"""Each fault of a file is told by its name, its line and what to do about it."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas import DataFrame

from pipeline.aws.csv_text import read_csv_text

ADDRESS = "s3://b/datasets/week_2021-07-03.csv"
HEADER = "product_code,orders_placed,hours_to_dispatch\n"
ROW = "SKU001,12,7.5\n"
GOOD = HEADER + ROW
COLUMNS = "product_code, orders_placed, hours_to_dispatch"
UNEVEN = f"another number of fields than the header, which has 3 ({COLUMNS}), the first"


def read(content: str | bytes) -> DataFrame:
    return read_csv_text(
        content.encode() if isinstance(content, str) else content, ADDRESS
    )


def spell(row: str, delimiter: str) -> str:
    return row.replace(",", delimiter)


FAULTS: dict[str, tuple[str | bytes, str]] = {
    "semicolons": (
        spell(GOOD, ";"),
        f"its fields are separated by ';' ({COLUMNS} in line 1); separate them by "
        "commas",
    ),
    "tabs": (
        spell(GOOD, "\t"),
        f"its fields are separated by tabs ({COLUMNS} in line 1); separate them by "
        "commas",
    ),
    "pipes": (
        "\n" + spell(GOOD, "|"),
        f"its fields are separated by '|' ({COLUMNS} in line 2); separate them by "
        "commas",
    ),
    "semicolons, quoted": (
        '"product_code";"orders_placed"\n"SKU001";"12"\n',
        "its fields are separated by ';' (product_code, orders_placed in line 1); "
        "separate them by commas",
    ),
    "semicolons and decimal commas": (
        spell(GOOD, ";") + "\nSKU001;12;7,5\n",
        f"its fields are separated by ';' ({COLUMNS} in line 1) and its decimals by "
        "commas (7,5 in line 4); separate them by commas and decimals by points",
    ),
    "decimal commas": (
        HEADER + "SKU001,12,8\n\nSKU001,12,7,5\nSKU002,9,1,5\n",
        f"2 rows have {UNEVEN} in line 4 with 4 (SKU001, 12, 7, 5); quote fields that "
        "hold commas, or write decimals with a point",
    ),
    "a field too many": (
        GOOD + "SKU001,12,7.5,fragile\n",
        f"1 row has {UNEVEN} in line 3 with 4 (SKU001, 12, 7.5, fragile); quote fields "
        "that hold commas",
    ),
    "a field too few, after lines within quotes": (
        HEADER + '"SKU001\r\n\r\n",12,7.5\r\n\r\nSKU001,12\r\n',
        f"1 row has {UNEVEN} in line 6 with 2 (SKU001, 12); complete them",
    ),
    "a number of many fields": (
        HEADER + "0," * 50 + "\n",
        f"1 row has {UNEVEN} in line 2 with 51 (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...); "
        "quote fields that hold commas, or write decimals with a point",
    ),
    "a long field that is no line of a log": (
        HEADER + f"SKU\u20281\x1b[2J{'x' * 50},12\n",
        rf"1 row has {UNEVEN} in line 2 with 2 (SKU\u20281\x1b[2J{'x' * 31}..., 12); "
        "complete them",
    ),
    "UTF-16": (GOOD.encode("utf-16"), "it is in UTF-16; save it in UTF-8"),
    "UTF-16, the other way round": (
        b"\xfe\xff" + GOOD.encode("utf-16-be"),
        "it is in UTF-16; save it in UTF-8",
    ),
    "UTF-16 without its mark": (
        GOOD.encode("utf-16-le"),
        "it is in UTF-16; save it in UTF-8",
    ),
    "UTF-16 without its mark, the other way round": (
        GOOD.encode("utf-16-be"),
        "it is in UTF-16; save it in UTF-8",
    ),
    "Latin-1": (
        GOOD.replace("\n", "\r\n").encode() + "Größe,12,7.5\n".encode("latin-1"),
        "it is not in UTF-8 but looks like Latin-1 (byte 0xF6, there 'ö', in line 3); "
        "save it in UTF-8",
    ),
    "Latin-1 as on old Macs": (
        GOOD.replace("\n", "\r").encode() + "Größe,12,7.5\r".encode("latin-1"),
        "it is not in UTF-8 but looks like Latin-1 (byte 0xF6, there 'ö', in line 3); "
        "save it in UTF-8",
    ),
    "an .xlsx": (
        b"PK\x03\x04\x14\x00\x06\x00xl/workbook.xml",
        "it is an Excel workbook (.xlsx) or another zip archive; save it as CSV in "
        "UTF-8",
    ),
    "an .xls": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512),
        "it is an Excel workbook (.xls); save it as CSV in UTF-8",
    ),
    "a torn gzip": (
        gzip.compress(GOOD.encode())[:-9],
        "its gzip breaks off before its end; copy it whole",
    ),
    "a damaged gzip": (
        gzip.compress(GOOD.encode())[:-8] + bytes(8),
        "its gzip is damaged (CRC check failed 0x0 != 0x",
    ),
    "what is no gzip": (
        b"\x1f\x8bno gzip at all",
        "its gzip is damaged (Unknown compression method); gzip it anew",
    ),
    "a gzip within a gzip": (
        gzip.compress(gzip.compress(GOOD.encode())),
        "it is gzipped twice; gzip it once",
    ),
    "a NUL byte": (
        GOOD + "SKU001,\0,7.5\n",
        "line 3 holds a NUL byte; export it anew",
    ),
    "no bytes": ("", "it is empty; put a header line and the rows into it"),
    "a mark and blank lines": (
        "\ufeff\n \r\n",
        "it is empty; put a header line and the rows into it",
    ),
    "no header": (
        ROW * 2,
        "line 1 is data and no header (SKU001, 12, 7.5); put a line with the columns' "
        "names first",
    ),
    "two columns of one name": (
        "hours,orders,hours\n1,2,3\n",
        "columns 1 and 3 in line 1 are both named hours; give each column a name of "
        "its own",
    ),
    "two columns of one name but for spaces": (
        "\nhours,orders, hours \n1,2,3\n",
        "columns 1 and 3 in line 2 are both named hours; give each column a name of "
        "its own",
    ),
    "a quote that is not closed": (
        GOOD + '"SKU001,12,7.5\n' + ROW,
        "a quote in the row that begins in line 3 is never closed; correct its quotes",
    ),
    "a quote that is not closed in a large file": (
        GOOD + '"SKU001,12,7.5\n' + ROW * 20_000,
        "the row that begins in line 3 has a field of more than 131,072 characters, "
        "as if a quote were never closed; correct its quotes",
    ),
    "a quote that ends within its field": (
        GOOD + '"SKU"001,12,7.5\n',
        "the row that begins in line 3 cannot be split into fields (',' expected after "
        "'\"'); correct its quotes",
    ),
    "a quote that ends in another's field, further below": (
        GOOD + '"SKU001,12,7.5\n' + ROW + '",12\n"SKU"1,2,3\n',
        f"1 row has {UNEVEN} in line 3 with 2 (SKU001,12,7.5\\nSKU001,12,7.5\\n, 12); "
        "complete them",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_told_in_one_sentence(fault: str) -> None:
    content, sentence = FAULTS[fault]
    with pytest.raises(ValueError) as refusal:
        read(content)
    told = str(refusal.value)
    assert told.startswith(f"{ADDRESS} cannot be read as CSV: {sentence}")
    assert told.endswith(", and deliver it again under a newer timestamp.")
    assert told.isprintable()


def test_the_page_for_data_engineers_tells_sentences_that_there_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "deliveries.md").read_text()
    _, _, table = page.partition("| the file | the log |\n|---|---|\n")
    lines = table.partition("\n\n")[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines]
    assert len(rows) == 14
    for _, sentence in rows:
        assert sentence in [told for _, told in FAULTS.values()]


@pytest.mark.parametrize(
    "content, rows",
    [
        (GOOD, {2: ["SKU001", "12", "7.5"]}),
        (GOOD.removesuffix("\n"), {2: ["SKU001", "12", "7.5"]}),
        (
            f"\n\n{HEADER}\n{ROW}   \n\r\n{ROW}",
            {5: ["SKU001", "12", "7.5"], 8: ["SKU001", "12", "7.5"]},
        ),
        (
            HEADER + '"a ""quoted""\n\nname",1,2\n' + ROW,
            {2: ['a "quoted"\n\nname', "1", "2"], 5: ["SKU001", "12", "7.5"]},
        ),
        (HEADER + "NA,,nan\n,null,\n", {2: ["NA", "", "nan"], 3: ["", "null", ""]}),
        (HEADER + ",,\n007, 1 ,1e3\n", {2: ["", "", ""], 3: ["007", " 1 ", "1e3"]}),
        (HEADER + 'a"b",1;2|3,"7,5"\n', {2: ['a"b"', "1;2|3", "7,5"]}),
        (GOOD.replace("\n", "\r"), {2: ["SKU001", "12", "7.5"]}),
        (HEADER, {}),
    ],
    ids=[
        *("plain", "no last line end", "blank lines", "quoted lines", "empty fields"),
        *("only commas", "quotes and delimiters within", "old Mac", "header only"),
    ],
)
def test_fields_stay_as_they_stand_and_rows_know_their_lines(
    content: str, rows: dict[int, list[str]]
) -> None:
    data = read(content)
    assert list(data) == HEADER.strip().split(",")
    assert (data.dtypes == "str").all() and data.index.dtype == int
    found = data.fillna("").to_numpy().tolist()
    assert dict(zip(data.index, found, strict=True)) == rows
    assert not (data == "").any(axis=None)


def test_a_single_column_may_have_one_letter_or_missing_values() -> None:
    assert list(read("h")) == ["h"]
    assert read('hours\n1\n""\n\n2\n')["hours"].dropna().to_dict() == {2: "1", 5: "2"}


def test_columns_without_a_name_are_named_by_their_place() -> None:
    assert list(read(",hours,\n1,2,3\n")) == ["Unnamed: 0", "hours", "Unnamed: 2"]


def test_lines_are_right_beyond_the_rows_that_are_read_at_once() -> None:
    data = read(HEADER + "\nSKU001,12,7.5\n" * 20_001)
    assert data.index.tolist() == list(range(3, 40_005, 2))


def test_a_refusal_is_one_line_whatever_it_repeats() -> None:
    """The tab that is missing after a quote, too."""
    with pytest.raises(ValueError, match=r"fields \(.*\\t") as refusal:
        read('"a"b\thours\n1\t2\n')
    assert str(refusal.value).isprintable()


@given(
    st.lists(st.lists(st.text(st.characters(exclude_characters="\0")), min_size=2)),
    st.data(),
)
def test_any_text_is_read_or_refused(
    rows: list[list[str]], data: st.DataObject
) -> None:
    """Quoted or not, in whatever way."""
    lines = [
        ",".join(
            '"' + field.replace('"', '""') + '"' if data.draw(st.booleans()) else field
            for field in row
        )
        for row in rows
    ]
    content = "\n".join(lines).encode("utf-8", "replace")
    try:
        read(content)
    except ValueError as refusal:
        assert str(refusal).startswith(f"{ADDRESS} cannot be read as CSV: ")
        assert str(refusal).isprintable()


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for each in (content, b"\x1f\x8b" + content, HEADER.encode() + content):
        try:
            read(each)
        except ValueError as refusal:
            assert str(refusal).startswith(f"{ADDRESS} cannot be read as CSV: ")
            assert str(refusal).isprintable()
