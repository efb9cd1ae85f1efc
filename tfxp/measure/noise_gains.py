"""How much noise in each tensor moves the decision of a trained classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.data.named_inputs import InputSignature
from tfxp.errors import ModelError
from tfxp.keras_types import KerasModel, Samples
from tfxp.measure.training_taps import TrainingTaps, float_samples, training_taps
from tfxp.progress import Report, reporter


def noise_gains(
    model: KerasModel,
    x: Samples,
    *,
    taps: TrainingTaps | None = None,
    progress: Report | None = None,
) -> dict[tuple[str, str], float]:
    """Quantization noise gains of every weight and activation tensor.

        E_T = mean of  sum_{i != y} sum_{t in T} (d(Z_i - Z_y)/dt)^2 / (24 (Z_i - Z_y)^2)

    Z are the logits, y the largest of them, so no labels are needed. Classes that tie with the
    winner count with a distance of 1.

    Args:
        model: trained classifier of one output; a final softmax is taken off.
        x: inputs, as `measure_model` takes them; the authors use 200 samples.
        taps: the tensors, if they were found before.
        progress: called with (samples done, samples in all).

    Returns:
        (layer, "weights" or "activations") -> gain. The network's output has none.

    Raises:
        DataError: no samples, other inputs than the model's, or values that are not finite.
        ModelError: the network has several outputs, or its output is no vector of classes.

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019, and "Analytical Guarantees on Numerical Precision of Deep Neural
        Networks", ICML 2017; the authors' FFAnalysis.py.
    """
    inputs = float_samples(model, x, "inputs of noise_gains")
    samples, copies = len(inputs[0]), InputSignature.of(model).batch or 1
    taps = taps or training_taps(model)
    returned = [owner for owner, tap in taps.activations.items() if tap.is_output]
    if len(returned) != 1:
        raise ModelError(
            f"model {model.name!r}: got {len(returned)} outputs that layers with weights compute; "
            "expected one, the logits of a classifier."
        )
    step, keys = _gain_step(taps, returned[0])
    total, report = np.zeros(len(keys)), reporter(progress)
    for number in range(samples):
        # A network of a fixed batch gets as many copies, and the first one's logits count.
        total += step([tf.repeat(part[number : number + 1], copies, 0) for part in inputs]).numpy()
        report(number + 1, samples)
    gains = total / samples
    return {key: float(gain) for key, gain in zip(keys, gains, strict=True)}


def _gain_step(taps: TrainingTaps, output: str) -> tuple[Any, list[tuple[str, str]]]:
    """A graph function of one sample: the gains of all tensors."""
    evaluator = taps.evaluator()
    kernels = [taps.kernel_of(name, evaluator.get_layer(name)) for name in taps.macs]
    owners = list(taps.activations)
    inner = [number for number, owner in enumerate(owners) if owner != output]
    keys = [(name, "weights") for name in taps.macs]
    keys += [(owners[number], "activations") for number in inner]
    classes = evaluator.outputs[2 * len(taps.macs) + owners.index(output)].shape[-1]

    @tf.function
    def step(x: list[tf.Tensor]) -> tf.Tensor:
        total = tf.zeros(len(keys), tf.float64)
        for i in tf.range(classes):
            with tf.GradientTape() as tape:
                _, _, points = taps.split(evaluator(x, training=False))
                logits = tf.reshape(points[owners.index(output)][0], [-1])
                delta = logits[i] - tf.reduce_max(logits)
            wanted = [*kernels, *(points[number] for number in inner)]
            found = tape.gradient(delta, wanted, unconnected_gradients="zero")
            squares = tf.stack([tf.reduce_sum(tf.square(tf.cast(g, tf.float64))) for g in found])
            distance = tf.square(tf.cast(delta, tf.float64))
            distance = tf.where(tf.equal(distance, 0), tf.ones_like(distance), distance)
            total += squares / (24 * distance)
        return total

    return step, keys
