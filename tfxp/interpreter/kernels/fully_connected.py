"""FULLY_CONNECTED.

Rounding, by arithmetic and types (see numerics for the modes):

| types                              | litert                        | builtin         |
|------------------------------------|-------------------------------|-----------------|
| int8 with int8, INT4, INT2 weights | float32 (XNNPACK)             | float64         |
| the same, not taken by XNNPACK     | double_half_up                | float64         |
| uint8                              | float32 (XNNPACK)             | float64         |
| int16, int64 bias                  | float64                       | float64         |
| int16, int32 bias or none          | double_half_up                | float64         |
| int16 with int16 weights           | reduced                       | reduced         |
| float32 with int8, INT4 weights    | see dynamic_range.py          | likewise        |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.errors import TfliteFormatError, UnsupportedOpError
from tfxp.interpreter.fused_activation import float_activation
from tfxp.interpreter.kernels.dynamic_range import (
    dynamic_range,
    is_dynamic_range,
    prepare_dynamic_range,
)
from tfxp.interpreter.mac.geometry import single_pixels
from tfxp.interpreter.mac.layer import MacLayer, weight_codes
from tfxp.interpreter.mac.reading import (
    build_layer,
    check_types,
    read_bias,
    scale_below,
    static_in_8_bits,
    tensor_at,
)
from tfxp.interpreter.mac.running import as_image, run_layer
from tfxp.interpreter.registry import Array, Node, kernel

_POINT = single_pixels(1)


def fully_connected_mode(node: Node) -> str:
    """The rounding of a fully connected layer: see the table above."""
    x, weights = tensor_at(node, 0, "input"), tensor_at(node, 1, "weights")
    if weights.type == "INT16":
        return "reduced"
    if node.arithmetic == "builtin":
        return "float64"
    if x.type == "INT16":
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        declared = node.options.get("quantized_bias_type") == "INT64"
        return "float64" if declared or (bias and bias.type == "INT64") else "double_half_up"
    return "float32" if _xnnpack_takes(node) else "double_half_up"


def _xnnpack_takes(node: Node) -> bool:
    weights = tensor_at(node, 1, "weights")
    assert weights.quantization is not None
    depth, per_channel = weights.shape[-1], weights.quantization.per_channel
    if not static_in_8_bits(node) or len(weights.shape) != 2 or not scale_below(node, 256.0):
        return False
    if node.options.get("weights_format", "DEFAULT") != "DEFAULT":
        return False
    fits = {
        "INT8": weights.zero_point == 0,
        "INT4": depth % 2 == 0,
        "INT2": depth % 4 == 0 and per_channel,
    }
    return fits.get(weights.type, True)


def _prepare(node: Node) -> None:
    x, weights, y = tensor_at(node, 0, "input"), tensor_at(node, 1, "weights"), node.outputs[0]
    dynamic = is_dynamic_range(node)
    if not dynamic:
        check_types(node, x, weights, y)
    if len(weights.shape) < 2 or 0 in weights.shape:
        raise TfliteFormatError(
            f"weights of {node.name}: got shape {list(weights.shape)}; expected [units, depth]"
        )
    if node.options.get("weights_format", "DEFAULT") != "DEFAULT":
        raise UnsupportedOpError(f"{node.name} has shuffled weights, which no kernel here takes")
    depth = weights.shape[-1]
    if not x.shape or x.size % depth:
        raise TfliteFormatError(
            f"input of {node.name}: got {list(x.shape)}; expected a multiple of {depth} elements"
        )
    if dynamic:
        prepare_dynamic_range(node)
        return
    node.cache["counts_macs"] = x.type != "FLOAT32"
    if x.type != "FLOAT32" and weights.data is not None:
        node.cache["layer"] = _layer(node, weights.data)


def _layer(node: Node, data: Array) -> MacLayer:
    tensor = tensor_at(node, 1, "weights")
    codes = weight_codes(tensor, data).reshape(-1, tensor.shape[-1])
    canonical = codes.T.reshape(1, 1, *codes.T.shape)
    bias = read_bias(node, codes.shape[0])
    return build_layer(node, canonical, bias, 1, fully_connected_mode(node))


def _batches(node: Node) -> bool:
    # an image is whole rows, whatever its shape; weights that a run computes are stacked as well
    return tensor_at(node, 1, "weights").data is not None


@kernel("FULLY_CONNECTED", prepare=_prepare, batch=_batches)
def fully_connected(node: Node, inputs: Sequence[Any]) -> list[Array]:
    """Rows of `depth` activations times a weight matrix [units, depth]."""
    x, weights = inputs[0], inputs[1]
    depth, units = weights.shape[-1], weights.size // weights.shape[-1]
    if x.size % depth:
        raise TfliteFormatError(
            f"input of {node.name}: got shape {list(x.shape)}; expected whole rows of {depth}"
        )
    if "quantize" in node.cache:
        result = dynamic_range(node, x.reshape(-1, depth), inputs[2] if len(inputs) > 2 else None)
    elif x.dtype == np.float32:
        flat = x.reshape(-1, depth) @ weights.reshape(units, depth).T
        if len(inputs) > 2 and inputs[2] is not None:
            flat = flat + inputs[2].reshape(-1)
        result = float_activation(node, flat)
    else:
        layer = node.cache.get("layer") or _layer(node, weights)
        result = run_layer(node, layer, as_image(x, depth), _POINT, _POINT)
        if "layer" not in node.cache:
            node.step = None  # it would repeat the weights of this run
    keep = node.options.get("keep_num_dims") and x.shape[-1] == depth
    return [result.reshape(*x.shape[:-1], units) if keep else result.reshape(-1, units)]
