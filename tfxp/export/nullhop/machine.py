"""What the machine computes, integer by integer."""

from __future__ import annotations

import numpy as np

from tfxp.export.nullhop.network import NullhopLayer, NullhopNetwork
from tfxp.formats import round_array


def run_nullhop(network: NullhopNetwork, rounding: str = "half_even") -> list[np.ndarray]:
    """Outputs of every layer (channel, row, column) as integers, computed as the machine would.

        acc = sum(kernel * input) + bias * 2^(f_kernel + f_input - f_bias)
        out = pool(relu(clip(round(acc * 2^(f_out - f_kernel - f_input)))))

    Args:
        network: what `load_nullhop` read.
        rounding: rounding mode of the output.

    References:
        ADaPTION's `LPConvolution`, `LPAct`, ReLU, pool, in this order; saturation is to 16 bits.
    """
    values, bits = network.pixels.astype(np.int64), network.layers[0].input_bits
    results = []
    for layer in network.layers:
        accumulators = _convolve(values, layer)
        shift = layer.kernel_bits + bits - layer.bias_bits
        scaled_bias = layer.biases.astype(np.float64) * 2.0**shift
        exact = accumulators + scaled_bias[:, None, None]
        exact = exact * 2.0 ** (layer.output_bits - layer.kernel_bits - bits)
        values = np.clip(round_array(exact, rounding), -(2**15), 2**15 - 1).astype(np.int64)
        values = np.maximum(values, 0) if layer.relu else values
        values = _pool(values) if layer.pooling else values
        bits = layer.output_bits
        results.append(values)
    return results


def _convolve(values: np.ndarray, layer: NullhopLayer) -> np.ndarray:
    """Integer convolution (channel, row, column), stride 1."""
    pad, size = layer.padding, layer.kernel_size
    padded = np.pad(values, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    return np.einsum("crxkl,ockl->orx", windows, layer.kernels.astype(np.int64), optimize=False)


def _pool(values: np.ndarray) -> np.ndarray:
    rows, columns = values.shape[1] // 2 * 2, values.shape[2] // 2 * 2
    cut = values[:, :rows, :columns]
    return cut.reshape(len(cut), rows // 2, 2, columns // 2, 2).max(axis=(2, 4))
