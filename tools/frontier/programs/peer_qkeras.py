"""QKeras 0.9, and its Keras 3 port qkeras-v3: power-of-two scales in kernels and activations.

As its documentation and examples have it: QConv2D and QDense with `quantized_bits`,
`quantized_relu` and `quantized_bits` behind what enters the next layer, BatchNormalization in
float. Integer bits, which the examples choose by hand, are those of the smallest squared error, for
activations on the calibration images. A kernel gets `alpha="auto_po2"` (a power of two per output
channel, chosen anew in every step) or fixed integer bits, whichever is nearer to the float kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import protocol
import qkeras
import tensorflow as tf
from rebuild import arguments, is_sum, plain, rebuild


def main(settings: protocol.Settings, result: protocol.Result) -> None:
    """Build, train, judge."""
    package = "qkeras-v3" if settings.peer == "qkeras_v3" else "qkeras"
    result["versions"] = protocol.versions(package, "keras", "tensorflow-cpu")
    result["float"] = "BatchNormalization, biases, logits"
    result["recipe"] = "power-of-two scales, auto_po2 where nearer"
    teacher = protocol.float_model(settings)
    student = rebuild(teacher, Conversion(teacher, settings))
    protocol.train(student, teacher, settings, result)
    protocol.judge_simulation(student, settings, result, package)


class Conversion:
    """Layer -> QKeras layers; knows the float activations on the calibration images."""

    def __init__(self, model: Any, settings: protocol.Settings) -> None:
        self._settings = settings
        names = [layer.name for layer in model.layers if layer.name != model.layers[0].name]
        taps = tf.keras.Model(model.inputs, [model.get_layer(name).output for name in names])
        values = taps(protocol.calibration_images(settings)[:256], training=False)
        self._values = dict(zip(names, [value.numpy() for value in values], strict=True))

    def __call__(self, layer: Any, summed: bool) -> list[Any]:
        """The layers that stand for one."""
        kind, bits = type(layer).__name__, self._settings.weight_bits
        if kind in ("Conv2D", "Dense"):
            own = getattr(qkeras, f"Q{kind}")
            new = [own(**arguments(layer), kernel_quantizer=kernel_quantizer(layer, bits))]
        elif kind == "Activation" and layer.get_config()["activation"] == "relu":
            return [self._activation(layer, signed=False)]
        else:
            new = [plain(layer)]
        if (summed and not is_sum(layer)) or kind == "AveragePooling2D":
            new.append(self._activation(layer, signed=kind != "AveragePooling2D"))
        return new

    def _activation(self, layer: Any, signed: bool) -> Any:
        bits, values = self._settings.activation_bits, self._values[layer.name]
        integer = integer_bits(values, bits, signed)
        if signed:
            quantizer = qkeras.quantized_bits(bits, integer, 1, alpha=1.0)
        else:
            quantizer = qkeras.quantized_relu(bits, integer)
        return qkeras.QActivation(quantizer, name=f"{layer.name}_bits")


def kernel_quantizer(layer: Any, bits: int) -> Any:
    """A power of two per channel as QKeras finds it, or one per kernel."""
    kernel = layer.kernel.numpy()
    several = qkeras.quantized_bits(bits, 0, 1, alpha="auto_po2")
    one = qkeras.quantized_bits(bits, integer_bits(kernel, bits, True), 1, alpha=1.0)
    return min(several, one, key=lambda q: float(np.mean((np.array(q(kernel)) - kernel) ** 2)))


def integer_bits(values: np.ndarray, bits: int, signed: bool) -> int:
    """Integer bits, without the sign, whose rounding has the smallest squared error.

    QKeras takes none below 0.
    """
    errors = {}
    for integer in range(9):
        step = 2.0 ** (integer - bits + signed)
        low, high = (-(2.0**integer) if signed else 0.0), 2.0**integer - step
        rounded = np.clip(np.round(values / step) * step, low, high)
        errors[integer] = float(np.mean((values - rounded) ** 2))
    return min(errors, key=errors.get)


if __name__ == "__main__":
    protocol.run(main)
