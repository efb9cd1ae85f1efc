"""A network as NullHop takes it: convolutions in a row, all integers."""

from __future__ import annotations

import dataclasses

import numpy as np

# ADaPTION's integers are values times 256.
DEFAULT_BITS = 8


@dataclasses.dataclass(frozen=True)
class NullhopLayer:
    """One convolution of the file; the kernel is (out, in, row, column), all integers.

    Args:
        compressed: whether inputs come as non-zero values with a mask.
        kernel_size: side of the square kernel.
        channels_in, channels_out: input and output maps.
        columns, rows: size of the input maps.
        pooling: whether a 2 x 2 maximum follows.
        relu: whether a ReLU follows.
        padding: zeros on each side.
        kernels: (out, in, row, column).
        biases: one per output map.
        kernel_bits, bias_bits, output_bits, input_bits: fractional bits of the integers.
    """

    compressed: int
    kernel_size: int
    channels_in: int
    columns: int
    rows: int
    channels_out: int
    pooling: int
    relu: int
    padding: int
    kernels: np.ndarray
    biases: np.ndarray
    kernel_bits: int = DEFAULT_BITS
    bias_bits: int = DEFAULT_BITS
    output_bits: int = DEFAULT_BITS
    input_bits: int = DEFAULT_BITS


@dataclasses.dataclass(frozen=True)
class NullhopNetwork:
    """A file's content.

    Args:
        layers: convolutions in order.
        pixels: one sample (channel, row, column) as integers.
        names: layers of the Keras model, where the network comes from one.
    """

    layers: tuple[NullhopLayer, ...]
    pixels: np.ndarray
    names: tuple[str, ...] = ()
