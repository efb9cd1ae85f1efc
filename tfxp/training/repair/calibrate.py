"""After quantizing and before training: choose formats and rounding by outputs, centre biases.

Formats fitted tensor by tensor minimise each tensor's own error. What counts is the error of the
network's output, so `calibrate_model` walks over all tensors and moves one binary point at a time,
keeping what brings the output nearer to the float network's. Precision lives in variables, so a
step costs one run over the calibration data and no rebuild. Rounding is learned layer by layer
(`adaround`).
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tfxp.data import ModelData, Source, input_shapes
from tfxp.data.named_inputs import InputSignature
from tfxp.errors import ConfigError, TrainingWarning, did_you_mean
from tfxp.formats import FixedPointFormat, Format
from tfxp.keras import keras
from tfxp.keras_types import KerasModel, Samples
from tfxp.progress import Report, reporter
from tfxp.quantization.layer_formats import LayerFormats
from tfxp.quantization.plan import QuantizationPlan, logit_tensors, make_plan
from tfxp.quantization.read_network import read_network
from tfxp.quantization.recurrent_state import clear_state, state_variables
from tfxp.streams import open_data
from tfxp.streams.tf_dataset import is_small
from tfxp.training.repair.adaround import Reconstruction, RoundingSettings, learn_rounding
from tfxp.training.repair.calibration_budget import samples_of_step, samples_of_stream
from tfxp.training.repair.output_kind import OutputKind

METHODS = ("formats", "adaround")
Batches: TypeAlias = "list[list[tf.Tensor]]"
_FEWEST = 8  # samples, or batches of a fixed size, that are worth dividing


def calibrate_model(
    qmodel: KerasModel,
    data: Samples,
    *,
    method: str = "formats",
    refine_formats: bool = True,
    correct_bias: bool = True,
    samples: int | None = None,
    batch_size: int | None = None,
    sweeps: int = 2,
    held_back: float = 0.2,
    seed: int = 0,
    rounding: RoundingSettings | None = None,
    progress: Report | None = None,
) -> dict[str, float]:
    """Bring a freshly quantized model nearer to its float self, without labels or gradients.

        error = E[(y_quantized - y_float)^2] / E[y_float^2]    of the outputs, before a softmax

    The float network is the quantized one with its quantizers taken off, so call this before
    fine-tuning or after it; and once, if it learns rounding, since weights are then on their grids.

    1. Formats: coordinate descent over the binary points of all tensors; a move is kept if it
       lowers the error.
    2. Rounding, with the method "adaround": layer by layer, each weight goes up or down to its
       grid such that the layer's output behind the activation function stays nearest to the float
       one. The weights become the chosen values of the grid.
    3. Biases: layer by layer, b += E[y_float] - E[y_quantized] per channel, the mean taken over
       samples and positions before the activation function. Where formats are chosen too, biases
       are centred before them as well: shifted means hide what a binary point is worth.

    Some samples are held back. A step is undone, and a `TrainingWarning` says so where nothing is
    left, if these samples do not come nearer, or if a network with a final softmax decides fewer
    samples as its float self does. Ctrl-C ends a step early and keeps what it has found.

    Args:
        qmodel: what `quantize_model` returned; changed in place.
        data: calibration inputs, as `measure_model` takes them; the samples are held in memory.
        samples: how many of them at most, the first ones; None takes all arrays, and of a stream
            32 to 1,024, as many as give 2^29 values of layers' outputs.
        method: "formats" (steps 1 and 3), or "adaround" (all).
        refine_formats: do step 1.
        correct_bias: do step 3.
        batch_size: samples per step; None takes 256, and fewer where a tensor of the batch would
            have more than 2^24 values.
        sweeps: how often step 1 goes over all tensors; it stops early when nothing moves.
        held_back: share of the samples that judge the steps; fewer than 8 samples do both.
        seed: seed of the choice of samples that are held back.
        rounding: how step 2 learns.
        progress: called with (steps done, steps at most, what was done and the error that is
            left).

    Returns:
        Relative squared output error over all data: "before", "after_formats",
        "after_rounding" if it was learned, "after_bias".

    Raises:
        DataError: `data` is empty, or does not fit the model's inputs.
        ConfigError: an impossible share, or no such method.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,), name="dense")])
        >>> x = np.random.default_rng(0).uniform(0, 1, (32, 3)).astype("float32")
        >>> stats = tfxp.measure_model(model, x)
        >>> qmodel = tfxp.quantize_model(model, "w3a3", stats)
        >>> error = calibrate_model(qmodel, x)
        >>> error["after_bias"] <= error["before"]
        True

    References:
        Rounding: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization",
        ICML 2020.
        Bias correction: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
        Correction", ICCV 2019, sec. 4.2, with measured means.
    """
    if not 0 <= held_back < 1:
        raise ConfigError(f"held_back: got {held_back}; expected 0 to below 1.")
    if method not in METHODS:
        hint = did_you_mean(method, METHODS)
        raise ConfigError(f"calibration: got method {method!r}; expected one of {METHODS}.{hint}")
    data = _budgeted(qmodel, data, samples)
    batch_size = batch_size or samples_of_step(qmodel)
    task = _Calibration(qmodel, data, batch_size, held_back, seed, reporter(progress))
    task.plan_steps(refine_formats * sweeps, correct_bias * (1 + refine_formats), method)
    result = {"before": task.error()}
    if refine_formats:
        if correct_bias:  # shifted means hide what a binary point is worth
            task.attempt("first biases", task.correct_biases)
        if not task.interrupted:
            task.attempt("formats", lambda: task.refine(sweeps))
    result["after_formats"] = task.error()
    if method == "adaround" and not task.interrupted:
        settings = rounding or RoundingSettings(seed=seed)
        task.attempt("rounding", lambda: task.learn_rounding(settings))
        result["after_rounding"] = task.error()
    if correct_bias and not task.interrupted:
        task.attempt("biases", task.correct_biases)
    result["after_bias"] = task.error()
    if task.undone and result["after_bias"] == result["before"]:
        text = f"calibration: it did not help ({'; '.join(task.undone)}); the model is as it was."
        warnings.warn(f"{text} Use more data.", TrainingWarning, stacklevel=2)
    return result


def _budgeted(qmodel: KerasModel, data: Samples, samples: int | None) -> Samples:
    """The samples that are held: so many of a stream."""
    streams = isinstance(data, Source) or (hasattr(data, "element_spec") and not is_small(data))
    if samples is None and not streams:
        return data
    source = open_data(data, input_shapes(qmodel))
    if isinstance(source, ModelData):
        return source.take(samples).x
    held: Samples = source.in_memory(samples or samples_of_stream(qmodel)).x
    return held


class _Calibration:
    """The quantized network, its float twin's outputs, and the formats being moved."""

    def __init__(
        self,
        qmodel: KerasModel,
        data: Samples,
        batch_size: int,
        held_back: float,
        seed: int,
        progress: Report,
    ) -> None:
        self._progress, self._steps, self._all_steps = progress, 0, 0
        self._qmodel, self._network = qmodel, read_network(qmodel)
        plan, signature = self._network.plan, InputSignature.of(qmodel)
        arrays = signature.arrays(data, "calibration data")
        self._moved, self._held = (
            [
                _cast(arrays, rows[start : start + size], qmodel)
                for start in range(0, len(rows), size)
            ]
            for size in [signature.batch or batch_size]
            for rows in _split(len(arrays[0]), signature.batch or 1, held_back, seed)
        )
        self._forward = _compile(qmodel, plan)
        self._kind = OutputKind.of(qmodel) if len(qmodel.outputs) == 1 else OutputKind("none")
        self._float_model = plan.graph.to_model()
        float_forward = _compile(self._float_model, make_plan(plan.graph))
        self._float = {id(batch): float_forward(batch) for batch in [*self._moved, *self._held]}
        self.interrupted, self.undone = False, list[str]()

    def plan_steps(self, sweeps: int, centrings: int, method: str) -> None:
        """How many steps there will be at most: a tensor's format, a layer's rounding or bias."""
        layers = len(self._network.plan.macs)
        self._sweep = len(self._movable())
        self._all_steps = sweeps * self._sweep + layers * (centrings + (method == "adaround"))

    def error(self, batches: Batches | None = None, below: float = math.inf) -> float:
        """Relative squared error of the outputs over some batches; over all data by default.

        Args:
            batches: which.
            below: what it is compared with; where it is no smaller, infinity may stand for it.
        """
        return self._run(batches, below)[0]

    def _run(self, batches: Batches | None = None, below: float = math.inf) -> tuple[float, Any]:
        """The error, and the sums of channels behind each kernel."""
        batches = [*self._moved, *self._held] if batches is None else batches
        wanted = [self._float[id(batch)][0] for batch in batches]
        power = sum(float(tf.reduce_sum(part**2)) for parts in wanted for part in parts)
        total, sums = 0.0, []
        for batch, parts in zip(batches, wanted, strict=True):
            outputs, tapped = self._forward(batch)
            pairs = zip(outputs, parts, strict=True)
            total += sum(float(tf.reduce_sum((a - b) ** 2)) for a, b in pairs)
            if total / max(power, 1e-30) >= below:  # it only grows
                return math.inf, None
            sums.append(tapped)
        return total / max(power, 1e-30), _added(sums)

    def attempt(self, what: str, run: Callable[[], None]) -> None:
        """Run a step; undo it unless held-back samples come nearer and no decision is lost."""
        held = self._held or self._moved
        kept, weights = self._network, self._qmodel.get_weights()
        before, right = self.error(held), self._decisions()
        try:
            run()
        except KeyboardInterrupt:
            self.interrupted = True
        after, still_right = self.error(held), self._decisions()
        if after < before and still_right >= right:
            return
        self._qmodel.set_weights(weights)
        self._network = kept
        if still_right < right:
            words = f"{right:g} decisions as in float before and {still_right:g} after"
            self.undone.append(f"{what}: {words}")
        elif after > before:
            self.undone.append(f"{what}: error {before:.3g} before and {after:.3g} after")

    def _decisions(self) -> float:
        """Decisions of a classifier that are those of its float twin; 0 for other networks."""
        if self._kind.activation != "softmax":
            return 0.0
        pairs = [
            (self._kind.rows(wanted[0][0]), self._kind.rows(self._forward(batch)[0][0]))
            for batch in [*self._moved, *self._held]
            for wanted in [self._float[id(batch)]]
        ]
        return sum(float(self._kind.hits(*pair)) for pair in pairs)

    def refine(self, sweeps: int) -> None:
        """Coordinate descent over the binary points."""
        best = self.error(self._moved)
        for sweep in range(sweeps):
            start = best
            for name, tensor in self._movable():
                best = self._move(name, tensor, best)
                self._report(f"formats: {name} {tensor}", best)
            if best >= start * (1 - 1e-3):
                self._all_steps -= (sweeps - 1 - sweep) * self._sweep
                break

    def learn_rounding(self, settings: RoundingSettings) -> None:
        """Choose floor or ceil for every weight, one layer after the other."""

        def report(layer: Reconstruction) -> None:
            self._report(f"rounding: {layer.layer}", layer.learned)

        learn_rounding(
            self._qmodel, self._float_model, self._network.plan, self._moved, settings, report
        )

    def _report(self, what: str, error: float) -> None:
        self._steps += 1
        self._progress(self._steps, self._all_steps, f"{what}, error {error:.3g}")

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
                error = math.inf
                try:
                    self._assign(name, _shifted(kept, tensor, step))
                    error = self.error(self._moved, best)
                finally:  # Ctrl-C leaves no trial behind
                    if not error < best:
                        self._assign(name, kept)
                if not error < best:
                    break
                best = error
        return best

    def _assign(self, name: str, formats: LayerFormats) -> None:
        self._network = self._network.with_formats({**self._network.formats, name: formats})
        self._network.assign_formats()

    def correct_biases(self) -> None:
        """Centre the outputs of one layer after the other."""
        best, sums = self._run(self._moved)
        wanted = _added([self._float[id(batch)][1] for batch in self._moved])
        samples = sum(len(batch[0]) for batch in self._moved)
        for index, name in enumerate(self._network.plan.macs):
            layer = self._qmodel.get_layer(name)
            inner = getattr(layer, "layer", layer)
            bias = getattr(inner, str(self._network.role(name).bias), None)
            if bias is None:
                continue
            kept, error = bias.numpy(), math.inf
            try:
                bias.assign(kept + (wanted[index] - sums[index]) / samples)
                error, found = self._run(self._moved, best)
            finally:
                if not error < best:  # a clipped layer can be pushed the wrong way
                    bias.assign(kept)
            if error < best:
                best, sums = error, found
            self._report(f"bias: {name}", best)


def _added(sums: list[list[tf.Tensor]]) -> list[np.ndarray]:
    """Sums of channels over all batches, one array a kernel."""
    return [sum(part.numpy() for part in parts) for parts in zip(*sums, strict=True)]


def _split(samples: int, unit: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample numbers to move by and to judge by, in whole units; few samples are not divided."""
    units = samples // unit
    count = round(share * units) if units >= _FEWEST else 0
    order = np.random.default_rng(seed).permutation(units)
    rows = np.arange(units * unit).reshape(units, unit)
    return rows[np.sort(order[count:])].ravel(), rows[np.sort(order[:count])].ravel()


def _cast(arrays: list[np.ndarray], rows: np.ndarray, model: KerasModel) -> list[tf.Tensor]:
    pairs = zip(arrays, model.inputs, strict=True)
    return [tf.cast(array[rows], tensor.dtype) for array, tensor in pairs]


def _compile(model: KerasModel, plan: QuantizationPlan) -> Callable[[list[tf.Tensor]], Any]:
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
        weights = tuple(_shift(fmt, step) for fmt in formats.weights)
        return dataclasses.replace(formats, weights=weights)
    assert formats.activations is not None
    return dataclasses.replace(formats, activations=_shift(formats.activations, step))


def _shift(fmt: Format, step: int) -> Format:
    assert isinstance(fmt, FixedPointFormat)
    integer, fractional = fmt.integer_bits - step, fmt.fractional_bits + step
    return dataclasses.replace(fmt, integer_bits=integer, fractional_bits=fractional)
