"""Samples in any form that users have them in, as one array per input in the network's order.

A dict goes by the names of the inputs, never by the order of its keys or of the alphabet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.data.source import Source
from tfxp.errors import DataError
from tfxp.keras_types import KerasModel, Samples

Shape = tuple[int | None, ...]
_ENDLESS = -1  # tf.data.INFINITE_CARDINALITY


@dataclass(frozen=True)
class InputSignature:
    """The inputs that a network takes.

    Args:
        names: of the inputs, in order.
        shapes: one sample's shape for each; None stands for any length.
        batch: the number of samples that a network built for a fixed batch takes at a time; None
            for any number.
        keys: other names that the network was built with, each with the input it stands for.

    Example:
        >>> signature = InputSignature(("zeta", "alpha"), ((3,), (2,)))
        >>> [x.shape for x in signature.order({"alpha": np.ones((5, 2)), "zeta": np.ones((5, 3))})]
        [(5, 3), (5, 2)]
    """

    names: tuple[str, ...]
    shapes: tuple[Shape, ...]
    batch: int | None = None
    keys: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: KerasModel) -> InputSignature:
        """The inputs of a Keras model."""
        names = tuple(model.input_names)
        fixed = [tensor.shape[0] for tensor in model.inputs if tensor.shape[0] is not None]
        structure = getattr(model, "_nested_inputs", None)  # a dict where it was built with one
        positions = {id(tensor): name for tensor, name in zip(model.inputs, names, strict=True)}
        keys = structure if isinstance(structure, Mapping) else {}
        return cls(
            names,
            tuple(tuple(tensor.shape[1:]) for tensor in model.inputs),
            int(fixed[0]) if fixed else None,
            {key: positions[id(tensor)] for key, tensor in keys.items() if id(tensor) in positions},
        )

    def order(self, data: Samples, what: str = "data") -> list[NDArray[Any]]:
        """One array per input, in order, of the shapes that the network takes.

        Args:
            data: an array, a list of arrays or a dict of arrays.
            what: what error messages call it.

        Raises:
            DataError: other inputs or shapes than the network's, unequal lengths, or values that
                are no finite numbers.
        """
        if isinstance(data, Mapping) and set(data) != set(self.names):
            data = {self.keys.get(key, key): value for key, value in data.items()}
        arrays = ordered_inputs(data, self.names, what)
        pairs = zip(arrays, self.names, self.shapes, strict=True)
        arrays = [_conformed(array, name, shape, what) for array, name, shape in pairs]
        lengths = sorted({len(array) for array in arrays})
        if len(lengths) != 1:
            raise DataError(f"{what}: got arrays of {lengths} samples; expected equal lengths.")
        return arrays

    def batches(
        self, data: Samples, batch_size: int, what: str = "data"
    ) -> Iterator[tuple[list[NDArray[Any]], int | None]]:
        """Batches of inputs, and the number of all samples where it is known.

        A network built for a fixed batch gets batches of exactly this size; samples that do not
        fill the last one are left out.

        Args:
            data: a `Source`; an array, a list or dict of arrays, or batches of these: a
                `tf.data.Dataset` (which may hold single samples too), or
                an object with a length whose items are batches. A tuple in a batch holds inputs,
                then labels.
            batch_size: samples a step where the data come in one piece.
            what: what error messages call it.

        Raises:
            DataError: as in `order`; or no samples, or fewer than the fixed batch.
        """
        pieces: Iterable[list[NDArray[Any]]]
        total = None
        if isinstance(data, Source):
            total = data.samples
            pieces = (self.order(item.inputs, what) for item in data.batches(batch_size))
        elif _is_stream(data, what):
            data = self._batched(data, batch_size)
            pieces = (self.order(_features(item, what), what) for item in _items(data, what))
        else:
            arrays = self.order(data, what)
            total = len(arrays[0])
            size = self.batch or batch_size
            starts = range(0, total, size)
            pieces = ([array[start : start + size] for array in arrays] for start in starts)
        seen = False
        for piece in pieces if self.batch is None else _rebatched(pieces, self.batch, what):
            if len(piece[0]):
                seen = True
                yield piece, total
        if not seen and self.batch is not None and total != 0:
            raise DataError(
                f"{what}: got fewer than {self.batch} samples; expected at least a batch of "
                f"{self.batch}, for which the network was built."
            )
        if not seen:
            raise DataError(f"{what}: got no samples; expected at least one.")

    def _batched(self, data: Any, batch_size: int) -> Any:
        """A `tf.data.Dataset` of single samples in batches; everything else as it is."""
        spec = getattr(data, "element_spec", None)
        if spec is None or self.batch is not None:
            return data
        first = spec[0] if isinstance(spec, tuple) else spec
        if isinstance(first, Mapping):
            first = first.get(self.names[0])
        elif isinstance(first, (tuple, list)) and first:
            first = first[0]
        shape = getattr(first, "shape", None)
        single = shape is not None and shape.rank is not None and fits(shape, self.shapes[0])
        return data.batch(batch_size) if single else data

    def arrays(self, data: Samples, what: str = "data") -> list[NDArray[Any]]:
        """All samples at once, one array per input; `data` and errors as in `batches`."""
        pieces = [piece for piece, _ in self.batches(data, 1 << 30, what)]
        return [_joined(parts, what) for parts in zip(*pieces, strict=True)]

    def labelled(self, data: Samples, what: str = "data") -> tuple[Any, NDArray[Any] | None]:
        """All inputs, and the labels that stand in batches behind them.

        Args:
            data: as in `batches`; arrays in one piece stay as they are.
            what: what error messages call it.

        Returns:
            The inputs, and one label a sample; None where there are none.

        Raises:
            DataError: as in `batches`; or labels in some batches only, of other lengths than the
                inputs, in several arrays, or with weights.

        Example:
            >>> from tfxp.keras import tf
            >>> data = tf.data.Dataset.from_tensor_slices((np.ones((3, 4)), [0, 1, 2])).batch(2)
            >>> InputSignature(("x",), ((4,),)).labelled(data)[1].astype(int)
            array([0, 1, 2])
        """
        if isinstance(data, Source):
            held = data.in_memory()
            return held.x, held.y
        if not _is_stream(data, what):
            return data, None
        pieces, labels = [], []
        data = self._batched(data, 1024)
        for item in _items(data, what):
            pieces.append(self.order(_features(item, what), what))
            labels.append(_labels(item, len(pieces[-1][0]), what))
        if not pieces:
            raise DataError(f"{what}: got no samples; expected at least one.")
        found = [part for part in labels if part is not None]
        if len(found) not in (0, len(labels)):
            raise DataError(
                f"labels of {what}: got {len(found)} for {len(labels)} batches; expected all or "
                "none."
            )
        inputs = [_joined(parts, what) for parts in zip(*pieces, strict=True)]
        return inputs, _joined(found, f"labels of {what}") if found else None


def ordered_inputs(data: Samples, names: Sequence[str], what: str = "data") -> list[NDArray[Any]]:
    """One array per input, in order, from an array, a list or a dict of arrays.

    Args:
        data: the arrays; a dict goes by `names`, a list by order.
        names: of the inputs, in order; none stands for one input of any name.
        what: what error messages call it.

    Raises:
        DataError: names that are missing or unknown, or another number of arrays.

    Example:
        >>> ordered_inputs({"b": [1], "a": [2]}, ["b", "a"])
        [array([1]), array([2])]
        >>> ordered_inputs({"b": [1]}, ["b", "a"])
        Traceback (most recent call last):
        tfxp.errors.DataError: inputs of data: got b; expected b, a. Missing: a.
    """
    if isinstance(data, Mapping):
        if set(data) != set(names):
            raise DataError(_other_names([str(key) for key in data], names, what))
        return [_as_array(data[name], what) for name in names]
    several = isinstance(data, (list, tuple)) and (
        len(names) > 1 or not data or any(getattr(part, "shape", ()) for part in data)
    )
    parts = list(data) if several else [data]
    count = max(len(names), 1)
    if len(parts) != count:
        expected = ", ".join(names) if count > 1 else "1"
        raise DataError(
            f"inputs of {what}: got {len(parts)} arrays; expected {expected}. Give an array for "
            "each, by name or in this order."
        )
    return [_as_array(part, what) for part in parts]


def _other_names(have: Sequence[str], names: Sequence[str], what: str) -> str:
    lists = {"Missing": [n for n in names if n not in have]}
    lists["Unknown"] = [n for n in have if n not in names]
    details = " ".join(f"{title}: {', '.join(found)}." for title, found in lists.items() if found)
    got, expected = (", ".join(keys) or "none" for keys in (have, names))
    return f"inputs of {what}: got {got}; expected {expected}. {details}"


def _as_array(part: object, what: str) -> NDArray[Any]:
    try:
        return np.asarray(part)
    except ValueError as error:  # rows of unequal length
        raise DataError(f"{what}: got rows that form no array ({error}).") from None


def _conformed(array: NDArray[Any], name: str, shape: Shape, what: str) -> NDArray[Any]:
    """An array that fits one input; a last axis of length 1 may be missing or too many, as in
    Keras."""
    if array.dtype.kind in "OSUMm":
        raise DataError(f"{name!r} of {what}: got type {array.dtype}; expected numbers.")
    if array.ndim == len(shape) and shape[-1:] == (1,):
        array = array[..., np.newaxis]
    elif array.ndim == len(shape) + 2 and array.shape[-1] == 1:
        array = array[..., 0]
    if not fits(array.shape[1:], shape) or not array.ndim:
        unbatched = " Batch the data set." if fits(array.shape, shape) else ""
        raise DataError(
            f"{what} for input {name!r}: got samples of shape {array.shape[1:]}; expected "
            f"{shape}.{unbatched}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{what}: activations of {name!r}: got NaN or infinity. Check the data.")
    return array


def fits(got: Sequence[int], shape: Sequence[int | None]) -> bool:
    """Whether a sample's shape is one that an input takes; None stands for any length.

    Example:
        >>> fits((5, 3), (None, 3))
        True
    """
    return len(got) == len(shape) and all(
        wanted is None or wanted == have for wanted, have in zip(shape, got, strict=True)
    )


def _is_stream(data: object, what: str) -> bool:
    """Whether data come in batches.

    Raises:
        DataError: they are neither batches nor arrays.
    """
    if isinstance(data, (Mapping, list, tuple)) or hasattr(data, "shape"):
        return False
    if hasattr(data, "element_spec") or (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        if not isinstance(data, (str, bytes)):
            return True
    raise DataError(
        f"{what}: got {type(data).__name__}; expected arrays or a tf.data.Dataset of batches."
    )


def _items(data: Any, what: str) -> Iterator[Any]:
    if hasattr(data, "element_spec"):
        if hasattr(data, "cardinality") and int(data.cardinality()) == _ENDLESS:
            raise DataError(
                f"{what}: got a data set without an end; expected a number of batches. Leave "
                "`repeat` out, or use `take`."
            )
        yield from data
    else:
        yield from (data[index] for index in range(len(data)))


def _features(item: object, what: str) -> Any:
    """The inputs of a batch, without the labels and weights behind them."""
    if not isinstance(item, tuple):
        return item
    if not 1 <= len(item) <= 3:
        raise DataError(
            f"a batch of {what}: got a tuple of {len(item)}; expected (inputs, labels), where "
            "several inputs are a tuple of their own, or a dict."
        )
    return item[0]


def _labels(item: object, count: int, what: str) -> NDArray[Any] | None:
    """The labels of a batch of `count` samples; None where it has none."""
    if not isinstance(item, tuple) or len(item) < 2 or item[1] is None:
        return None
    if len(item) > 2 and item[2] is not None:
        raise DataError(f"a batch of {what}: got weights of samples; expected (inputs, labels).")
    given = list(item[1].values()) if isinstance(item[1], Mapping) else item[1]
    several = isinstance(given, (list, tuple)) and any(getattr(part, "shape", ()) for part in given)
    if several and len(given) > 1:
        raise DataError(f"labels of {what}: got {len(given)} arrays a batch; expected one.")
    labels = _as_array(given[0] if several else given, f"labels of {what}")
    if labels.shape[:1] != (count,):
        raise DataError(
            f"a batch of {what}: got labels of shape {labels.shape} for {count} samples; expected "
            "one a sample."
        )
    return labels


def _joined(parts: Sequence[NDArray[Any]], what: str) -> NDArray[Any]:
    """The samples of all batches in one array."""
    shapes = dict.fromkeys(part.shape[1:] for part in parts)
    if len(shapes) > 1:
        listed = ", ".join(map(str, shapes))
        raise DataError(f"{what}: got samples of shapes {listed}; expected one shape. Pad them.")
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _rebatched(
    pieces: Iterable[list[NDArray[Any]]], size: int, what: str
) -> Iterator[list[NDArray[Any]]]:
    """Batches of one size; what is left over at the end is dropped."""
    held: list[NDArray[Any]] = []
    for piece in pieces:
        held = [_joined(pair, what) for pair in zip(held, piece, strict=True)] if held else piece
        while len(held[0]) >= size:
            yield [part[:size] for part in held]
            held = [part[size:] for part in held]
