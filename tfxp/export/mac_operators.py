"""Layers with weights as TFLite operators: options, kernel layout, absorbed normalisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfxp.export.litert_limits import LARGEST_RATIO
from tfxp.formats import spare_bits
from tfxp.quantization.integer_layer import IntegerLayer
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.transforms.fold_batch_norm import affine
from tfxp.transforms.layer_graph import LayerSpec, Ref
from tfxp.transforms.linear_layers import CONV, DENSE, DEPTHWISE, LINEAR_LAYERS, TRANSPOSED

# Offsets larger than this many accumulator steps would leave too little of int32 to the sums.
_MOST_BIAS = 2.0**30
# LiteRT adds products of 8-bit activations in int32; kernels of 8 bits have fewer bits to spare.
_WRAPS = 2**31
_MOST_SHIFT = 8

_OPERATORS = {
    CONV: "CONV_2D",
    TRANSPOSED: "TRANSPOSE_CONV",
    DEPTHWISE: "DEPTHWISE_CONV_2D",
    DENSE: "FULLY_CONNECTED",
}


def mac_operator(spec: LayerSpec) -> str:
    """The operator of a layer; a sequence is an image one row high."""
    return _OPERATORS[LINEAR_LAYERS[spec.kind]]


def mac_options(spec: LayerSpec) -> dict[str, Any]:
    """The option table of a layer's operator, the fused activation left out."""
    config, form = spec.config, LINEAR_LAYERS[spec.kind]
    if form is DENSE:
        return {"keep_num_dims": True}
    high, wide = _of_image(config["strides"])
    padding = "VALID" if config["padding"] == "causal" else config["padding"].upper()
    options = {"padding": padding, "stride_h": high, "stride_w": wide}
    if form is TRANSPOSED:
        return options
    high, wide = _of_image(config["dilation_rate"])
    options |= {"dilation_h_factor": high, "dilation_w_factor": wide}
    if form is DEPTHWISE:
        options["depth_multiplier"] = config["depth_multiplier"]
    return options


def _of_image(sizes: int | Sequence[int]) -> tuple[int, int]:
    """A setting per direction; that of a sequence belongs to an image one row high."""
    values = [int(size) for size in np.atleast_1d(sizes)]
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])


def tflite_kernel(spec: LayerSpec, codes: np.ndarray) -> tuple[np.ndarray, int]:
    """Kernel in TFLite's axis order, and the axis of its output channels."""
    form = LINEAR_LAYERS[spec.kind]
    if "1D" in spec.kind:
        codes = codes[None]
    if form is CONV:
        return np.ascontiguousarray(codes.transpose(3, 0, 1, 2)), 0
    if form is TRANSPOSED:
        return np.ascontiguousarray(codes.transpose(2, 0, 1, 3)), 0
    if form is DEPTHWISE:
        return np.ascontiguousarray(codes.reshape(1, *codes.shape[:2], -1)), 3
    return np.ascontiguousarray(codes.T), 0


def absorb_batch_norm(
    network: QuantizedNetwork, layer: IntegerLayer, bits: int, fine_bias: bool = True
) -> IntegerLayer:
    """Put a kept BatchNormalization into per-channel scales; negative gammas flip the codes.

        g (s_w codes x) + c  =  (m codes x + round(c / step)) step,     step = |g| s_w s_x / m

    c must be a whole number of accumulator steps, which few bits make large: with ternary weights
    and 2-bit activations one step is a third of |g|. Codes that fill only a part of their storage
    are multiplied by m, so that c is met m times more closely; zeros stay zeros.

    Args:
        network: the layer's network.
        layer: the integers before; returned as they are if no BatchNormalization follows.
        bits: bits of the storage that codes must fit, 4, 8, 16 or 32.
        fine_bias: choose the largest m that fits 4 or 8 bits; otherwise 1.
    """
    graph = network.graph
    reader = graph.only_consumer(Ref(graph.uses(layer.name)[0]))
    if reader is None or not network.role(graph.calls[reader].layer).role.is_absorbed:
        return layer
    g, c = affine(graph.layers[graph.calls[reader].layer])
    weight = network.role(layer.name).weights[0]
    source = network.integer_inputs(layer.name)[0]
    arrays = graph.layers[layer.name].arrays()
    bias = g * arrays.get("bias", np.zeros(g.size)).astype(np.float64) + c
    magnitude = np.broadcast_to(layer.weight_scale, (g.size,)) * np.abs(g)
    most = 2 ** (bits - 1) - 1
    largest = max(-layer.weight_formats[0].qmin, layer.weight_formats[0].qmax)
    wanted = max(most // largest, 1) if fine_bias and bits <= 8 else 1
    least = np.abs(bias) / _MOST_BIAS / source.scale  # weight scale that int32 biases need
    multiple = np.clip(np.floor(magnitude / np.maximum(least, 1e-300)), 0, wanted).astype(int)
    # A channel whose kernel is nothing beside its offset, or is switched off, is a constant.
    multiple = np.where(g == 0, 0, multiple)
    off = multiple == 0
    scale = np.where(off, np.maximum(least, 1e-30), magnitude / np.maximum(multiple, 1))
    codes = weight.as_matrix(layer.weights) * (multiple * np.where(g < 0, -1, 1))
    codes = np.clip(codes, -most - 1, most).astype(layer.weights.dtype)
    step = source.scale * scale
    return dataclasses.replace(
        layer,
        weights=weight.from_matrix(codes, layer.weights.shape),
        weight_scale=scale,
        bias=np.rint(bias / step).astype(np.int64),
        bias_scale=step,
    )


def half_up_kernel(network: QuantizedNetwork, layer: IntegerLayer) -> IntegerLayer:
    """Put half a step below a portable layer's sums, so that no runtime meets a tie.

        s_w codes x + b s_b + s_b / 2  =  (s_w / f) (f codes) x + (f b + f / 2) (s_b / f)

    f is 4 where int8 has room. Sums of 4 a + 2 stay odd when they are halved, which is the first
    of two roundings in TFLM and in LiteRT's builtin kernels. Weights of 7 bits leave f = 2. Their
    scale is the float32 number just below the power of two, so that the fixed-point multiplier is
    2^31 - 128 and not 2^30: the first rounding then changes no sum below 2^23, and the second one
    meets an odd number.

    Args:
        network: the layer's network.
        layer: the integers before; returned as they are if its sums carry no half step.
    """
    half, step = network.half_step(layer.name), network.accumulator_step(layer.name)
    if half is None or step is None:
        return layer
    spare = min(map(spare_bits, layer.weight_formats))
    factor = 2 ** min(spare, 2)
    nearly = 1.0 if spare > 1 else float(np.nextafter(np.float32(1), np.float32(0)))
    bias = np.zeros(layer.channels, np.int64) if layer.bias is None else layer.bias
    steps = np.broadcast_to(step, bias.shape).astype(np.float64)
    return dataclasses.replace(
        layer,
        weights=(layer.weights * factor).astype(layer.weights.dtype),
        weight_scale=layer.weight_scale / factor * nearly,
        bias=bias * factor + np.rint(half / step * factor).astype(np.int64),
        bias_scale=steps / factor * nearly,
    )


def finer_kernel(network: QuantizedNetwork, layer: IntegerLayer, bits: int) -> IntegerLayer:
    """Spend a kernel's spare bits where one accumulator step is 2^8 output steps or more.

        s_w codes x + b s_b  =  (s_w / 2^k) (2^k codes) x + (2^k b) (s_b / 2^k)

    LiteRT refuses such steps. The same numbers in finer ones are exact: scales change by powers of
    two, and a sum of 2^k times as many steps has the same leading bits.

    Args:
        network: the layer's network.
        layer: the integers before; channels without room, in 32-bit sums too, stay as they are.
        bits: bits of the storage that codes must fit.
    """
    output = network.formats[layer.name].activations
    if output is None or bits > 8:
        return layer
    grids, count = network.integer_inputs(layer.name), layer.weight_scale.size
    ratio = max(fmt.scale for fmt in grids) * layer.weight_scale / output.scale
    if ratio.max() < LARGEST_RATIO:
        return layer
    matrix = network.role(layer.name).weights[0].as_matrix(layer.weights).astype(np.int64)
    code = max(max(abs(fmt.qmin), fmt.qmax) for fmt in grids)
    largest = np.abs(matrix).max(axis=0)
    sums = np.abs(matrix).sum(axis=0) * code
    if layer.bias is not None:
        sums = sums + np.abs(layer.bias)
    if count == 1:
        largest, sums = largest.max(keepdims=True), sums.max(keepdims=True)
    shift = np.maximum(np.floor(np.log2(ratio / LARGEST_RATIO)) + 1, 0).astype(np.int64)
    room = (largest << shift <= 2 ** (bits - 1) - 1) & (sums << shift < _WRAPS)
    shift = np.where(room & (shift < _MOST_SHIFT), shift, 0)
    if not shift.any():
        return layer
    factors = np.broadcast_to(2**shift, matrix.shape[1:])
    codes = (matrix * factors).astype(layer.weights.dtype)
    return dataclasses.replace(
        layer,
        weights=network.role(layer.name).weights[0].from_matrix(codes, layer.weights.shape),
        weight_scale=layer.weight_scale / 2.0**shift,
        bias=None if layer.bias is None else layer.bias * factors,
        bias_scale=None if layer.bias_scale is None else layer.bias_scale / factors,
    )
