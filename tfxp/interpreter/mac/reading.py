"""From an operator to its canonical form: types, scales, and whose rounding applies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.errors import TfliteFormatError, UnsupportedOpError
from tfxp.graph import Tensor
from tfxp.graph.element_types import CODE_LIMITS
from tfxp.interpreter.mac.layer import MacLayer, weight_codes
from tfxp.interpreter.mac.requantizer import build_requantizer
from tfxp.interpreter.registry import Node

ACTIVATION_TYPES = ("INT8", "INT16", "UINT8")
WEIGHT_TYPES = {
    "INT8": ("INT8", "INT4", "INT2", "INT16"),
    "INT16": ("INT8", "INT4", "INT2", "INT16"),
    "UINT8": ("UINT8",),
}


def tensor_at(node: Node, position: int, role: str) -> Tensor:
    """The tensor of a required input.

    Raises:
        TfliteFormatError: the operator leaves it out.
    """
    tensor = node.inputs[position] if position < len(node.inputs) else None
    if tensor is None:
        raise TfliteFormatError(
            f"{role} of {node.name}: got no tensor; expected input {position}. The file is damaged"
        )
    return tensor


def check_types(node: Node, x: Tensor, weights: Tensor, y: Tensor) -> None:
    """Refuses types that no kernel of this family takes.

    Raises:
        UnsupportedOpError: names them.
    """
    if x.type == weights.type == y.type == "FLOAT32":
        return
    integer = x.type in ACTIVATION_TYPES and weights.type in WEIGHT_TYPES[x.type]
    if not integer or y.type != x.type:
        raise UnsupportedOpError(
            f"{node.name} has types {x.type} x {weights.type} -> {y.type}, which no kernel takes"
        )
    for tensor in (x, weights, y):
        if tensor.quantization is None:
            raise UnsupportedOpError(f"{node.name} has tensor {tensor.name!r} without a scale")
    low, high = CODE_LIMITS[x.type]
    for tensor in (x, y):
        if not low <= tensor.zero_point <= high:
            raise TfliteFormatError(
                f"zero point of {tensor.name!r} in {node.name}: got {tensor.zero_point}; expected "
                f"{low} to {high}. The file is damaged"
            )
    if "sparsity" in weights.extra:
        raise UnsupportedOpError(f"{node.name} has weights stored in a sparse form")


def static_in_8_bits(node: Node) -> bool:
    """Whether weights, bias and sizes are constants and everything has XNNPACK's 8-bit types."""
    x, weights = tensor_at(node, 0, "input"), tensor_at(node, 1, "weights")
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if x.type not in ("INT8", "UINT8") or weights.data is None or not node.static:
        return False
    if bias is not None and (
        bias.data is None or bias.type != "INT32" or bias.quantization is None
    ):
        return False
    # XNNPACK wants dimension 0 named on tensors with one scale, of uint8 weights too
    plain = (x, *node.outputs, weights) if x.type == "UINT8" else (x, *node.outputs)
    schemes = [t.quantization for t in plain if t.quantization is not None]
    return all(not scheme.per_channel and scheme.axis == 0 for scheme in schemes)


def scale_below(node: Node, limit: float) -> bool:
    """Whether input scale * weight scale / output scale stays below XNNPACK's limit."""
    x, weights, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None and weights is not None and weights.quantization is not None
    return bool(np.all(x.scale * weights.quantization.scale < limit * y.scale))


def read_bias(node: Node, channels: int) -> NDArray[np.int64]:
    """The bias in accumulator units; zeros where absent.

    Raises:
        TfliteFormatError: another number of elements than output channels.
        UnsupportedOpError: an element type that is no integer.
    """
    tensor = node.inputs[2] if len(node.inputs) > 2 else None
    if tensor is None:
        return np.zeros(channels, np.int64)
    if tensor.data is None:
        raise UnsupportedOpError(f"{node.name} has a bias that is computed, which no kernel takes")
    if tensor.type not in ("INT32", "INT64", "INT16", "INT8"):
        raise UnsupportedOpError(f"{node.name} has a bias of type {tensor.type}")
    if tensor.size != channels:
        raise TfliteFormatError(
            f"bias of {node.name}: got {tensor.size} elements; expected {channels}"
        )
    return tensor.data.reshape(-1).astype(np.int64)


def wide_accumulator(node: Node) -> bool:
    """Whether LiteRT accumulates in 64 bits: int16 activations unless an int32 bias is declared."""
    x, weights = tensor_at(node, 0, "input"), tensor_at(node, 1, "weights")
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    declared = node.options.get("quantized_bias_type", "FLOAT32")
    if x.type != "INT16":
        return False
    if weights.type == "INT16" or declared == "INT64":
        return True
    return declared != "INT32" and (bias is None or bias.type != "INT32")


def build_layer(
    node: Node,
    weights: NDArray[Any],
    bias: NDArray[np.int64],
    groups: int,
    mode: str,
    transposed: bool = False,
) -> MacLayer:
    """The canonical layer of an operator.

    Args:
        node: the operator; inputs 0 and 1 are activations and weights.
        weights: codes without zero point in canonical order (kh, kw, C / groups, OC).
        bias: (OC,).
        groups: channel groups.
        mode: rounding, one of `arithmetic.MODES`.
        transposed: whether taps scatter.
    """
    x, source, y = tensor_at(node, 0, "input"), tensor_at(node, 1, "weights"), node.outputs[0]
    assert source.quantization is not None
    channels = weights.shape[3]
    requantizer = build_requantizer(
        mode,
        (*_product_of_scales(node, x, source.quantization.scale), y.scale),
        channels,
        y,
        str(node.options.get("fused_activation_function", "NONE")),
        node.name,
    )
    return MacLayer(
        _narrow(weights),
        bias,
        groups,
        x.zero_point,
        x.type,
        y.type,
        requantizer,
        wide=wide_accumulator(node),
        transposed=transposed,
        accumulator_bits=node.accumulator_bits,
        accumulator_overflow=node.accumulator_overflow,
        skip_zeros=node.skip_zeros,
    )


def _product_of_scales(
    node: Node, x: Tensor, weight_scales: NDArray[np.float32]
) -> tuple[float, NDArray[np.float32]]:
    """Two factors whose exact product is the scale of an accumulator."""
    if x.type == "UINT8" and node.operator.name != "FULLY_CONNECTED":
        # LiteRT's kernels for one scale per tensor multiply in float32, before they widen
        return 1.0, np.float32(x.scale) * weight_scales
    return x.scale, weight_scales


def _narrow(weights: NDArray[Any]) -> NDArray[Any]:
    """The same weights in the narrowest type that holds them; themselves if they are."""
    low, high = weights.min(initial=0), weights.max(initial=0)
    narrowest = np.promote_types(np.min_scalar_type(int(low)), np.min_scalar_type(-int(high) - 1))
    return weights.astype(narrowest if narrowest.kind == "i" else np.int32, copy=False)


def constant_weights(node: Node) -> NDArray[Any]:
    """Constant weight codes without their zero point.

    Raises:
        UnsupportedOpError: the weights are computed.
    """
    tensor = tensor_at(node, 1, "weights")
    if tensor.data is None:
        raise UnsupportedOpError(f"{node.name} has weights that are computed, not constant")
    return weight_codes(tensor, tensor.data)
