"""HGQ2 (Keras 3): fixed-point quantizers whose integer bits are trained.

HGQ2 is made for bit widths that its gradient chooses per weight; at equal bits the widths are held
by a constraint (`bc`), per output channel of a kernel and per tensor of an activation, and only the
position of the point is trained. Types, rounding and the overflow of weights (`SAT_SYM`) are those
of its documentation; activations saturate (`SAT`), since `WRAP` has no fixed width in training.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import protocol
from hgq.config import QuantizerConfig
from hgq.constraints import MinMax
from hgq.layers import QConv2D, QDense
from hgq.quantizer import Quantizer
from rebuild import arguments, is_sum, plain, rebuild

_OWN = {"Conv2D": QConv2D, "Dense": QDense}


def main(settings: protocol.Settings, result: protocol.Result) -> None:
    """Build, train, judge."""
    result["versions"] = protocol.versions("HGQ2", "quantizers", "keras", "tensorflow-cpu")
    result["float"] = "BatchNormalization, biases (20 bits), logits"
    result["recipe"] = "widths held, integer bits trained, per channel"
    teacher = protocol.float_model(settings)
    student = rebuild(teacher, Conversion(teacher, settings))
    protocol.train(student, teacher, settings, result)
    protocol.judge_simulation(student, settings, result, "HGQ2")


class Conversion:
    """Layer -> HGQ2 layers; knows the float activations on the calibration images."""

    def __init__(self, model: Any, settings: protocol.Settings) -> None:
        self._settings = settings
        layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
        taps = keras.Model(model.inputs, [layer.output for layer in layers])
        values = taps(protocol.calibration_images(settings)[:256], training=False)
        names = [layer.name for layer in layers]
        self._values = dict(zip(names, [np.array(value) for value in values], strict=True))

    def __call__(self, layer: Any, summed: bool) -> list[Any]:
        """The layers that stand for one."""
        kind = type(layer).__name__
        if kind in _OWN:
            new = [_OWN[kind](**arguments(layer), **self._weights(layer), enable_iq=False)]
        else:
            new = [plain(layer)]
        relu = kind == "Activation" and layer.get_config()["activation"] == "relu"
        if relu or kind == "AveragePooling2D" or (summed and not is_sum(layer)):
            signed = not relu and kind != "AveragePooling2D"
            new.append(self._activation(layer, signed))
        return new

    def _weights(self, layer: Any) -> dict[str, Any]:
        kernel, bits = np.array(layer.kernel), self._settings.weight_bits - 1
        channels = [fixed_integer_bits(k, bits, True) for k in np.moveaxis(kernel, -1, 0)]
        first = keras.initializers.Constant(np.array(channels, np.float32))
        axes = tuple(range(kernel.ndim - 1))
        own = QuantizerConfig(
            "kbi", "weight", b0=bits, i0=first, bc=MinMax(bits, bits), br=None,
            overflow_mode="SAT_SYM", homogeneous_axis=axes,
        )  # fmt: skip
        bias = QuantizerConfig("kbi", "bias", b0=20, i0=8, bc=MinMax(20, 20), br=None)
        return {"kq_conf": own, "bq_conf": bias}

    def _activation(self, layer: Any, signed: bool) -> Any:
        bits = self._settings.activation_bits - signed
        first = fixed_integer_bits(self._values[layer.name], bits, signed)
        own = QuantizerConfig(
            "kbi", "datalane", k0=signed, b0=bits, i0=first, bc=MinMax(bits, bits), br=None,
            overflow_mode="SAT", homogeneous_axis=None, heterogeneous_axis=(),
        )  # fmt: skip
        return Quantizer(own, name=f"{layer.name}_bits")


def fixed_integer_bits(values: np.ndarray, bits: int, signed: bool) -> int:
    """Integer bits of the smallest squared error; neither number counts the sign."""
    errors = {}
    for integer in range(-8, 9):
        step = 2.0 ** (integer - bits)
        high = 2.0**integer - step
        rounded = np.clip(np.round(values / step) * step, -high if signed else 0.0, high)
        errors[integer] = float(np.mean((values - rounded) ** 2))
    return min(errors, key=errors.get)


if __name__ == "__main__":
    protocol.run(main)
