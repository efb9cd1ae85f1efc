"""Kernels whose sums of products fit into narrow accumulators, whatever the input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfxp.errors import ConfigError
from tfxp.keras_types import KerasModel
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_network import read_network
from tfxp.quantizers.quantizers import KernelQuantizer

_HALVINGS = 20  # of the threshold's interval, a millionth of the largest weight in the end


def bound_accumulators(
    qmodel: KerasModel, bits: int = 16, *, zero_centered: bool = False
) -> dict[str, int]:
    """Shrink kernels so that no input overflows accumulators of some bits, now and in training.

    With input codes from lo <= 0 to hi, and P and N the sums of a channel's positive and negative
    codes' magnitudes, no partial or complete sum leaves the accumulator if

        P hi - N lo + max(b, 0) <= 2^(bits-1) - 1,    N hi - P lo - min(b, 0) <= 2^(bits-1)

    A channel beyond that is moved to the nearest one that fits in the sense of the l1 ball: all its
    weights shrink by the same amount, small ones to zero; positive and negative ones by amounts of
    their own where inputs are not negative. Each kernel gets this as a constraint, which optimizers
    apply after every step. Formats count as they are now: calibrate before. Saved models keep the
    weights, not the constraint, so call this again after loading or `set_precision`.

    Args:
        qmodel: what `quantize_model` returned; changed in place.
        bits: of the accumulator, sign included; 8 to 32.
        zero_centered: take off the mean of every channel first, so that positive and negative sums
            are alike and both budgets are used (A2Q+); it changes the network, so train after it.

    Returns:
        Layer -> bits that its accumulator needs in the worst case; layers that read float tensors
        have no integers and are left out.

    Raises:
        ConfigError: `bits` is impossible, or biases or input codes alone exceed the accumulator.
        PrecisionError: the model is not quantized.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> from tfxp.training import bound_accumulators
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(900,), name="d")])
        >>> pmap = tfxp.PrecisionMap.uniform("Q0.7", "Q3.4")
        >>> qmodel = tfxp.quantize_model(model, pmap)
        >>> bound_accumulators(qmodel, 16)
        {'d': 16}

    References:
        Colbert et al., "A2Q: Accumulator-Aware Quantization with Guaranteed Overflow Avoidance",
        ICCV 2023, and "A2Q+: Improving Accumulator-Aware Weight Quantization", ICML 2024. They
        bound the l1 norm by a learned scale and round towards zero; here the two sums of the exact
        condition are bounded, on the codes as the quantizer rounds them.
    """
    if not 8 <= bits <= 32:
        raise ConfigError(f"bits of accumulators: got {bits}; expected 8 to 32.")
    network = read_network(qmodel)
    layers = {name: _BoundedLayer(network, name, bits) for name in _integer_layers(network)}
    tight = [layer.complaint for layer in layers.values() if layer.complaint]
    if tight:
        raise ConfigError(
            f"accumulators of {bits} bits: got {'; '.join(tight)}; expected room for products. "
            "Use coarser formats of weights or activations, or more bits."
        )
    for layer in layers.values():
        layer.constrain(zero_centered)
    return {name: layer.worst_bits() for name, layer in layers.items()}


def _integer_layers(network: QuantizedNetwork) -> list[str]:
    """Layers that multiply by integers, read integers, and add up."""
    return [
        name
        for name in network.plan.macs
        if network.formats[name].weights
        and not network.formats[name].is_binary
        and network.integer_inputs(name)
    ]


class _BoundedLayer:
    """One layer, the range of its input's codes, and the bits of its accumulator."""

    def __init__(self, network: QuantizedNetwork, name: str, bits: int) -> None:
        role, grids = network.role(name), network.integer_inputs(name)
        self.wrapper, self._path = network.wrappers[name], role.weights[0].attribute
        self._low = min(0, *(grid.qmin for grid in grids))
        self._high = max(grid.qmax for grid in grids)
        self._most = 2 ** (bits - 1) - 1
        quantizer = self.wrapper.quantize_config.weight_quantizers[self._path]
        assert isinstance(quantizer, KernelQuantizer)  # `_integer_layers` asks for one
        shape = self.wrapper.variable(self._path).shape
        channels = quantizer.channels(len(shape))
        self._quantizer = quantizer
        self._taps = [axis for axis in range(len(shape)) if axis not in channels]
        self._kept = [1 if axis in self._taps else shape[axis] for axis in range(len(shape))]
        self._bias = getattr(self.wrapper.layer, str(role.bias), None)
        step = network.accumulator_step(name)
        self._step = np.ones(1) if self._bias is None or step is None else step

    @property
    def complaint(self) -> str:
        """Why nothing can be done; empty if something can."""
        if self._room < 0:
            return f"input codes of up to {self._high} in {self.wrapper.name!r}"
        largest = int(np.abs(self._bias_codes().numpy()).max())
        return f"a bias of {largest} steps in {self.wrapper.name!r}" if largest > self._room else ""

    @property
    def _room(self) -> int:
        """Steps that are left of an accumulator beside one weight."""
        return self._most - max(self._high, -self._low)

    def constrain(self, zero_centered: bool) -> None:
        """Make the kernel fit, and keep it so after every step of an optimizer."""

        def centered(values: tf.Tensor) -> tf.Tensor:
            # Weights of zero may be held there by a mask.
            part = tf.cast(values != 0, values.dtype)
            count = tf.maximum(tf.reduce_sum(part, self._taps, keepdims=True), 1)
            return values - part * tf.reduce_sum(values, self._taps, keepdims=True) / count

        def clipped(values: tf.Tensor) -> tf.Tensor:
            limit = np.float32(self._room * self._step)
            return tf.clip_by_value(values, -limit, limit)

        kernel = self.wrapper.variable(self._path)
        _constrain(kernel, [centered, self._fitted] if zero_centered else [self._fitted])
        kernel.assign(kernel.constraint(kernel))
        if self._bias is not None:
            _constrain(self._bias, [clipped])

    def worst_bits(self) -> int:
        """Bits, sign included, that no input can overflow."""
        kernel = self.wrapper.variable(self._path)
        over, under = (float(tf.reduce_max(side)) for side in self._extremes(kernel))
        return max(int(over).bit_length(), int(under - 1).bit_length() if under else 0) + 1

    def _fitted(self, kernel: tf.Tensor) -> tf.Tensor:
        """The kernel, shrunk where it does not fit; by halving the interval of the threshold."""
        fits = self._fits(kernel)

        def shrunk() -> tf.Tensor:
            largest = tf.reduce_max(tf.abs(kernel), self._taps, keepdims=True)
            none = tf.zeros_like(largest)
            above, below = [tf.where(ok, none, largest) for ok in fits], [none, none]
            for _ in range(_HALVINGS):
                middle = [(a + b) / 2 for a, b in zip(above, below, strict=True)]
                good = self._fits(_shrunk(kernel, *middle))
                above = [tf.where(*each) for each in zip(good, middle, above, strict=True)]
                below = [tf.where(*each) for each in zip(good, below, middle, strict=True)]
            return _shrunk(kernel, *above)

        return tf.cond(tf.reduce_all(fits), lambda: tf.identity(kernel), shrunk)

    def _fits(self, kernel: tf.Tensor) -> list[tf.Tensor]:
        """Per channel: whether its positive and its negative weights may stay as they are."""
        over, under = self._extremes(kernel)
        fit = [over <= self._most, under <= self._most + 1]
        return fit if self._low == 0 else [fit[0] & fit[1]] * 2

    def _extremes(self, kernel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Per channel the largest sum, and the smallest one's magnitude; float64, axes kept."""
        grid = self.wrapper.weight_variables[self._path]
        codes = tf.round(self._quantizer(kernel, False, grid) / grid["scale"])
        bias = tf.reshape(self._bias_codes(), self._kept if self._bias is not None else [1])
        sides = []
        for sign in (1.0, -1.0):
            wide = sign * tf.cast(codes, tf.float64)
            up = tf.reduce_sum(tf.maximum(wide, 0.0), self._taps, keepdims=True)
            down = tf.reduce_sum(tf.maximum(-wide, 0.0), self._taps, keepdims=True)
            sides.append(up * self._high - down * self._low + tf.maximum(sign * bias, 0.0))
        return sides[0], sides[1]

    def _bias_codes(self) -> tf.Tensor:
        if self._bias is None:
            return tf.zeros([1], tf.float64)
        return tf.cast(tf.round(self._bias / np.float32(self._step)), tf.float64)


def _constrain(variable: tf.Variable, functions: list[Callable[[tf.Tensor], tf.Tensor]]) -> None:
    """Have optimizers apply functions to a variable, behind the constraint that it has already.

    A bound that was set before is replaced.
    """
    before = getattr(variable.constraint, "_tfxp_before", variable.constraint)

    def constraint(values: tf.Tensor) -> tf.Tensor:
        result = tf.convert_to_tensor(values if before is None else before(values))
        for function in functions:
            result = function(result)
        return result

    constraint._tfxp_before = before  # type: ignore[attr-defined]
    variable._constraint = constraint  # as `add_weight(constraint=...)` would have set it


def _shrunk(kernel: tf.Tensor, positive: tf.Tensor, negative: tf.Tensor) -> tf.Tensor:
    """Weights nearer to zero by these amounts, and not beyond."""
    return tf.maximum(kernel - positive, 0.0) + tf.minimum(kernel + negative, 0.0)
