"""The integers of an LSTM layer, and what stands against writing them."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfxp.export.note import Note
from tfxp.formats import FixedPointFormat, Format, encode
from tfxp.quantization.quantized_network import EXACT_LIMIT, QuantizedNetwork
from tfxp.transforms.normalize.integer_lstm import lstm_obstacle
from tfxp.transforms.normalize.unrolled import WHAT_IS_UNROLLED

# LiteRT's gates have 12 fractional bits; their sums are shifted to there in 32 bits.
_GATE_SCALE = 2.0**-12
_INT32 = 2**31
_WIDEST_BITS = 8


@dataclasses.dataclass(frozen=True)
class LstmIntegers:
    """Codes of an LSTM's weights, gates i, f, g, o side by side as in Keras.

    Args:
        kernel: (channels, 4 * units), int8.
        recurrent_kernel: (units, 4 * units), int8.
        bias: (4 * units,) in steps of the input's times the kernel's, int64.
        kernel_format: format of both kernels.
        input_scale: value of one code of the input.
    """

    kernel: np.ndarray
    recurrent_kernel: np.ndarray
    bias: np.ndarray
    kernel_format: Format
    input_scale: float

    @property
    def kernel_scale(self) -> float:
        """Value of one code of both kernels."""
        return self.kernel_format.scale


def lstm_integers(network: QuantizedNetwork, name: str) -> LstmIntegers:
    """The integers of an LSTM that `lstm_complaints` has nothing against."""
    arrays, layer = network.graph.layers[name].arrays(), network.formats[name]
    (fmt,), steps = layer.weights, network.accumulator_step(name)
    assert steps is not None  # checked before
    kernel, recurrent = (
        encode(arrays[f"cell.{part}"], fmt, layer.code_rounding).astype(np.int8)
        for part in ("kernel", "recurrent_kernel")
    )
    step = steps[0]
    real = arrays.get("cell.bias", np.zeros(kernel.shape[1], np.float32))
    bias = np.rint(real.astype(np.float32) / np.float32(step)).astype(np.int64)
    return LstmIntegers(kernel, recurrent, bias, fmt, step / fmt.scale)


def lstm_complaints(network: QuantizedNetwork, storage: str) -> list[str]:
    """LSTM layers that LiteRT's integer LSTM does not compute, or not in these formats."""
    found = []
    for name in _lstms(network):
        reason = lstm_obstacle(network.graph, name)
        if reason:
            where = f"it is quantized in Keras only; {WHAT_IS_UNROLLED}"
            found.append(f"{name} (LSTM): {reason}; {where}")
        else:
            found += [f"{name} (LSTM): {text}" for text in _unfit(network, name, storage)]
    return found


def _unfit(network: QuantizedNetwork, name: str, storage: str) -> list[str]:
    """What is wrong with the formats of one LSTM."""
    weights, found = network.formats[name].weights, []
    if storage != "INT8":
        found.append("LiteRT's takes 8 bits; give all activations 8 bits or fewer")
    if not weights:
        return [*found, "weights are float; give them a precision"]
    if weights[0].bits > _WIDEST_BITS:
        found.append(f"weights have {weights[0].bits} bits; LiteRT's takes 8 at most")
    grids = [*network.input_grids(name), network.formats[name].activations]
    if any(grid is None for grid in grids):
        return found  # said of that tensor already
    for fmt in dict.fromkeys([*weights, *grids]):
        if not isinstance(fmt, FixedPointFormat):
            found.append(f"its steps are exact in fixed point only, not in {fmt}")
    if len(set(weights)) > 1:
        found.append("its weights have several formats; LiteRT's has one scale for a gate")
    if found:
        return found
    largest = np.abs(lstm_integers(network, name).bias).max(initial=0)
    if largest >= _INT32:
        return ["the bias needs more than 32 bits; give its input or kernel coarser formats"]
    return [
        f"sums may reach {total:,} steps of {step:g}, which LiteRT's shifts out of 32 bits; give "
        "its input or kernel finer formats"
        for total, step in _largest_sums(network, name)
        if total * max(2 * step / _GATE_SCALE, 1) >= _INT32
    ]


def lstm_notes(network: QuantizedNetwork) -> list[Note]:
    """LSTM layers whose sums may leave float32's whole numbers."""
    text = "past 2^24; Keras' float32 sums may be off there, and the state carries that on"
    return [
        Note((name,), f"sums may reach {largest}, {text}", None)
        for name in _lstms(network)
        for largest, _ in _largest_sums(network, name)
        if largest >= EXACT_LIMIT
    ]


def _largest_sums(network: QuantizedNetwork, name: str) -> list[tuple[int, float]]:
    """How many steps the gates' sums may reach, and the value of one: of inputs, of the state."""
    numbers, output = lstm_integers(network, name), network.formats[name].activations
    (source,) = network.integer_inputs(name)
    assert output is not None  # checked before
    state = max(255 - output.qmax, output.qmax)
    sides = (
        (numbers.kernel, max(-source.qmin, source.qmax), numbers.bias, numbers.input_scale),
        (numbers.recurrent_kernel, state, np.zeros_like(numbers.bias), output.scale),
    )
    found = []
    for kernel, code, bias, scale in sides:
        sums = np.abs(kernel.astype(np.int64)).sum(axis=0) * code + np.abs(bias)
        found.append((int(sums.max()), scale * numbers.kernel_scale))
    return found


def _lstms(network: QuantizedNetwork) -> list[str]:
    return [name for name, spec in network.graph.layers.items() if spec.kind == "LSTM"]
