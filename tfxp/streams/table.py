"""Tables of numbers in .csv files, line by line."""

from __future__ import annotations

import csv
import os

from tfxp.data.preprocessing import TableColumns
from tfxp.errors import DataError
from tfxp.keras import tf
from tfxp.streams.stream import Element, Stream


def table(path: str, columns: TableColumns | None = None) -> Stream:
    """The rows of a table with a header; an input is the row without answers.

    Args:
        path: the file.
        columns: which of them are answers, and which are left out; by default a column "y", where
            there is one, is the answer.

    Raises:
        DataError: no header, no rows, or columns that are not there.
    """
    name = f"table {os.fspath(path)!r}"
    header = _header(path, name)
    known = columns or TableColumns("y" if "y" in header else ())
    missing = [column for column in (*known.targets, *known.drop) if column not in header]
    if missing:
        raise DataError(
            f"columns of {name}: got {', '.join(header)}; expected also {', '.join(missing)}."
        )
    kept = [i for i, column in enumerate(header) if column not in known.drop]
    answers = [kept.index(header.index(column)) for column in known.targets]
    inputs = [i for i in range(len(kept)) if i not in answers]
    if not inputs:
        raise DataError(f"columns of {name}: got none but answers; expected inputs too.")

    def read(lines: tf.Tensor) -> Element:
        every = tf.io.decode_csv(lines, [[""]] * len(header))
        cells = [tf.strings.to_number(every[i], tf.float32) for i in kept]
        item = {"x": (tf.stack([cells[i] for i in inputs], axis=-1),)}
        if answers:
            y = tf.stack([cells[i] for i in answers], axis=-1)
            item["y"] = y[..., 0] if len(answers) == 1 else y
        return item

    return Stream(
        name,
        lambda: tf.data.TextLineDataset(path).skip(1).filter(lambda line: line != ""),
        read,
        _rows(path, name),
        lambda number, _: f"line {number + 2}",
        together=True,
        has_answers=bool(answers),
    )


def _header(path: str, name: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            header = [cell.strip() for cell in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name}: cannot be read ({error}).") from None
    if not header or len(set(header)) < len(header) or all(_is_number(cell) for cell in header):
        raise DataError(
            f"{name}: got {', '.join(header) or 'nothing'} in its first line; expected the names "
            "of its columns, each once."
        )
    return header


def _rows(path: str, name: str) -> int:
    with open(path, "rb") as file:
        count = sum(1 for line in file if line.strip()) - 1
    if count < 1:
        raise DataError(f"{name}: got no rows; expected at least one.")
    return count


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
