"""CONV_2D and DEPTHWISE_CONV_2D with float activations and integer weights.

Each image gets a scale and a zero of its own, is rounded to 8 bits and multiplied in integers:
acc = sum w * (q - zero), as dense layers do row by row (`dynamic_range.py`, which has the
quantizers). From there, s_x being the image's scale and s_w the channel's, in float32:

| operator             | litert                               | builtin                       |
|----------------------|--------------------------------------|-------------------------------|
| CONV_2D, per channel | xnnpack, fma(acc * s_x, s_w, bias)   | asymmetric, acc * s_w * s_x   |
| CONV_2D, one scale   | the same                             | symmetric, acc * (s_w * s_x)  |
| DEPTHWISE_CONV_2D    | asymmetric, acc * s_w * s_x          | asymmetric, acc * (s_w * s_x) |

plus the bias, then the activation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.errors import UnsupportedOpError
from tfxp.interpreter.fused_activation import float_activation
from tfxp.interpreter.kernels.dynamic_range import (
    Floats,
    quantize_asymmetric,
    quantize_symmetric,
    quantize_xnnpack,
)
from tfxp.interpreter.mac.booking import book_run, positions_of
from tfxp.interpreter.mac.definition import accumulate
from tfxp.interpreter.mac.geometry import Axis
from tfxp.interpreter.mac.layer import MacLayer, MacResult
from tfxp.interpreter.mac.reading import tensor_at
from tfxp.interpreter.mac.requantizer import Requantizer
from tfxp.interpreter.registry import Node

_F = np.float32
_NONE = np.zeros(1, np.int64)
#: Sums are scaled in float32 here and never become codes.
_NO_CODES = Requantizer("float64", np.ones(1), _NONE, _NONE, 0, 0, 0, 0, 0, False, False)


def is_hybrid(node: Node) -> bool:
    """Whether a convolution has float activations and integer weights."""
    x, weights = tensor_at(node, 0, "input"), tensor_at(node, 1, "weights")
    return x.type == "FLOAT32" and weights.type == "INT8"


def prepare_hybrid(node: Node, order: tuple[int, ...], groups: int) -> None:
    """Checks the operator and reads its weights; `order` as in `convolution.py`.

    Raises:
        UnsupportedOpError: weights that are computed or have zero points, other types or scales.
    """
    weights, y = tensor_at(node, 1, "weights"), node.outputs[0]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    scheme, channels = weights.quantization, weights.shape[order[3]]
    if weights.data is None or scheme is None or y.type != "FLOAT32" or "sparsity" in weights.extra:
        raise UnsupportedOpError(
            f"{node.name} has float activations, integer weights that are computed or sparse or "
            f"without a scale, or output of type {y.type}; expected constants and FLOAT32"
        )
    depthwise = node.operator.name == "DEPTHWISE_CONV_2D"
    counts = (channels,) if depthwise else (1, channels)
    if np.any(scheme.zero_point) or scheme.scale.size not in counts:
        raise UnsupportedOpError(
            f"{node.name} has weights with zero points or {scheme.scale.size} scales; expected "
            f"zero points 0 and {' or '.join(map(str, counts))} scales"
        )
    if bias is not None and (bias.type != "FLOAT32" or bias.size != channels):
        raise UnsupportedOpError(
            f"{node.name} has a bias of type {bias.type} and {bias.size} elements; expected "
            f"FLOAT32 and {channels}"
        )
    float_activation(node, np.zeros(1, _F))
    quantize, symmetric = _quantizer(node, scheme.scale.size == 1 and not depthwise)
    layer = MacLayer(
        weights.data.transpose(order), np.zeros(channels, np.int64), groups, 0, "INT8", "FLOAT32",
        _NO_CODES, skip_zeros=node.skip_zeros,
        input_limits=(-127, 127) if symmetric else (-255, 255),
    )  # fmt: skip
    node.cache.update(hybrid=layer, quantize=quantize, scales=scheme.scale.astype(_F))
    node.cache["counts_macs"] = True


def _quantizer(node: Node, one_scale: bool) -> tuple[Callable[..., Any], bool]:
    """How images become codes, and whether around 0."""
    if node.arithmetic == "litert" and node.operator.name == "CONV_2D":
        return quantize_xnnpack, False
    if one_scale:
        return quantize_symmetric, True
    return quantize_asymmetric, False


def hybrid_convolution(
    node: Node, x: Floats, bias: Floats | None, rows: Axis, columns: Axis
) -> Floats:
    """Outputs (N, OH, OW, OC) for images (N, H, W, C); counts what it multiplies."""
    layer: MacLayer = node.cache["hybrid"]
    quantized = node.cache["quantize"](x.reshape(len(x), -1))
    centred = (quantized.codes - quantized.zero).reshape(x.shape).astype(np.float64)
    # whole numbers far below 2^53: float64 is exact, and multiplied faster
    acc, executed, _ = accumulate(layer, centred, rows, columns)
    zeros = int(np.count_nonzero(centred == 0))
    low, high = int(acc.min(initial=0)), int(acc.max(initial=0))
    result = MacResult(acc, executed, zeros, int(np.count_nonzero(acc == 0)), 0, low, high, 0)
    book_run(
        node.counters, layer, (x.size, acc.size), result, positions_of(layer, x, rows, columns)
    )
    offset = np.zeros(1, _F) if bias is None else bias.reshape(-1)
    scale = quantized.scale.reshape(-1, 1, 1, 1).astype(_F)
    return float_activation(node, _scaled(node, acc.astype(_F), scale, offset))


def _scaled(node: Node, acc: Floats, scale: Floats, bias: NDArray[Any]) -> Floats:
    scales: Floats = node.cache["scales"]
    if node.cache["quantize"] is quantize_xnnpack:
        return ((acc * scale).astype(float) * scales + bias).astype(_F)
    depthwise = node.operator.name == "DEPTHWISE_CONV_2D"
    if scales.size == 1 and not depthwise:
        together = True
    else:
        together = depthwise and node.arithmetic == "builtin"
    return acc * (scales * scale) + bias if together else acc * scales * scale + bias
