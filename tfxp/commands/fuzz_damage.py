"""Seeded damage of .tflite files: of their bytes, and of what they say.

Bytes that are changed blindly mostly end as files that the reader refuses. So every other file is
read, some fields of its graph are changed, and it is written again: well formed, and not meant.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from tfxp.commands.fuzz_models import quantization
from tfxp.errors import TfxpError
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, read_tflite, write_tflite
from tfxp.graph.schema import ENUM_VALUES, default_options, default_options_type
from tfxp.interpreter.registry import known_operators

_WORDS = np.array([0, 1, 2, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 0x100], np.uint32)
_SIZES = (-1, 0, 1, 2, 3, 5, 7, 8, 16, 17, 33, 100, 1000, 2**16, 2**31 - 1)
_NUMBERS = (-(2**31), -129, -2, -1, 0, 1, 2, 3, 4, 7, 127, 128, 255, 256, 2**15, 2**31 - 1)
_REALS = (0.0, -1.0, 1e-38, 1e-12, 1e-3, 0.5, 1.0, 3.0, 256.0, 1e9, 1e38, np.inf, np.nan)
_TYPES = ("INT8", "UINT8", "INT16", "INT32", "INT64", "FLOAT32", "BOOL", "INT4", "COMPLEX64")


def damage(model: bytes, rng: np.random.Generator) -> bytes:
    """A file with one damage, of its bytes or of its graph."""
    if rng.random() < 0.5:
        try:
            return damage_graph(model, rng)
        except (TfxpError, ValueError, TypeError, OverflowError, struct.error):
            pass  # it cannot be written
    return damage_bytes(model, rng)


def damage_bytes(model: bytes, rng: np.random.Generator) -> bytes:
    """Flipped bits, a cut, swapped words or overwritten words."""
    data = np.frombuffer(model, np.uint8).copy()
    # tables and offsets stand mostly at the end of the file, weights before them
    reach = len(data) if rng.random() < 0.5 else min(len(data), 4096)
    start = len(data) - reach
    kind = rng.integers(4)
    if kind == 0:
        places = start + rng.integers(0, reach, rng.integers(1, 9))
        np.bitwise_xor.at(data, places, np.uint8(1) << rng.integers(0, 8, len(places), np.uint8))
    elif kind == 1:
        return data[: int(rng.integers(0, len(data)))].tobytes()
    else:
        words = data[: len(data) // 4 * 4].view(np.uint32)
        first = start // 4
        for _ in range(int(rng.integers(1, 5))):
            a, b = rng.integers(first, len(words), 2)
            if kind == 2:
                words[[a, b]] = words[[b, a]]
            else:
                words[a] = rng.choice(_WORDS) if rng.random() < 0.7 else rng.integers(0, 2**32)
    return data.tobytes()


def damage_graph(model: bytes, rng: np.random.Generator) -> bytes:
    """One to three fields of tensors and operators changed.

    Raises:
        TfxpError, ValueError, TypeError, OverflowError, struct.error: it cannot be written.
    """
    graph = read_tflite(model)
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.6:
            change = _TENSOR_CHANGES[int(rng.integers(len(_TENSOR_CHANGES)))]
            change(graph.tensors[int(rng.integers(len(graph.tensors)))], rng)
        else:
            _change_operator(graph, rng)
    return write_tflite(graph)


def _pick(values: Any, rng: np.random.Generator) -> Any:
    return values[int(rng.integers(len(values)))]


def _size(tensor: Tensor, rng: np.random.Generator) -> None:
    """One size; a constant keeps its elements, repeated or cut."""
    shape = list(tensor.shape)
    kind = rng.random()
    if kind < 0.2 or not shape:
        shape.insert(int(rng.integers(len(shape) + 1)), int(_pick((1, 1, 2, 3), rng)))
    elif kind < 0.4:
        del shape[int(rng.integers(len(shape)))]
    else:
        place = int(rng.integers(len(shape)))
        near = (shape[place] - 1, shape[place] + 1, 2 * shape[place], shape[place] // 2)
        shape[place] = int(_pick(near if rng.random() < 0.6 else _SIZES, rng))
    if tensor.data is not None:
        tensor.data = np.resize(tensor.data, [min(max(size, 0), 1000) for size in shape])
        shape = list(tensor.data.shape)
    tensor.shape = tuple(shape)


def _open_size(tensor: Tensor, rng: np.random.Generator) -> None:
    signature = list(tensor.shape_signature or tensor.shape)
    if signature:
        signature[int(rng.integers(len(signature)))] = -1
        tensor.shape_signature = tuple(signature)


def _elements(tensor: Tensor, rng: np.random.Generator) -> None:
    """Some elements of a constant."""
    if tensor.data is None or not tensor.data.size:
        return
    data = np.array(tensor.data)
    places = rng.integers(0, data.size, int(rng.integers(1, 4)))
    values = _REALS if data.dtype.kind in "fc" else _NUMBERS
    with np.errstate(all="ignore"):
        drawn = np.array([_pick(values, rng) for _ in places])
        data.reshape(-1)[places] = drawn.astype(data.dtype)
    tensor.data = data


def _type(tensor: Tensor, rng: np.random.Generator) -> None:
    tensor.type = _pick(_TYPES, rng)
    if tensor.data is not None:
        with np.errstate(all="ignore"):
            tensor.data = tensor.data.astype(tensor.dtype)


def _scales(tensor: Tensor, rng: np.random.Generator) -> None:
    """Some scale, some zero point, their number or their axis; or none, or some where was none."""
    scheme, kind = tensor.quantization, int(rng.integers(5))
    if scheme is None or kind == 0:
        tensor.quantization = None if scheme else quantization([_pick(_REALS, rng)], [0])
        return
    scale, zero = np.array(scheme.scale), np.array(scheme.zero_point)
    if kind == 1 and scale.size:
        scale[int(rng.integers(scale.size))] = _pick(_REALS, rng)
    elif kind == 2 and zero.size:
        zero[int(rng.integers(zero.size))] = _pick(_NUMBERS, rng)
    elif kind == 3:
        count = int(_pick((0, 1, 2, 3, 8), rng))
        scale, zero = np.resize(scale, count), np.resize(zero, count)
    axis = int(rng.integers(-1, 5)) if kind == 4 else scheme.axis
    tensor.quantization = Quantization(scale, zero, axis)


def _state(tensor: Tensor, rng: np.random.Generator) -> None:
    tensor.is_variable = not tensor.is_variable


_TENSOR_CHANGES: tuple[Callable[[Tensor, np.random.Generator], None], ...] = (
    _size, _size, _open_size, _elements, _elements, _type, _scales, _scales, _state,
)  # fmt: skip


def _change_operator(graph: IntegerGraph, rng: np.random.Generator) -> None:
    """An option, an input, an output, a place, a version or a name."""
    operators = graph.operators
    if not operators:
        return
    operator, kind = _pick(operators, rng), int(rng.integers(8))
    if kind < 4:
        _change_option(operator, rng)
    elif kind < 6:
        ends = operator.inputs if kind == 4 or rng.random() < 0.7 else operator.outputs
        if ends:
            ends[int(rng.integers(len(ends)))] = int(rng.integers(-1, len(graph.tensors)))
        if rng.random() < 0.2:
            operator.inputs = operator.inputs[:-1] if ends else [0]
    elif kind == 6:
        a, b = rng.integers(0, len(operators), 2)
        operators[a], operators[b] = operators[b], operators[a]
    else:
        names = [n for n in known_operators() if n.isupper()]
        operator.name, operator.version = _pick(names, rng), int(rng.integers(1, 6))
        operator.options_type = ""
        fields = default_options(default_options_type(operator.name))
        operator.options = {k: v for k, v in operator.options.items() if k in fields}


def _change_option(operator: Operator, rng: np.random.Generator) -> None:
    table = operator.options_type or default_options_type(operator.name)
    options = {**default_options(table), **operator.options}
    if not options:
        return
    name = _pick(sorted(options), rng)
    value = options[name]
    if name in ENUM_VALUES:
        value = _pick(sorted(ENUM_VALUES[name]), rng)
    elif isinstance(value, bool):
        value = not value
    elif isinstance(value, float):
        value = float(_pick(_REALS, rng))
    elif isinstance(value, int):
        value = int(_pick(_NUMBERS, rng))
    elif value is not None:
        value = np.resize(np.asarray(value), int(rng.integers(0, 5)))
        value[:1] = _pick(_NUMBERS, rng)
    operator.options = {**operator.options, name: value}
