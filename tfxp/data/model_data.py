"""What a model with one input or several is fed with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.data.dataset import Dataset
from tfxp.data.input_scaling import InputScaling, Scalings
from tfxp.data.named_inputs import ordered_inputs
from tfxp.data.npz import read_npz
from tfxp.data.source import Batch
from tfxp.errors import DataError
from tfxp.files import PathLike
from tfxp.keras_types import KerasModel


@dataclass(frozen=True)
class ModelData:
    """Samples for every input of a model, with or without what they should give.

    Args:
        parts: one data set per input, in the model's order; all hold the same answers.

    Raises:
        DataError: inputs of different lengths.

    Example:
        >>> image, place = Dataset(np.zeros((5, 8, 8))), Dataset(np.zeros((5, 2)))
        >>> [part.shape for part in ModelData((image, place)).x]
        [(5, 8, 8), (5, 2)]
    """

    parts: tuple[Dataset, ...]

    def __post_init__(self) -> None:
        lengths = {part.name: len(part) for part in self.parts}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{count} of {name}" for name, count in lengths.items())
            raise DataError(f"samples of several inputs: got {listed}; expected equal numbers.")

    def __len__(self) -> int:
        return len(self.parts[0])

    @classmethod
    def of(cls, data: ModelData | Dataset | tuple[Any, Any], names: Sequence[str] = (),
           name: str = "data") -> ModelData:  # fmt: skip
        """Samples in any of the forms that users have them in.

        Args:
            data: a `ModelData`, a `Dataset`, or (x, y) with an array, or for several inputs a list
                or dict of arrays.
            names: the model's inputs, in order.
            name: what error messages call it.

        Raises:
            DataError: other inputs than the model's, or arrays that no model takes.

        Example:
            >>> pair = {"place": np.zeros((5, 2)), "image": np.ones((5, 8, 8))}, np.arange(5)
            >>> [part.shape for part in ModelData.of(pair, ["image", "place"]).x]
            [(5, 8, 8), (5, 2)]
        """
        if isinstance(data, ModelData):
            return data
        if isinstance(data, Dataset):
            return cls((data,))
        x, y = data
        arrays, labels = ordered_inputs(x, names, name), None if y is None else np.asarray(y)
        titles = [f"{key} of {name}" for key in names] if len(names) > 1 else [name]
        return cls(
            tuple(Dataset(part, labels, title) for part, title in zip(arrays, titles, strict=True))
        )

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self)

    @property
    def has_answers(self) -> bool:
        """Whether there are labels or targets."""
        return self.y is not None

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples in order, `size` at a time; the last batch may be smaller.

        Example:
            >>> data = ModelData((Dataset(np.zeros((5, 8)), np.arange(5)),))
            >>> [len(batch) for batch in data.batches(2)]
            [2, 2, 1]
        """
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            answers = None if self.y is None else self.y[rows]
            yield Batch([part.x[rows] for part in self.parts], answers)

    def take(self, limit: int | None) -> ModelData:
        """The first `limit` samples (all of them for None)."""
        return ModelData(tuple(part.take(limit) for part in self.parts))

    def in_memory(self, limit: int | None = None) -> ModelData:
        """The first `limit` samples, or all: they are arrays already."""
        return self.take(limit)

    def skip(self, count: int) -> ModelData:
        """All but the first `count` samples.

        Raises:
            DataError: none would be left.
        """
        return self._cut(slice(count, None))

    def without_last(self, count: int) -> tuple[ModelData, ModelData]:
        """All samples but the last `count`, and those.

        Raises:
            DataError: none would be left.

        Example:
            >>> data = ModelData((Dataset(np.zeros((5, 8)), np.arange(5)),))
            >>> [part.y.tolist() for part in data.without_last(2)]
            [[0, 1, 2], [3, 4]]
        """
        if not 0 < count < len(self):
            raise DataError(
                f"samples to hold out of {self.name}: got {count} of {len(self)}; expected "
                "at least one, and fewer than there are."
            )
        rest, held = slice(None, -count), slice(-count, None)
        return self._cut(rest), self._cut(held)

    def _cut(self, rows: slice) -> ModelData:
        return ModelData(
            tuple(
                replace(part, x=part.x[rows], y=None if part.y is None else part.y[rows])
                for part in self.parts
            )
        )

    def shaped(self, shapes: Mapping[str, Sequence[int | None]]) -> ModelData:
        """Inputs with a model's shapes, as `Dataset.shaped` makes them.

        Args:
            shapes: input name -> one sample's shape, in the model's order.

        Raises:
            DataError: another number of inputs, or shapes that cannot be reconciled.
        """
        if len(self.parts) != len(shapes):
            raise DataError(
                f"inputs of {self.name}: got {len(self.parts)}; expected {', '.join(shapes)}. "
                "Give an array for each, by name or in this order."
            )
        pairs = zip(self.parts, shapes.values(), strict=True)
        return ModelData(tuple(part.shaped(tuple(shape)) for part, shape in pairs))

    @property
    def x(self) -> Any:
        """The input's array; a list of arrays where there are several inputs."""
        arrays = [part.x for part in self.parts]
        return arrays if len(arrays) > 1 else arrays[0]

    @property
    def y(self) -> NDArray[Any] | None:
        """Labels or targets, if there are any."""
        return self.parts[0].y

    @property
    def name(self) -> str:
        """Where it came from."""
        return self.parts[0].name

    def labels(self, classes: int | None = None, first: int | None = None) -> NDArray[np.int64]:
        """Class numbers, as `Dataset.labels` gives them."""
        return self.parts[0].labels(classes, first)

    def answers(self) -> NDArray[Any] | None:
        """What a network is trained for: answers as they are, and checked where a sample has one
        class number; None if there are none.

        Raises:
            DataError: whole numbers of which some are no classes.
        """
        if self.y is None or self.y.size != len(self.y):
            return self.y
        return self.labels() if np.issubdtype(self.y.dtype, np.integer) else self.y

    def scaled(self, scale: float = 1.0, shift: float = 0.0) -> ModelData:
        """x · scale + shift as float32.

        Raises:
            DataError: the result leaves float32's range, or there are several inputs to scale.
        """
        if len(self.parts) > 1 and (scale, shift) != (1.0, 0.0):
            raise DataError(
                f"scaling of {self.name}: got {scale:g} and {shift:g} for {len(self.parts)} inputs;"
                " expected neither. Scale the arrays in the file."
            )
        return ModelData(tuple(replace(part, x=part.inputs(scale, shift)) for part in self.parts))

    def scaled_by(self, names: Sequence[str], scalings: Scalings) -> ModelData:
        """Inputs as float32, each as its network wants it; see `scaled_inputs`."""
        return scaled_inputs(self, names, scalings)


def scaled_inputs(data: ModelData, names: Sequence[str], scalings: Scalings) -> ModelData:
    """Data as float32, every input as its network wants it.

    Args:
        data: samples in their own units.
        names: the network's inputs, in the order of the data.
        scalings: input name -> scaling; inputs that are not named stay as they are.

    Raises:
        DataError: columns that are not as many as the scaling has, or values that leave float32.
    """
    parts = []
    for part, name in zip(data.parts, names, strict=True):
        scaling = scalings.get(name, InputScaling())
        columns = len(scaling.scale)
        if columns > 1 and part.x.shape[-1] != columns:
            raise DataError(
                f"inputs of {part.name}: got {part.x.shape[-1]} columns; expected {columns}, for "
                "which the model brings a scaling."
            )
        x = part.inputs() if scaling.is_one else scaling.apply(part.x)
        parts.append(replace(part, x=x))
    return ModelData(tuple(parts))


def input_shapes(model: KerasModel) -> dict[str, tuple[int | None, ...]]:
    """Input name -> one sample's shape, of a Keras model.

    Args:
        model: a tf_keras model.
    """
    shapes = (tuple(tensor.shape[1:]) for tensor in model.inputs)
    return dict(zip(model.input_names, shapes, strict=True))


def load_model_data(
    path: PathLike,
    shapes: Mapping[str, Sequence[int | None] | None],
    split: str | None = None,
    limit: int | None = None,
    default_split: str = "test",
    labels: bool = False,
) -> ModelData:
    """Read and check the data file of a model.

    For a model with one input the file holds x and perhaps y, or x_train, y_train, x_test and
    y_test. For one with several inputs an array per input stands in the place of x, under the
    input's name: "image" and "place", or "image_train" and so on.

    Args:
        path: an `.npz` file.
        shapes: input name -> one sample's shape, None for any length, in the model's order; None
            for a shape takes the array as it is.
        split, limit, default_split, labels: as in `load_npz`.

    Raises:
        DataError: what `load_npz` raises; an input without an array, or of another shape.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "data.npz")
        >>> np.savez(path, image=np.zeros((10, 8, 8)), place=np.zeros((10, 2)), y=np.arange(10))
        >>> data = load_model_data(path, {"image": (8, 8, 1), "place": (2,)}, limit=3)
        >>> [part.shape for part in data.x]
        [(3, 8, 8, 1), (3, 2)]
    """
    names = tuple(shapes) if len(shapes) > 1 else ("x",)
    arrays, y = read_npz(path, names, split, limit, default_split, labels)
    where = repr(str(path))
    parts = []
    for name, array, shape in zip(names, arrays, shapes.values(), strict=True):
        title = where if len(names) == 1 else f"{name} of {where}"
        part = Dataset(array, y, title)
        parts.append(part if shape is None else part.shaped(tuple(shape)))
    return ModelData(tuple(parts))
