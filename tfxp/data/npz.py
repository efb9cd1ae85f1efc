"""Reader of `.npz` data files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.data.dataset import Dataset
from tfxp.errors import DataError
from tfxp.file_kind import file_kind

SPLITS = ("train", "test")
_ADVICE = {
    "a .npy file, one array": (
        " Put it into one: numpy.savez('data.npz', x=numpy.load('file.npy'))."
    ),
    "a text file, such as CSV": (
        " Read it with numpy.loadtxt or pandas, and save inputs and labels:"
        " numpy.savez('data.npz', x=..., y=...)."
    ),
}


def load_npz(
    path: str | os.PathLike[str],
    split: str | None = None,
    limit: int | None = None,
    default_split: str = "test",
    labels: bool = False,
) -> Dataset:
    """Read and check a data file.

    A file holds either x and perhaps y, or x_train, y_train and x_test, y_test (each y may be
    absent). Only the arrays that are asked for are read.

    Args:
        path: the file.
        split: "train" or "test", for files that have both; None leaves it to `default_split`.
        limit: at most this many samples, the first ones.
        default_split: what None means: "train" to calibrate, "test" to evaluate.
        labels: whether y must be there.

    Raises:
        DataError: the file is missing, no `.npz`, damaged, without the arrays asked for, empty,
            or holds values that are not finite.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "data.npz")
        >>> np.savez(path, x=np.zeros((10, 4)), y=np.arange(10))
        >>> len(load_npz(path, limit=3))
        3
    """
    (x,), y = read_npz(path, ("x",), split, limit, default_split, labels)
    return Dataset(x, y, repr(os.fspath(path)))


def read_npz(
    path: str | os.PathLike[str],
    inputs: tuple[str, ...],
    split: str | None,
    limit: int | None,
    default_split: str,
    labels: bool,
) -> tuple[list[NDArray[Any]], NDArray[Any] | None]:
    """The arrays of some inputs, and the labels; arguments and errors as in `load_npz`."""
    name = repr(os.fspath(path))
    check_npz(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            keys, y_key = _keys(list(archive.files), inputs, split, default_split, name)
            if labels and y_key not in archive.files:
                raise DataError(
                    f"labels of {name}: got arrays {', '.join(archive.files)}; expected also"
                    f" {y_key}. Add the labels to the file."
                )
            arrays = [_first(archive[key], limit) for key in keys]
            y = _first(archive[y_key], limit) if y_key in archive.files else None
    except DataError:
        raise
    except Exception as error:  # damage surfaces as anything, from struct.error to SyntaxError
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"data file {name}: cannot be read ({reason}). Make it again.") from error
    return arrays, y


def check_npz(path: str | os.PathLike[str]) -> None:
    """Complain about a data file that cannot be opened, before any other work.

    Raises:
        DataError: it is missing, or no whole archive.
    """
    name = repr(os.fspath(path))
    if not os.path.isfile(path):
        raise DataError(f"data file {name}: got no such file; expected an .npz file.")
    kind = file_kind(path)
    if kind == "an .npz archive":
        return
    if kind is None or kind == "an empty file":
        raise DataError(
            f"data file {name}: got something that is no .npz archive, or only the beginning of"
            " one; expected one made by numpy.savez. Make it again."
        )
    raise DataError(
        f"data file {name}: got {kind}, which is no .npz archive; expected one made by"
        f" numpy.savez.{_ADVICE.get(kind, '')}"
    )


def _keys(
    have: list[str], inputs: tuple[str, ...], split: str | None, default_split: str, name: str
) -> tuple[list[str], str]:
    """The names of the inputs' and the labels' arrays."""
    if split not in (None, *SPLITS):
        raise DataError(f"split of {name}: got {split!r}; expected {' or '.join(SPLITS)}.")
    plain, wanted = set(inputs) <= set(have), split or default_split
    if plain and split is None:
        return list(inputs), "y"
    keys = [f"{key}_{wanted}" for key in inputs]
    if not set(keys) <= set(have):
        hint = " Leave the split away." if plain else ""
        expected = ", ".join(keys) if split else f"{', '.join(inputs)} or {', '.join(keys)}"
        raise DataError(
            f"arrays of {name}: got {', '.join(have) or 'none'}; expected {expected}.{hint}"
        )
    return keys, f"y_{wanted}"


def _first(array: NDArray[Any], limit: int | None) -> NDArray[Any]:
    if limit is not None and limit < 1:
        raise DataError(f"limit: got {limit}; expected at least 1.")
    if limit is None or array.ndim == 0 or limit >= len(array):
        return array
    return array[:limit].copy()  # a view would keep the whole array alive
