"""After quantizing and before training: choose formats by the network's output, and centre biases.

Formats fitted tensor by tensor minimise each tensor's own error. What counts is the error of the
network's output, so `calibrate_model` walks over all tensors and moves one binary point at a time,
keeping what brings the output nearer to the float network's. Precision lives in variables, so a
step costs one run over the calibration data and no rebuild.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.data.named_inputs import InputSignature
from tfxp.formats import FixedPointFormat, Format
from tfxp.keras import keras
from tfxp.keras_types import KerasModel, Samples
from tfxp.quantization.layer_formats import LayerFormats
from tfxp.quantization.plan import QuantizationPlan, logit_tensors, make_plan
from tfxp.quantization.precision_variables import assign_formats
from tfxp.quantization.read_network import read_network
from tfxp.quantization.recurrent_state import clear_state, state_variables

Progress = Callable[[str, float], None]


def calibrate_model(
    qmodel: KerasModel,
    data: Samples,
    *,
    refine_formats: bool = True,
    correct_bias: bool = True,
    batch_size: int = 256,
    sweeps: int = 2,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Bring a freshly quantized model nearer to its float self, without labels or gradients.

    The float network is the quantized one with its quantizers taken off, so call this before
    fine-tuning or after it.

    1. Formats: coordinate descent over the binary points of all tensors; a move is kept if it
       lowers  E[(y_quantized - y_float)^2] / E[y_float^2]  at the network's outputs (before a
       final softmax).
    2. Biases: layer by layer, b += E[y_float] - E[y_quantized] per channel, the mean taken over
       samples and positions before the activation function.

    Args:
        qmodel: what `quantize_model` returned; changed in place.
        data: calibration inputs, as `measure_model` takes them; they are held in memory.
        refine_formats: do step 1.
        correct_bias: do step 2.
        batch_size: samples per step.
        sweeps: how often step 1 goes over all tensors; it stops early when nothing moves.
        progress: called with (what is being done, relative output error).

    Returns:
        Relative squared output error: "before", "after_formats", "after_bias".

    Raises:
        DataError: `data` is empty, or does not fit the model's inputs.

    References:
        Bias correction: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
        Correction", ICCV 2019, sec. 4.2, with measured means.
    """
    task = _Calibration(qmodel, data, batch_size)
    result = {"before": task.error()}
    if refine_formats:
        task.refine(sweeps, progress)
    result["after_formats"] = task.error()
    if correct_bias:
        task.correct_biases(progress)
    result["after_bias"] = task.error()
    return result


class _Calibration:
    """The quantized network, its float twin's outputs, and the formats being moved."""

    def __init__(self, qmodel: Any, data: Any, batch_size: int) -> None:
        self._qmodel, self._network = qmodel, read_network(qmodel)
        plan, signature = self._network.plan, InputSignature.of(qmodel)
        self._batches = [
            [tf.cast(part, want.dtype) for part, want in zip(batch, qmodel.inputs, strict=True)]
            for batch, _ in signature.batches(data, batch_size, "calibration data")
        ]
        self._forward = _compile(qmodel, plan)
        float_plan = make_plan(plan.graph)
        self._float_forward = _compile(plan.graph.to_model(), float_plan)
        self._float = [self._float_forward(batch) for batch in self._batches]
        self._power = sum(float(tf.reduce_sum(y**2)) for out in self._float for y in out[0])

    def error(self) -> float:
        """Relative squared error of the outputs over all calibration data."""
        total = 0.0
        for batch, wanted in zip(self._batches, self._float, strict=True):
            outputs = self._forward(batch)[0]
            pairs = zip(outputs, wanted[0], strict=True)
            total += sum(float(tf.reduce_sum((a - b) ** 2)) for a, b in pairs)
        return total / max(self._power, 1e-30)

    def refine(self, sweeps: int, progress: Progress | None) -> None:
        best = self.error()
        for _ in range(sweeps):
            start = best
            for name, tensor in self._movable():
                best = self._move(name, tensor, best)
                if progress is not None:
                    progress(f"formats: {name} {tensor}", best)
            if best >= start * (1 - 1e-3):
                break

    def _movable(self) -> list[tuple[str, str]]:
        tensors = []
        for name, formats in self._network.formats.items():
            if formats.weights and isinstance(formats.weights[0], FixedPointFormat):
                tensors.append((name, "weights"))
            if isinstance(formats.activations, FixedPointFormat):
                tensors.append((name, "activations"))
        return tensors

    def _move(self, name: str, tensor: str, best: float) -> float:
        """Try the neighbouring binary points of one tensor; keep the best."""
        for step in (1, -1):
            while True:
                kept = self._network.formats[name]
                self._assign(name, _shifted(kept, tensor, step))
                error = self.error()
                if error >= best:
                    self._assign(name, kept)
                    break
                best = error
        return best

    def _assign(self, name: str, formats: LayerFormats) -> None:
        self._network = self._network.with_formats({**self._network.formats, name: formats})
        assign_formats(self._network)

    def correct_biases(self, progress: Progress | None) -> None:
        best = self.error()
        for index, name in enumerate(self._network.plan.macs):
            layer = self._qmodel.get_layer(name)
            inner = getattr(layer, "layer", layer)
            bias = getattr(inner, str(self._network.role(name).bias), None)
            if bias is None:
                continue
            kept = bias.numpy()
            bias.assign(kept + self._mean_difference(index))
            error = self.error()
            if error >= best:  # a clipped layer can be pushed the wrong way
                bias.assign(kept)
            else:
                best = error
            if progress is not None:
                progress(f"bias: {name}", best)

    def _mean_difference(self, index: int) -> np.ndarray:
        have = sum(self._forward(batch)[1][index].numpy() for batch in self._batches)
        wanted = sum(out[1][index].numpy() for out in self._float)
        samples = sum(len(batch[0]) for batch in self._batches)
        return (wanted - have) / samples


def _compile(model: Any, plan: QuantizationPlan) -> Callable[[list[tf.Tensor]], Any]:
    """A graph function: outputs before a final softmax, and channel sums behind each kernel."""
    outputs = logit_tensors(plan, model)
    taps = [model.get_layer(name).get_output_at(0) for name in plan.macs]
    probe = keras.Model(model.inputs, [outputs, taps])

    states = state_variables(model.layers)

    @tf.function(reduce_retracing=True)
    def run(batch: list[tf.Tensor]) -> Any:
        clear_state(states)
        results, tapped = probe(batch, training=False)
        means = [tf.reduce_mean(y, axis=list(range(1, len(y.shape) - 1))) for y in tapped]
        return results, [tf.reduce_sum(mean, axis=0) for mean in means]

    return run


def _shifted(formats: LayerFormats, tensor: str, step: int) -> LayerFormats:
    if tensor == "weights":
        return dataclasses.replace(
            formats, weights=tuple(_shift(fmt, step) for fmt in formats.weights)
        )
    assert formats.activations is not None
    return dataclasses.replace(formats, activations=_shift(formats.activations, step))


def _shift(fmt: Format, step: int) -> Format:
    assert isinstance(fmt, FixedPointFormat)
    return dataclasses.replace(
        fmt,
        integer_bits=fmt.integer_bits - step,
        fractional_bits=fmt.fractional_bits + step,
    )
