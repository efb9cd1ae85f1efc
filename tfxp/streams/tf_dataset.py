"""Samples of a `tf.data.Dataset`, batched or not, in tuples or dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfxp.data.source import Shapes
from tfxp.errors import DataError
from tfxp.keras import tf
from tfxp.streams.stream import Element, Stream

_ANSWERS = ("y", "label", "labels", "target", "targets")
_WEIGHTS = ("weights", "weight", "sample_weight")
_HELD_BYTES = 1 << 26  # data sets of at most so many bytes may as well be arrays


def tf_dataset(
    data: tf.data.Dataset,
    shapes: Shapes | None = None,
    steps: int | None = None,
    name: str = "data set",
    batched: bool | None = None,
) -> Stream:
    """The samples of a data set that the user has built.

    An element is inputs, (inputs, answers) or (inputs, answers, weights), where several inputs are
    a tuple or a dict; or one dict that holds inputs by name and answers as "y", "label" or
    "target". Whether elements are batches is told by the rank of the first input.

    Args:
        data: the data set.
        shapes: input name -> one sample's shape, in the model's order; without it elements are
            taken for batches.
        steps: elements to take, for a data set without an end; an end before them is an error.
        name: what error messages call it.
        batched: whether elements are batches; None looks at their rank.

    Raises:
        DataError: no end and no steps, or other inputs than the model's.
    """
    if steps is not None:
        data = data.take(steps)
    cardinality = int(data.cardinality())
    if cardinality == tf.data.INFINITE_CARDINALITY:
        raise DataError(
            f"{name}: got a data set without an end; expected a number of batches. Leave `repeat` "
            "out, use `take`, or give `steps`."
        )
    names = list(shapes or ())
    inputs, answers, weights = _roles(data.element_spec, names, name)
    if batched is None:
        batched = _is_batched(inputs, shapes, name)
    size = None
    if batched:
        size = inputs[0].shape[0] if steps is not None else None
        keys = data.unbatch()
        count = None if size is None or steps is None else steps * size
    else:
        keys = data
        count = steps if steps is not None else cardinality if cardinality >= 0 else None

    def read(*item: object) -> Element:
        value = item[0] if len(item) == 1 else item
        x, y, w = _roles(value, names, name)
        found = {"y": y, "weights": w}
        return {"x": tuple(x), **{key: part for key, part in found.items() if part is not None}}

    return Stream(
        name,
        lambda: keys,
        read,
        count,
        lambda number, _: f"sample {number}",
        has_answers=answers is not None,
    )


def is_small(data: tf.data.Dataset) -> bool:
    """Whether a `tf.data.Dataset` of (inputs, one answer) is held in memory, as arrays are."""
    spec = data.element_spec
    if isinstance(spec, tuple) and (len(spec) > 2 or len(tf.nest.flatten(spec[-1])) > 1):
        return False
    count = int(data.cardinality())
    if count <= 0:
        return count == 0
    first = tf.nest.flatten(next(iter(data)))
    return bool(sum(part.numpy().nbytes for part in first) * count <= _HELD_BYTES)


def _roles(item: object, names: Sequence[str], what: str) -> tuple[list[Any], Any, Any]:
    """Inputs in the model's order, answers and weights of an element."""
    answers = weights = None
    if isinstance(item, tuple):
        if not 1 <= len(item) <= 3:
            raise DataError(
                f"an element of {what}: got a tuple of {len(item)}; expected (inputs, answers), "
                "where several inputs are a tuple of their own, or a dict."
            )
        answers, weights = (*item[1:], None, None)[:2]
        item = item[0]
    if not isinstance(item, Mapping):
        return list(item) if isinstance(item, (tuple, list)) else [item], answers, weights
    rest = {key: part for key, part in item.items() if key not in names}
    if answers is None:
        answers = next((rest.pop(key) for key in _ANSWERS if key in rest), None)
        weights = next((rest.pop(key) for key in _WEIGHTS if key in rest), weights)
    if len(names) <= 1 and len(rest) == 1 and not (names and names[0] in item):
        return list(rest.values()), answers, weights
    if not names:
        return [part for part in rest.values()], answers, weights
    missing = [key for key in names if key not in item]
    if missing:
        raise DataError(
            f"inputs of {what}: got {', '.join(map(str, item))}; expected {', '.join(names)}."
            f" Missing: {', '.join(missing)}."
        )
    return [item[key] for key in names], answers, weights


def _is_batched(specs: Sequence[Any], shapes: Shapes | None, what: str) -> bool:
    if not shapes:
        return True
    spec, shape = specs[0], next(iter(shapes.values()))
    if spec.shape.rank is None:
        raise DataError(f"{what}: got elements of unknown rank; expected a shape. Set one.")
    rank, wanted = spec.shape.rank, len(shape)
    if rank == wanted and wanted > 1 and shape[-1] == 1 and spec.shape[-1] != 1:
        return True  # a batch whose last axis of length 1 is missing
    return bool(rank > wanted)
