"""The loss of every tensor at every word length, one tensor at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import tensorflow as tf

from tfxp.data.named_inputs import InputSignature
from tfxp.errors import ConfigError
from tfxp.keras import keras
from tfxp.keras_types import KerasModel, Samples
from tfxp.precision import LayerPrecision, ModelStats, PrecisionMap
from tfxp.progress import Report, reporter
from tfxp.quantization.plan import QuantizationPlan, logit_tensors
from tfxp.quantization.quantize_model import quantize_model
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_network import read_network
from tfxp.quantization.recurrent_state import clear_state, state_variables
from tfxp.quantization.set_precision import set_precision

TENSORS = ("weights", "activations")


def word_length_losses(
    model: KerasModel,
    data: Samples,
    stats: ModelStats,
    bits: Sequence[int],
    *,
    tensors: Collection[str] = TENSORS,
    base: PrecisionMap | None = None,
    batch_size: int = 64,
    progress: Report | None = None,
) -> dict[tuple[str, str], dict[int, float]]:
    """The error of the network's output with one tensor at a word length, all others at the widest.

        S_t(b) = E[(y_t,b - y)^2] / E[y^2]        y: float outputs, before a final softmax

    Args:
        model: the float model.
        data: inputs, as `measure_model` takes them; no labels.
        stats: what `measure_model` returned for it.
        bits: word lengths to try.
        tensors: "weights", "activations", or both.
        base: precision of the edges and what else is not tried; of the widest word length, with
            inputs and outputs in 8 bits, if none is given.
        batch_size: samples a step.
        progress: called with (tensors and word lengths done, all of them).

    Returns:
        (layer, "weights" or "activations") -> bits -> loss. Network inputs and outputs are left
        out, and so is what `base` leaves in float.

    Raises:
        ConfigError: no word lengths, or other tensors.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> from tfxp.measure import word_length_losses
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="d")])
        >>> x = np.random.default_rng(0).normal(size=(16, 4))
        >>> loss = word_length_losses(model, x, tfxp.measure_model(model, x), [2, 8])
        >>> list(loss), loss["d", "weights"][2] > loss["d", "weights"][8]
        ([('d', 'weights')], True)
    """
    if not bits or not set(tensors) <= set(TENSORS):
        raise ConfigError(
            f"word lengths: got {list(bits)} of {', '.join(tensors)}; expected some, of weights, "
            "activations or both."
        )
    widest = base or PrecisionMap.uniform(max(bits), max(bits))
    qmodel = quantize_model(model, widest, stats)
    network = read_network(qmodel)
    arrays = InputSignature.of(qmodel).arrays(data, "data of word_length_losses")
    size = InputSignature.of(qmodel).batch or batch_size
    starts = range(0, len(arrays[0]) // size * size or len(arrays[0]), size)
    batches = [[tf.cast(a[s : s + size], tf.float32) for a in arrays] for s in starts]
    reference = _outputs(network.plan.graph.to_model(), network.plan)
    run, wanted = _outputs(qmodel, network.plan), [reference(batch) for batch in batches]
    free = _free(network, tensors)
    report, done = reporter(progress), 0
    result: dict[tuple[str, str], dict[int, float]] = {}
    for name, tensor in free:
        for length in sorted(set(bits)):
            rule = LayerPrecision.from_dict({tensor: length})
            set_precision(qmodel, widest.updated({name: rule}))
            have = [run(batch) for batch in batches]
            result.setdefault((name, tensor), {})[length] = _relative_error(have, wanted)
            done += 1
            report(done, len(free) * len(set(bits)), f"{name} {tensor}")
    return result


def _free(network: QuantizedNetwork, tensors: Collection[str]) -> list[tuple[str, str]]:
    """The tensors with formats that may vary."""
    selected = network.plan.selected()
    edges = {*selected["@inputs"], *selected["@outputs"]}
    found = []
    for name, formats in network.formats.items():
        if formats.weights:
            found.append((name, "weights"))
        if formats.activations is not None and name not in edges:
            found.append((name, "activations"))
    return [item for item in found if item[1] in tensors]


def _outputs(model: KerasModel, plan: QuantizationPlan) -> Any:
    """A graph function: the outputs before a final softmax."""
    probe = keras.Model(model.inputs, logit_tensors(plan, model))
    states = state_variables(model.layers)

    @tf.function(reduce_retracing=True)
    def run(batch: list[tf.Tensor]) -> list[tf.Tensor]:
        clear_state(states)
        return tf.nest.flatten(probe(batch, training=False))

    return run


def _relative_error(have: Sequence[tf.Tensor], wanted: Sequence[tf.Tensor]) -> float:
    pairs = list(zip(tf.nest.flatten(have), tf.nest.flatten(wanted), strict=True))
    error = sum(float(tf.reduce_sum((a - b) ** 2)) for a, b in pairs)
    return error / max(sum(float(tf.reduce_sum(b**2)) for _, b in pairs), 1e-30)
