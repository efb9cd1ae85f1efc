"""Dataset: checked inputs, with or without what they should give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.data.named_inputs import fits
from tfxp.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Samples along the first axis, checked when made.

    Args:
        x: inputs, any shape but a scalar, any numeric type.
        y: labels or targets for each sample, if there are any.
        name: where it came from; error messages name it.

    Raises:
        DataError: no samples, values that are not finite or not numbers, or lengths that differ.

    Example:
        >>> Dataset(np.array([[0, 128], [255, 0]], np.uint8)).inputs(scale=1 / 255).max()
        np.float32(1.0)
    """

    x: NDArray[Any]
    y: NDArray[Any] | None = None
    name: str = "data"

    def __post_init__(self) -> None:
        check_array(self.x, f"x of {self.name}")
        if self.y is None:
            return
        check_array(self.y, f"y of {self.name}")
        if len(self.x) != len(self.y):
            raise DataError(
                f"samples of {self.name}: got {len(self.x)} inputs and {len(self.y)} labels;"
                " expected as many of one as of the other."
            )

    def __len__(self) -> int:
        return len(self.x)

    def take(self, limit: int | None) -> Dataset:
        """The first `limit` samples (all of them for None).

        Args:
            limit: how many; None for all.

        Raises:
            DataError: fewer than one.
        """
        if limit is None or limit >= len(self):
            return self
        if limit < 1:
            raise DataError(f"limit of {self.name}: got {limit}; expected at least 1.")
        return replace(self, x=self.x[:limit], y=None if self.y is None else self.y[:limit])

    def inputs(self, scale: float = 1.0, shift: float = 0.0) -> NDArray[np.float32]:
        """x · scale + shift as float32, computed in float32 and without a copy where both are idle.

        Raises:
            DataError: the result leaves float32's range.
        """
        x = np.asarray(self.x, np.float32)
        if scale != 1:
            x = x * np.float32(scale)
        if shift != 0:
            x = x + np.float32(shift)
        if not np.isfinite([x.min(), x.max()]).all():
            raise DataError(
                f"inputs of {self.name}: scaled by {scale:g} and shifted by {shift:g} they are not"
                " finite any more. Choose another --input_scale or --input_shift."
            )
        return x

    def shaped(self, shape: Sequence[int | None]) -> Dataset:
        """Inputs with a model's shape, where they differ by axes of length 1 or by flattening only.

        Args:
            shape: one sample's shape; None stands for any length.

        Raises:
            DataError: the shapes cannot be reconciled.

        Example:
            >>> Dataset(np.zeros((5, 28, 28))).shaped((28, 28, 1)).x.shape
            (5, 28, 28, 1)
        """
        wanted = conforming_shape(self.x.shape[1:], shape, self.name)
        if fits(self.x.shape[1:], wanted):
            return self
        return replace(self, x=self.x.reshape(len(self.x), *(n for n in wanted if n is not None)))

    def labels(self, classes: int | None = None, first: int | None = None) -> NDArray[np.int64]:
        """Class numbers, from integers, whole floats or one-hot rows.

        Args:
            classes: how many the model tells apart, where that is known.
            first: the number of the first sample in its source, for messages.

        Raises:
            DataError: there are no labels, or they are no classes.
        """
        if self.y is None:
            raise DataError(
                f"labels of {self.name}: got none; expected an array y. Add one to the file."
            )
        y = self.y
        if y.ndim == 2 and y.shape[1] > 1 and _is_one_hot(y):
            y = y.argmax(axis=1)
        y = y.reshape(len(y), -1)
        if y.shape[1] != 1:
            raise DataError(_no_class_numbers(self.name, self.y))
        return class_numbers(y, classes, self.name, first)[:, 0]


def class_numbers(
    y: NDArray[Any], classes: int | None, name: str, first: int | None = None
) -> NDArray[np.int64]:
    """Answers as class numbers, checked.

    Args:
        y: whole numbers, integers or floats, (samples, positions).
        classes: how many the model tells apart, where that is known.
        name: of the data.
        first: the number of the first sample in its source, for messages.

    Raises:
        DataError: some are no whole numbers, or out of range.
    """
    if not np.array_equal(y, np.trunc(y)):
        raise DataError(_no_class_numbers(name, y))
    numbers = y.astype(np.int64)
    top = classes if classes is not None else np.iinfo(np.int64).max
    wrong = np.argwhere((numbers < 0) | (numbers >= top))
    if wrong.size:
        raise DataError(f"labels of {name}: " + _out_of_range(numbers, wrong, classes, first))
    return numbers


def _no_class_numbers(name: str, y: NDArray[Any]) -> str:
    return (
        f"labels of {name}: got shape {y.shape} of {y.dtype}; expected one class number a sample,"
        " or one-hot rows."
    )


def _out_of_range(
    numbers: NDArray[np.int64], wrong: NDArray[np.intp], classes: int | None, first: int | None
) -> str:
    """The first wrong class number and its place, the range, and the way out."""
    row, column = wrong[0]
    single = first is None and len(numbers) == 1
    place = "" if single else f" in sample {(first or 0) + row} (counted from 0)"
    others = f", and {len(wrong) - 1:,} more out of range" if len(wrong) > 1 else ""
    got = f"got class {numbers[row, column]}{place}{others}"
    if classes is None:
        return f"{got}; expected 0 or more. Number the classes from 0."
    return (
        f"{got}; expected 0 … {classes - 1}, one for each of the model's {classes} outputs."
        " Number the classes from 0, or take a model with an output for each."
    )


def conforming_shape(
    got: Sequence[int | None], shape: Sequence[int | None], name: str
) -> tuple[int | None, ...]:
    """A sample's shape as a model takes it: its own, or the model's that holds the same numbers.

    Args:
        got: the sample's shape; None stands for a length that is not known yet.
        shape: the model's; None stands for any length.
        name: what error messages call the samples.

    Raises:
        DataError: the shapes cannot be reconciled.

    Example:
        >>> conforming_shape((28, 28), (28, 28, 1), "digits")
        (28, 28, 1)
    """
    wanted = tuple(n for n in shape if n is not None)
    if None in got:  # nothing is known before the samples are read
        if len(got) == len(shape):
            return tuple(shape)
    elif fits(known := [n for n in got if n is not None], shape):
        return tuple(known)
    elif len(wanted) == len(shape):
        long_axes = [[n for n in axes if n != 1] for axes in (got, wanted)]
        if wanted == (math.prod(known),) or long_axes[0] == long_axes[1]:
            return wanted
    raise DataError(
        f"shape of {name}: got {tuple(got)} a sample; expected {tuple(shape)}."
        " Use data made for this model."
    )


def check_array(array: NDArray[Any], what: str) -> None:
    """Complain about an array that no measurement can use.

    Raises:
        DataError: a scalar, an empty array, values that are no numbers or not finite.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"{what}: got type {array.dtype}; expected numbers.")
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{what}: got shape {array.shape}; expected at least one sample.")
    if array.dtype.kind != "f":
        return
    bad = 0
    for start in range(0, len(array), 4096):  # a mask of the whole array may not fit
        bad += int(np.count_nonzero(~np.isfinite(array[start : start + 4096])))
    if bad:
        raise DataError(
            f"{what}: got {bad} values that are not finite (NaN or infinite) of {array.size};"
            " expected finite numbers. Remove or replace them."
        )


def _is_one_hot(y: NDArray[Any]) -> bool:
    return bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())
