"""The tables of docs/formats.md say what the code does."""

import re
from pathlib import Path

import pytest

from tfxp.formats import FixedPointFormat, round_scalar

TEXT = (Path(__file__).resolve().parents[2] / "docs/formats.md").read_text(encoding="utf-8")


def _rows(start):
    """Cells of the table whose header starts so."""
    table = TEXT[TEXT.index(start) :].split("\n\n")[0].splitlines()
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.parametrize("row", _rows("| name | bits")[2:], ids=lambda row: row[0])
def test_table_of_formats(row):
    name, bits, scale, codes, low, high, adaption = row
    fmt = FixedPointFormat.parse(name)
    numerator, _, denominator = scale.partition("/")
    assert fmt.bits == int(bits)
    assert fmt.scale == int(numerator) / int(denominator or 1)
    assert [fmt.qmin, fmt.qmax] == [int(code) for code in codes.split("…")]
    assert (fmt.min, fmt.max) == (float(low), float(high))
    assert fmt.adaption_name == adaption


def test_table_of_rounding_modes():
    header, _, *rows = _rows("| x / scale")
    for row in rows:
        for mode, code in zip(header[1:], row[1:], strict=True):
            assert round_scalar(float(row[0]), mode) == int(code), (row[0], mode)
    assert re.fullmatch(r"half_even half_away half_up floor", " ".join(header[1:]))
