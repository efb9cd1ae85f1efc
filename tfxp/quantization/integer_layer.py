"""The integers of one layer with weights: codes and scales of its kernel and its bias."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from tfxp.formats import Format, encode
from tfxp.quantization.layer_formats import LayerFormats
from tfxp.quantization.layer_role import LayerRole, WeightSpec
from tfxp.transforms.layer_graph import LayerSpec

_BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class IntegerLayer:
    """Integers of one layer, in Keras' axis order.

    Args:
        name: layer name.
        weights: kernel codes, int8 or wider.
        weight_formats: one format, or one per output channel.
        weight_scale: value of one kernel code, float64, one number or one per output channel.
        bias: bias codes at the accumulator's scale, int64; None without a bias.
        bias_scale: value of one bias code, float64 per output channel.
        channels: number of output channels.
    """

    name: str
    weights: np.ndarray
    weight_formats: tuple[Format, ...]
    weight_scale: np.ndarray
    bias: np.ndarray | None
    bias_scale: np.ndarray | None
    channels: int

    @property
    def zero_fraction(self) -> float:
        """Share of zero codes in the kernel."""
        return float((self.weights == 0).mean())


def encode_layer(
    spec: LayerSpec, role: LayerRole, formats: LayerFormats, step: np.ndarray | None
) -> IntegerLayer:
    """The integers of one layer.

    Args:
        spec: the layer with its weights.
        role: its role.
        formats: its formats.
        step: value of one accumulator step, one number or one per output channel; None if the
            layer reads a float tensor, whose accumulator has no grid.
    """
    arrays = spec.arrays()
    kernel = arrays[role.weights[0].attribute]
    codes, scale = _encode_kernel(kernel, role.weights[0], formats)
    count = int(np.prod(role.weights[0].channels(kernel.shape)))
    bias = arrays.get(str(role.bias))
    if bias is None or step is None:
        return IntegerLayer(spec.name, codes, formats.weights, scale, None, None, count)
    # Binary kernels carry their scale in the tensor, not in the format.
    step = step * scale if formats.is_binary else step
    step = np.broadcast_to(step, bias.shape).astype(np.float64)
    bias_codes = np.rint(bias.astype(np.float32) / step.astype(np.float32)).astype(np.int64)
    return IntegerLayer(spec.name, codes, formats.weights, scale, bias_codes, step, count)


def _encode_kernel(
    kernel: np.ndarray, weight: WeightSpec, layer: LayerFormats
) -> tuple[np.ndarray, np.ndarray]:
    formats, rounding = layer.weights, layer.code_rounding
    if layer.is_binary:
        sizes = weight.as_matrix(np.abs(kernel))
        means = sizes.mean(0 if layer.rule.per_channel else None, dtype=np.float64)
        return encode(kernel, formats[0]).astype(np.int8), np.atleast_1d(means)
    matrix, bits = weight.as_matrix(kernel), formats[0].bits
    codes = np.empty(matrix.shape, np.int8 if bits <= 8 else np.int16 if bits <= 16 else np.int32)
    for rows in row_blocks(matrix):  # encoding takes several times the memory of what it encodes
        if len(formats) == 1:
            codes[rows] = encode(matrix[rows], formats[0], rounding)
            continue
        for column, fmt in enumerate(formats):
            codes[rows, column] = encode(matrix[rows, column], fmt, rounding)
    return weight.from_matrix(codes, kernel.shape), np.array([fmt.scale for fmt in formats])


def row_blocks(matrix: np.ndarray) -> Iterator[slice]:
    """Slices of rows with about a million elements each."""
    step = max(_BLOCK // max(matrix.shape[1], 1), 1)
    for start in range(0, len(matrix), step):
        yield slice(start, start + step)
