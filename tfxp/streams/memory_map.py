""".npy files, mapped into memory and read row by row."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tfxp.errors import DataError
from tfxp.keras import tf
from tfxp.streams.stream import Element, Stream


def memory_map(path: str) -> Stream:
    """The rows of x.npy, with the answers of y.npy beside it if that is there.

    The answers' file has the name of the inputs' with the last x replaced: train_x.npy has
    train_y.npy.

    Args:
        path: the inputs' file.

    Raises:
        DataError: files that cannot be read, hold no numbers, or differ in length.
    """
    name = f"file {os.fspath(path)!r}"
    x, y = _mapped(path), None
    other = answers_path(path)
    if other is not None and os.path.isfile(other):
        y = _mapped(other)
        if len(x) != len(y):
            raise DataError(
                f"samples of {name}: got {len(x)} inputs and {len(y)} answers in {other!r}; "
                "expected as many of one as of the other."
            )

    def read(rows: tf.Tensor) -> Element:
        item = {"x": (_rows(x, rows),)}
        return item if y is None else {**item, "y": _rows(y, rows)}

    return Stream(
        name,
        lambda: tf.data.Dataset.range(len(x)),
        read,
        len(x),
        lambda number, _: f"sample {number}",
        light=True,
        together=True,
        has_answers=y is not None,
    )


def answers_path(path: str) -> str | None:
    """The file that holds the answers to the inputs of another; None where no name fits.

    Example:
        >>> answers_path("set/train_x.npy"), answers_path("images.npy")
        ('set/train_y.npy', None)
    """
    folder, file = os.path.split(os.fspath(path))
    stem = file.removesuffix(".npy")
    if stem != "x" and not stem.endswith(("_x", "-x", ".x")):
        return None
    return os.path.join(folder, f"{stem[:-1]}y.npy")


def _mapped(path: str) -> Any:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"file {path!r}: cannot be read ({reason}). Make it again.") from None
    if array.dtype.kind not in "biuf" or array.ndim == 0 or array.size == 0:
        raise DataError(
            f"file {path!r}: got shape {array.shape} of {array.dtype}; expected samples of numbers."
        )
    return array


def _rows(array: np.ndarray, rows: np.ndarray) -> Any:
    def fetch(numbers: np.ndarray) -> Any:
        return np.ascontiguousarray(array[numbers])

    found = tf.numpy_function(fetch, [rows], tf.as_dtype(array.dtype), stateful=False)
    found.set_shape((None, *array.shape[1:]))
    return found
