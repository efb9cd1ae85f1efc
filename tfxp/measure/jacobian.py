"""How strongly noise in an activation gradient reaches the weight gradient computed from it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfxp.errors import ConfigError
from tfxp.keras_types import KerasLayer, KerasModel, Samples
from tfxp.measure.training_taps import TrainingTaps, float_samples, training_taps

FORMS = ("simplified", "exact")
_ITERATIONS = 200
_TOLERANCE = 1e-6


def jacobian_singular_values(
    model: KerasModel, x: Samples, *, form: str = "exact", taps: TrainingTaps | None = None
) -> dict[str, float]:
    """The largest singular value of every layer's element-wise squared Jacobian.

    G_W is linear in G_A, G_W[i] = sum_j (dA[j]/dW[i]) G_A[j] with j running over samples, positions
    and channels, so that

        exact       lambda = sigma_max( [ (dA[j]/dW[i])^2 ]_ij )
        simplified  lambda = sigma_max( [ mean over taps of (d sum_c mean_jc A[j] / dW[i])^2 ]_io )

    The exact form needs no matrix: every A[j] depends on its own sum through a slope s[j], so the
    squared Jacobian is the layer itself on squared inputs, times s^2, and a power iteration does
    the rest. The simplified form, the authors' script, averages A over samples and positions
    before it differentiates, and keeps one number per input channel i and output channel o. It
    misses that noise adds up over samples and positions, and depends on the scale of the inputs:
    on inputs between 0 and 1 it is thousands of times too small in early layers, and the steps
    that follow from it round all of G_A to zero. So "exact" is the default. BatchNormalization
    runs with its moving statistics in both.

    Args:
        model: float network.
        x: a batch of inputs, of the size that training uses; a list or dict of several inputs.
        form: "exact" or "simplified".
        taps: the tensors, if they were found before.

    Returns:
        Layer with weights -> singular value.

    Raises:
        ConfigError: an unknown form.
        DataError: no samples, other inputs than the model's, or values that are not finite.

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019, criterion 4; the authors' train_probe_save.py and
        computeSVDssimplified.py.
    """
    if form not in FORMS:
        raise ConfigError(f"form of the Jacobian: got {form!r}; expected one of {FORMS}.")
    inputs = float_samples(model, x, "inputs of the Jacobian")
    taps = taps or training_taps(model)
    evaluator = taps.evaluator()
    compute = _simplified if form == "simplified" else _exact
    return compute(taps, evaluator, inputs)


def _simplified(taps: TrainingTaps, evaluator: KerasModel, x: list[tf.Tensor]) -> dict[str, float]:
    kernels = {name: taps.kernel_of(name, evaluator.get_layer(name)) for name in taps.macs}
    owners = list(taps.activations)
    with tf.GradientTape(persistent=True) as tape:
        _, _, points = taps.split(evaluator(x, training=False))
        sums = {
            owner: tf.reduce_sum(tf.reduce_mean(point, axis=list(range(len(point.shape) - 1))))
            for owner, point in zip(owners, points, strict=True)
        }
    result = {}
    for name, kernel in kernels.items():
        squares = tf.square(tape.gradient(sums[taps.gradient_tensor[name]], kernel)).numpy()
        matrix = squares.reshape(-1, *squares.shape[-2:]).mean(axis=0)
        result[name] = float(np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[0])
    return result


def _exact(taps: TrainingTaps, evaluator: KerasModel, x: list[tf.Tensor]) -> dict[str, float]:
    owners = list(taps.activations)
    with tf.GradientTape(persistent=True) as tape:
        inputs, sums, points = taps.split(evaluator(x, training=False))
        totals = {o: tf.reduce_sum(p) for o, p in zip(owners, points, strict=True)}
    result = {}
    for name, source, value in zip(taps.macs, inputs, sums, strict=True):
        slope = tape.gradient(totals[taps.gradient_tensor[name]], value)
        layer = evaluator.get_layer(name)
        result[name] = _largest(taps, name, layer, tf.square(source), tf.square(slope))
    return result


def _largest(
    taps: TrainingTaps, name: str, layer: KerasLayer, inputs: tf.Tensor, slopes: tf.Tensor
) -> float:
    """Power iteration; all entries are non-negative, so ones are no bad start."""
    kernel = taps.kernel_of(name, layer)
    before = kernel.numpy()
    if getattr(layer, "bias", None) is not None:
        layer.bias.assign(tf.zeros_like(layer.bias))
    to_outputs, to_kernel = _products(layer, kernel, inputs, slopes)
    u, found = tf.ones_like(kernel), 0.0
    for _ in range(_ITERATIONS):
        u = to_kernel(to_outputs(u / tf.norm(u)))
        previous, found = found, float(tf.norm(u))
        if found == 0.0 or abs(found - previous) <= _TOLERANCE * found:
            break
    kernel.assign(before)
    return float(np.sqrt(found))


def _products(
    layer: KerasLayer, kernel: tf.Variable, inputs: tf.Tensor, slopes: tf.Tensor
) -> tuple[Callable[[tf.Tensor], tf.Tensor], Callable[[tf.Tensor], tf.Tensor]]:
    """The squared Jacobian's transpose and the squared Jacobian, as functions of a vector."""

    @tf.function
    def to_outputs(u: tf.Tensor) -> tf.Tensor:
        kernel.assign(u)
        return layer(inputs) * slopes

    @tf.function
    def to_kernel(v: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = layer(inputs)
        return tape.gradient(outputs, kernel, output_gradients=slopes * v)

    return to_outputs, to_kernel
