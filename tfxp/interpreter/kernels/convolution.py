"""CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV.

Rounding, by arithmetic and types (see numerics for the modes):

| types                            | litert                    | builtin         |
|----------------------------------|---------------------------|-----------------|
| int8 or uint8, constant weights  | float32 (XNNPACK)         | double_rounding |
| int8 with packed INT4 weights    | double_half_up            | double_rounding |
| the same, depthwise              | double_eights             | double_rounding |
| the same with groups             | double_rounding           | double_rounding |
| int16, int64 bias                | reduced                   | reduced         |
| int16, int32 bias declared       | double_half_up            | double_rounding |
| the same, transposed             | double_eights             | double_rounding |
| int8, transposed, size computed  | double_eights             | double_rounding |
| tfxp's own INT2 and INT16 weights: as int8 with INT4 weights, as int16 with int64 bias      |

float32 forms compute in float32 with NumPy's own order of summation; float activations with integer
weights are in `hybrid_convolution.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.errors import TfliteFormatError
from tfxp.interpreter.kernels.hybrid_convolution import (
    hybrid_convolution,
    is_hybrid,
    prepare_hybrid,
)
from tfxp.interpreter.mac.float_layer import float_convolution, float_transposed
from tfxp.interpreter.mac.geometry import Axis, convolution_axis, transposed_axis
from tfxp.interpreter.mac.reading import (
    build_layer,
    check_types,
    constant_weights,
    read_bias,
    scale_below,
    static_in_8_bits,
    tensor_at,
    wide_accumulator,
)
from tfxp.interpreter.mac.running import run_layer
from tfxp.interpreter.registry import Array, Node, as_ints, kernel

#: What brings weights into the form (kh, kw, C / groups, OC).
_CONV_ORDER, _DEPTHWISE_ORDER = (1, 2, 3, 0), (1, 2, 0, 3)


def convolution_mode(node: Node) -> str:
    """The rounding of a convolution: see the table above."""
    if wide_accumulator(node):
        return "reduced"
    x, weights = tensor_at(node, 0, "input"), tensor_at(node, 1, "weights")
    if node.arithmetic == "builtin":
        return "double_rounding"
    if static_in_8_bits(node) and weights.type == x.type and scale_below(node, 256.0):
        return "float32"
    depthwise = node.operator.name == "DEPTHWISE_CONV_2D"
    grouped = not depthwise and node.cache.get("groups", 1) > 1
    # LiteRT runs these on its reference kernels even in the default engine
    if grouped or (depthwise and x.type == "UINT8"):
        return "double_rounding"
    # kernels of LiteRT that take eight channels at a time, and the rest one by one
    by_eights = depthwise or node.operator.name == "TRANSPOSE_CONV"
    return "double_eights" if by_eights else "double_half_up"


def _check_ranks(node: Node, position: int) -> None:
    for tensor in (tensor_at(node, position, "input"), tensor_at(node, 1, "weights")):
        if len(tensor.shape) != 4 or 0 in tensor.shape[1:]:
            raise TfliteFormatError(
                f"shape of {tensor.name!r} in {node.name}: got {list(tensor.shape)}; expected four "
                "dimensions of 1 or more"
            )


def _prepare_convolution(node: Node) -> None:
    _check_ranks(node, 0)
    x, weights = tensor_at(node, 0, "input"), tensor_at(node, 1, "weights")
    if not is_hybrid(node):
        check_types(node, x, weights, node.outputs[0])
    codes = constant_weights(node) if x.type != "FLOAT32" else weights.data
    oc, kh, kw, cg = weights.shape
    groups = x.shape[3] // cg
    if x.shape[3] % cg or groups == 0 or oc % groups:
        raise TfliteFormatError(
            f"channels of {node.name}: got {x.shape[3]} in, {cg} per filter, {oc} out; expected "
            "whole groups. The file is damaged"
        )
    node.cache["groups"], node.cache["counts_macs"] = groups, x.type != "FLOAT32"
    _axes(node, x.shape, (kh, kw))
    if is_hybrid(node):
        prepare_hybrid(node, _CONV_ORDER, groups)
    elif x.type != "FLOAT32":
        assert codes is not None
        mode = convolution_mode(node)
        order = codes.transpose(_CONV_ORDER)
        node.cache["layer"] = build_layer(node, order, read_bias(node, oc), groups, mode)


def _prepare_depthwise(node: Node) -> None:
    _check_ranks(node, 0)
    x, weights = tensor_at(node, 0, "input"), tensor_at(node, 1, "weights")
    if not is_hybrid(node):
        check_types(node, x, weights, node.outputs[0])
    one, kh, kw, oc = weights.shape
    channels = x.shape[3]
    if one != 1 or oc % channels:
        raise TfliteFormatError(
            f"weights of {node.name}: got {list(weights.shape)} for {channels} channels; expected "
            f"[1, kh, kw, a multiple of {channels}]. The file is damaged"
        )
    node.cache["groups"], node.cache["counts_macs"] = channels, x.type != "FLOAT32"
    _axes(node, x.shape, (kh, kw))
    if is_hybrid(node):
        prepare_hybrid(node, _DEPTHWISE_ORDER, channels)
    elif x.type != "FLOAT32":
        codes = constant_weights(node).transpose(_DEPTHWISE_ORDER)
        mode = convolution_mode(node)
        node.cache["layer"] = build_layer(node, codes, read_bias(node, oc), channels, mode)


def _axes(node: Node, shape: Sequence[int], taps: tuple[int, int]) -> tuple[Axis, Axis]:
    options = node.options
    rows = convolution_axis(
        shape[1], taps[0], options["stride_h"], options["dilation_h_factor"], options["padding"]
    )
    columns = convolution_axis(
        shape[2], taps[1], options["stride_w"], options["dilation_w_factor"], options["padding"]
    )
    return rows, columns


def _axes_of(node: Node, x: Array) -> tuple[Axis, Axis]:
    """Where taps fall for this input; remembered, since sizes seldom change between runs."""
    known = node.cache.get("axes")
    if known is None or known[0] != x.shape[1:]:
        weights = tensor_at(node, 1, "weights")
        groups = node.cache["groups"]
        depthwise = node.operator.name == "DEPTHWISE_CONV_2D"
        _check_input(node, x, groups if depthwise else groups * weights.shape[3])
        known = x.shape[1:], _axes(node, x.shape, (weights.shape[1], weights.shape[2]))
        node.cache["axes"] = known
    return known[1]


def _check_input(node: Node, x: Array, channels: int) -> None:
    if x.ndim != 4 or x.shape[3] != channels or 0 in x.shape[1:3]:
        raise TfliteFormatError(
            f"input of {node.name}: got shape {list(x.shape)}; expected [N, H, W, {channels}]"
        )


@kernel("CONV_2D", prepare=_prepare_convolution, batch=True)
def conv_2d(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Convolution with dilation and groups; padding taps read zeros."""
    return _convolve(node, inputs, _CONV_ORDER)


@kernel("DEPTHWISE_CONV_2D", prepare=_prepare_depthwise, batch=True)
def depthwise_conv_2d(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """One filter per channel, or `depth_multiplier` of them."""
    return _convolve(node, inputs, _DEPTHWISE_ORDER)


def _convolve(node: Node, inputs: Sequence[Any], order: tuple[int, ...]) -> list[Array]:
    """Either convolution; `order` brings weights into the form (kh, kw, C / groups, OC)."""
    x = inputs[0]
    rows, columns = _axes_of(node, x)
    if "layer" in node.cache:
        return [run_layer(node, node.cache["layer"], x, rows, columns)]
    if "hybrid" in node.cache:
        bias = inputs[2] if len(inputs) > 2 else None
        return [hybrid_convolution(node, x, bias, rows, columns)]
    return [float_convolution(node, x, inputs[1].transpose(order), inputs, (rows, columns))]


def _prepare_transposed(node: Node) -> None:
    _check_ranks(node, 2)
    x, weights = tensor_at(node, 2, "input"), tensor_at(node, 1, "weights")
    check_types(node, x, weights, node.outputs[0])
    oc, _, _, channels = weights.shape
    if x.shape[3] != channels:
        raise TfliteFormatError(
            f"channels of {node.name}: got {x.shape[3]} in and weights for {channels}"
        )
    node.cache["counts_macs"] = x.type != "FLOAT32"
    shape = node.constant(0)
    if shape is not None:
        _transposed_axes(node, x.shape, as_ints(shape))
    if x.type != "FLOAT32":
        # the canonical form has activations first: inputs become (activations, weights, bias)
        view = Node(**{**vars(node), "inputs": [x, weights, *node.inputs[3:4]]})
        codes = constant_weights(view).transpose(1, 2, 3, 0)
        mode = convolution_mode(view)
        layer = build_layer(view, codes, read_bias(view, oc), 1, mode, transposed=True)
        node.cache["layer"] = layer


def _transposed_axes(node: Node, shape: Sequence[int], output: Sequence[int]) -> tuple[Axis, Axis]:
    if len(output) != 4:
        raise TfliteFormatError(f"output shape of {node.name}: got {list(output)}; expected four")
    _, kh, kw, _ = tensor_at(node, 1, "weights").shape
    options = node.options
    padding = options["padding"]
    return (
        transposed_axis(shape[1], kh, options["stride_h"], output[1], padding),
        transposed_axis(shape[2], kw, options["stride_w"], output[2], padding),
    )


@kernel("TRANSPOSE_CONV", prepare=_prepare_transposed, batch=True)
def transpose_conv(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Transposed convolution to the output size that input 0 states."""
    x = inputs[2]
    _check_input(node, x, tensor_at(node, 1, "weights").shape[3])
    rows, columns = _transposed_axes(node, x.shape, as_ints(inputs[0]))
    if "layer" in node.cache:
        return [run_layer(node, node.cache["layer"], x, rows, columns)]
    bias = inputs[3] if len(inputs) > 3 else None
    weights = inputs[1].transpose(1, 2, 3, 0)
    return [float_transposed(node, x, weights, bias, (rows, columns)).astype(np.float32)]
