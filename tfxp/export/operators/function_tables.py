"""Functions of one code as tables of 256: CAST, ADD, GATHER.

    output = table[code + 128],    table[i] = what Keras gives out for code i - 128

Any function of one number goes into a file so, and every runtime computes it alike, since none
computes anything. The quantized layer itself fills the table, whatever rounds its output. A code
takes four bytes on its way: the indices are 32 bits wide.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfxp.comparison.portability import function_differs
from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.graph_parts import LIMITS, Options, Value
from tfxp.export.indices import INDICES
from tfxp.export.operators.writers import writes
from tfxp.formats import encode
from tfxp.keras import keras
from tfxp.transforms.activation_functions import function_name, is_keras_function
from tfxp.transforms.layer_graph import Call, LayerSpec, Shape
from tfxp.transforms.normalize.activations import unary_of

_LOWEST, _HIGHEST = LIMITS["INT8"]
# How many numbers a function is tried on, to see whether it goes element by element.
_TRIED = 64


def _refusal(spec: LayerSpec, call: Call) -> str | None:
    """Why a function is none of one code, or None if it is."""
    if any(np.size(value) > 1 for value in call.kwargs.values()):
        return "the function's numbers differ from element to element; expected one"
    own = spec.config.get("activation")
    if spec.kind != "Activation" or is_keras_function(own):
        return None
    if goes_by_element(keras.activations.get(own), len(call.output_shapes[0])):
        return None
    return (
        f"the function {function_name(own)!r} gives the same number another value elsewhere in the "
        "tensor; expected one that goes element by element, or a layer class with a writer"
    )


@writes("tf.math", "ThresholdedReLU", operators="CAST, ADD, GATHER", refuses=_refusal)
def write_function(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
    """The function's value for every code, in any output format."""
    source, fmt = builder.read(call)[0], builder.format_of(spec.name)
    shape = builder.free_shape(source)
    name = f"{spec.name}/table_of_{source.fmt}"
    table = builder.constant(name, _table(builder, call, spec, source), "INT8", builder.scheme(fmt))
    builder.tensor_formats[name] = str(fmt)
    indices = _indices(builder, spec, source, shape)
    output = builder.activation(spec.name, shape, fmt)
    options = {"axis": 0, "batch_dims": 0}
    builder.put(number, builder.emit("GATHER", [table, indices.index], output, options))


def must_be_table(builder: GraphBuilder, call: Call, spec: LayerSpec, operator: str) -> bool:
    """Whether runtimes shall be alike, and may differ in the operator of a function."""
    if not builder.portable or builder.storage != "INT8":
        return False
    unary, read = unary_of(spec), builder.read(call)[0].fmt.scale
    alpha = unary.alpha if unary else 0.0
    return bool(function_differs(operator, read, builder.format_of(spec.name).scale, alpha))


def _indices(builder: GraphBuilder, spec: LayerSpec, source: Value, shape: Shape) -> Value:
    """The codes of a tensor, counted from 0."""
    whole = builder.activation(f"{spec.name}_codes", shape, INDICES)
    types: Options = {"in_data_type": "INT8", "out_data_type": "INT32"}
    builder.emit("CAST", [source.index], whole, types)
    first = builder.constant("codes_below_zero", np.array([-_LOWEST], np.int32), "INT32")
    counted = builder.activation(f"{spec.name}_indices", shape, INDICES)
    options: Options = {"fused_activation_function": "NONE", "pot_scale_int16": False}
    return builder.emit("ADD", [whole.index, first], counted, options)


def _table(builder: GraphBuilder, call: Call, spec: LayerSpec, source: Value) -> np.ndarray:
    """What the quantized layer gives out, as codes, for each code of its input in order.

    Codes that the input's format lacks have the value of the nearest that it has.
    """
    read, written = source.fmt, builder.format_of(spec.name)
    stored = np.arange(_LOWEST, _HIGHEST + 1) - builder.zero_point(read)
    values = np.clip(stored, read.qmin, read.qmax) * np.float32(read.scale)
    row = (*(1,) * (len(call.output_shapes[0]) - 1), len(values))
    layer = builder.network.wrappers[spec.name]
    outputs = layer(tf.constant(values.reshape(row), tf.float32), training=False, **call.kwargs)
    codes = encode(outputs.numpy().ravel(), written)
    return (codes + builder.zero_point(written)).astype(np.int8)


def goes_by_element(function: Callable[[tf.Tensor], tf.Tensor], rank: int) -> bool:
    """Whether a function gives a number the same value wherever in a tensor it stands.

    Args:
        function: of one tensor.
        rank: of the tensors that it is called with, the samples' axis included.

    Example:
        >>> goes_by_element(tf.nn.softplus, 2), goes_by_element(tf.nn.softmax, 2)
        (True, False)
    """
    numbers = np.linspace(-4, 4, _TRIED, dtype=np.float32)
    found = []
    for axis in range(rank):
        for order in (slice(None), slice(None, None, -1)):
            shape = [1] * rank
            shape[axis] = _TRIED
            try:
                values = np.asarray(function(tf.constant(numbers[order].reshape(shape))))
            except (TypeError, ValueError, tf.errors.InvalidArgumentError):  # wants other sizes
                return False
            if values.shape != tuple(shape):
                return False
            found.append(values.ravel()[order])
    return all(np.allclose(found[0], other, 1e-5, 1e-6, equal_nan=True) for other in found)
