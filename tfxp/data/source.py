"""Source: samples that are read in batches, as often as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tfxp.data.input_scaling import Scalings
from tfxp.errors import DataError
from tfxp.keras_types import Samples

Kind = TypeVar("Kind")
Shapes = Mapping[str, Sequence[int | None]]


@dataclass(frozen=True)
class Batch:
    """Some samples in a row.

    Args:
        inputs: one array per input of the network, in its order.
        y: the answers, one a sample; for several outputs a tuple of arrays, or arrays by the
            outputs' names; None where there are none.
        weights: how much each sample counts in training; None where all count the same.
    """

    inputs: list[NDArray[Any]]
    y: Any = None
    weights: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.inputs[0])


@runtime_checkable
class Source(Protocol):
    """Samples wherever they lie: `ModelData` (arrays) and `tfxp.streams.Stream` are two kinds.

    Every entry point that takes samples takes a source; `tfxp.open_data` makes one of a path, a
    `tf.data.Dataset` or arrays. Reading it again gives the same samples in the same order.
    """

    @property
    def name(self) -> str:
        """What error messages call it."""

    @property
    def samples(self) -> int | None:
        """How many there are; None where only reading to the end would tell."""

    @property
    def has_answers(self) -> bool:
        """Whether there are labels or targets."""

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples in order, `size` at a time; the last batch may be smaller."""

    def take(self, limit: int | None) -> Source:
        """The first `limit` samples (all of them for None)."""

    def in_memory(self, limit: int | None = None) -> Any:
        """The first `limit` samples, or all, as `ModelData`: arrays."""

    @property
    def x(self) -> Samples:
        """The inputs in a form that every entry point takes."""

    def skip(self, count: int) -> Source:
        """All but the first `count` samples."""

    def shaped(self, shapes: Shapes) -> Source:
        """Inputs of a model's shapes, where they differ by axes of length 1 or by flattening."""

    def without_last(self, count: int) -> tuple[Source, Source]:
        """All samples but the last `count`, and those."""

    def scaled_by(self: Kind, names: Sequence[str], scalings: Scalings) -> Kind:
        """Inputs as float32, each as its network wants it; `names` in the network's order."""


def parts_of(answers: Any) -> list[NDArray[Any]]:
    """The arrays of a batch's answers, one for each output that has some.

    Example:
        >>> len(parts_of({"kind": np.zeros(3), "size": np.ones(3)})), parts_of(None)
        (2, [])
    """
    if answers is None:
        return []
    if isinstance(answers, Mapping):
        return list(answers.values())
    return list(answers) if isinstance(answers, (tuple, list)) else [answers]


def check_finite(batch: Batch, first: int, source: str) -> Batch:
    """The same batch, unless something in it is no number.

    Args:
        batch: some samples.
        first: the number of the first of them in the whole set, from 0.
        source: what error messages call the set.

    Raises:
        DataError: NaN or infinity; the sample is named by its number.
    """
    named = [("inputs", part) for part in batch.inputs]
    named += [("labels", part) for part in parts_of(batch.y)]
    if batch.weights is not None:
        named.append(("weights", batch.weights))
    for what, part in named:
        if part.dtype.kind != "f" or np.isfinite(part).all():
            continue
        bad = ~np.isfinite(part.reshape(len(part), -1)).all(axis=1)
        number = first + int(np.argmax(bad))
        raise DataError(
            f"{what} of {source}: got NaN or infinity in sample {number} (counted from 0); expected"
            " finite numbers. Remove or replace it."
        )
    return batch
