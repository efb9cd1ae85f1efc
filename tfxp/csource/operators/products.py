"""Convolutions, dense layers and products of matrices."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfxp.csource.operators.requantize import (
    HALF_EVEN,
    HALF_UP,
    Rounded,
    requantizer_fields,
    split_factor,
)
from tfxp.csource.operators.site import Site, lowers
from tfxp.csource.packing import pack_codes
from tfxp.csource.program import Constant, Step
from tfxp.graph import Tensor
from tfxp.interpreter.kernels.batch_matmul import matmul_requantizer
from tfxp.interpreter.mac.geometry import Axis, convolution_axis, transposed_axis
from tfxp.interpreter.mac.layer import MacLayer

_POINT = Axis(1, 1, 1, 1, 1, 0)
_LARGEST = 2**31 - 1
Image = tuple[int, int, int]


class Windows(NamedTuple):
    """Images that a convolution reads and writes, and where its taps fall."""

    source: Image
    target: Image
    rows: Axis
    columns: Axis


def image_of(tensor: Tensor) -> Image:
    """Height, width and channels; all but the innermost of other ranks count as width."""
    if len(tensor.shape) == 4:
        return tensor.shape[1], tensor.shape[2], tensor.shape[3]
    return 1, tensor.size // tensor.shape[-1], tensor.shape[-1]


@lowers("CONV_2D", "DEPTHWISE_CONV_2D")
def _convolution(site: Site) -> list[Step]:
    layer, options = _layer(site), site.node.options
    source, target = image_of(site.tensor(0)), image_of(site.output)
    rows, columns = (
        convolution_axis(
            source[i], layer.weights.shape[i], options[f"stride_{side}"],
            options[f"dilation_{side}_factor"], options["padding"],
        )
        for i, side in enumerate("hw")
    )  # fmt: skip
    windows = Windows(source, target, rows, columns)
    return [_mean(site, layer, windows) or _convolve(site, layer, windows, 0)]


def _mean(site: Site, layer: MacLayer, windows: Windows) -> Step | None:
    """The sum of each channel and a shift, if that is all that a depthwise layer computes.

    Portable files have such layers for means: one weight for the whole image, one bias.
    """
    height, width, channels = windows.source
    weights, bias, rounded = split_factor(layer)
    taps = (windows.rows.taps, windows.columns.taps) == (height, width)
    whole = taps and windows.target == (1, 1, channels) and layer.groups == channels
    same = (weights == 1).all() and (bias == bias[0]).all() and len(rounded.shifts) == 1
    requantizer = layer.requantizer
    if not (whole and same) or rounded.rounding not in (HALF_UP, HALF_EVEN):
        return None
    if (requantizer.low, requantizer.high) != (-128, 127):
        return None
    offset = layer.input_zero * height * width - int(bias[0])
    half_up = int(rounded.rounding == HALF_UP)
    numbers = (1, height * width, channels, offset, rounded.shifts[0], half_up,
               requantizer.zero_point)  # fmt: skip
    call = f"tfxp_mean_by_shift({', '.join(map(str, numbers))}, $in0, $out)"
    return site.step(call, [site.index(0)])


@lowers("TRANSPOSE_CONV")
def _transposed(site: Site) -> list[Step]:
    layer, options = _layer(site), site.node.options
    source, target = image_of(site.tensor(2)), image_of(site.output)
    rows, columns = (
        transposed_axis(
            source[i], layer.weights.shape[i], options[f"stride_{side}"], target[i],
            options["padding"],
        )
        for i, side in enumerate("hw")
    )  # fmt: skip
    return [_convolve(site, layer, Windows(source, target, rows, columns), 2)]


@lowers("FULLY_CONNECTED")
def _dense(site: Site) -> list[Step]:
    layer = _layer(site)
    rows = site.tensor(0).size // layer.channels_in
    source, target = (1, rows, layer.channels_in), (1, rows, layer.channels_out)
    return [_convolve(site, layer, Windows(source, target, _POINT, _POINT), 0)]


def _layer(site: Site) -> MacLayer:
    layer = site.node.cache.get("layer")
    if not isinstance(layer, MacLayer):
        raise site.refusal("weights that are computed; expected constants")
    low, high = layer.worst_case
    if low < -_LARGEST or high > _LARGEST:
        raise site.refusal(f"sums of {layer.worst_bits} bits; expected at most 32")
    return layer


def _convolve(site: Site, layer: MacLayer, windows: Windows, position: int) -> Step:
    name = site.c_name
    weights, bias, rounded = split_factor(layer)
    packed = pack_codes(weights)
    fields, constants = requantizer_fields(site, rounded, layer.requantizer)
    constants = [
        site.constant("weights", "uint8_t", packed.data),
        _bias(site, bias),
        *constants,
    ]
    structure = site.structure(
        "tfxp_convolution",
        windows.source,
        windows.target,
        *((a.taps, a.stride, a.dilation, a.pad) for a in (windows.rows, windows.columns)),
        (f"{name}_weights", packed.bits, packed.factor),
        f"{name}_bias",
        layer.input_zero,
        layer.groups,
        fields,
    )
    verb = "transpose_convolve" if layer.transposed else "convolve"
    _, width, channels = windows.target
    return site.step(
        f"tfxp_{verb}(&{name}_layer, $in0, $out, sums, weights)",
        [site.index(position)],
        structure=structure,
        constants=constants,
        sums=width * channels,
        codes=channels,
    )


def _bias(site: Site, bias: NDArray[np.int64]) -> Constant:
    return site.constant("bias", "int32_t", bias)


@lowers("BATCH_MATMUL")
def _matmul(site: Site) -> list[Step]:
    left, right, options = site.tensor(0), site.tensor(1), site.node.options
    rows, depth = _sides(left, bool(options["adj_x"]))
    _, units = _sides(right, bool(options["adj_y"]))
    batch = site.output.size // (rows * units)
    if depth * 255 * 255 > _LARGEST:
        raise site.refusal(f"{depth} products in a sum; expected at most {_LARGEST // 255**2}")
    if left.type == "FLOAT32" or (right.quantization and right.quantization.per_channel):
        raise site.refusal("float activations or a scale per column; expected codes and one scale")
    worst = depth * 255 * 255
    requantizer = matmul_requantizer(site.node)
    fields, constants = requantizer_fields(
        site, Rounded.of(requantizer, (-worst, worst)), requantizer
    )
    operands, names = [], []
    for number, tensor in enumerate((left, right)):
        if _batches(tensor) not in (1, batch):
            raise site.refusal(f"shapes {list(left.shape)} and {list(right.shape)}; expected equal "
                               "leading dimensions, or none")  # fmt: skip
        names.append(f"$in{number}")
        if tensor.data is not None:
            operands.append(site.constant("operand", "int8_t", tensor.data))
            names[-1] = operands[-1].name
    strides = [
        (0 if _batches(t) == 1 else t.shape[-2] * t.shape[-1],
         *((1, t.shape[-1]) if turned else (t.shape[-1], 1)))
        for t, turned in ((left, options["adj_x"]), (right, options["adj_y"]))
    ]  # fmt: skip
    zeros = left.zero_point, right.zero_point
    structure = site.structure("tfxp_matrices", batch, rows, depth, units, *strides, *zeros, fields)
    call = f"tfxp_multiply_matrices(&{site.c_name}_layer, {', '.join(names)}, $out, sums)"
    inputs = [site.index(0), site.index(1)]
    return [site.step(call, inputs, structure=structure, constants=[*operands, *constants],
                      sums=units)]  # fmt: skip


def _batches(tensor: Tensor) -> int:
    return math.prod(tensor.shape[:-2])


def _sides(tensor: Tensor, turned: bool) -> tuple[int, int]:
    rows, columns = tensor.shape[-2:]
    return (columns, rows) if turned else (rows, columns)
