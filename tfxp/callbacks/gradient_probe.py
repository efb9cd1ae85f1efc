"""What one ordinary float training says about the precision of all tensors of back-propagation."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.assign.training_stats import LayerTrainingStats, TrainingStats
from tfxp.callbacks.one_fit_step import OneFitStep
from tfxp.callbacks.tensor_taps import first_samples
from tfxp.devices import learning_rate, require_one_replica
from tfxp.errors import ConfigError, DataError, ModelError
from tfxp.files import check_writable, write_json
from tfxp.keras import keras
from tfxp.keras_types import KerasModel, Samples
from tfxp.measure.jacobian import FORMS, jacobian_singular_values
from tfxp.measure.noise_gains import noise_gains
from tfxp.measure.training_taps import TrainingTaps, range_of, training_taps
from tfxp.transforms.custom_training import LOSS_KINDS

_TENSORS = ("weight_gradients", "activation_gradients")


class GradientProbe(keras.callbacks.Callback):
    """Watches every weight and activation gradient of a float `fit`, and writes what it learned.

        v <- m v + (1 - m) var(g)        on every `every`-th step; sigma = sqrt(v), once per epoch

    Gradients are those of the training step itself: the step is computed as Keras does, and the
    gradients of activations, which back-propagation forms anyway, are kept. Between the steps that
    are looked at nothing is added, and later fits are the model's own, however this one ends. After
    the training, or with `data` after its `jacobian_epoch`, noise gains and Jacobians are measured,
    and everything goes into one file that `assign_precision --method=sakr` reads.

    Args:
        path: JSON file of the statistics; None keeps them in `self.stats()` only.
        data: inputs for noise gains, Jacobians and ranges, such as 200 validation images; None
            leaves them out, and the file cannot be solved.
        every: steps from one look to the next; 10 costs some percent.
        memory: m; 0.9 in the authors' script.
        samples: how many of `data` the noise gains are averaged over.
        batch_size: how many of `data` the Jacobian is taken on.
        jacobian: "exact" or "simplified" (the authors' script); see `jacobian_singular_values`.
        jacobian_epoch: when the Jacobian is taken; at the end of shorter trainings.

    Raises:
        ConfigError: a setting outside its range.
        OutputError: the path takes no file.
        ModelError: at the start of training: a train_step of its own, mixed precision, or a layer
            inside a nested model.

    Example:
        >>> from tfxp.callbacks import GradientProbe
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([
        ...     layers.Dense(8, activation="relu", input_shape=(4,), name="a"),
        ...     layers.Dense(3, name="b")])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).normal(size=(64, 4)), np.arange(64) % 3
        >>> probe = GradientProbe(data=x, every=1, samples=8)
        >>> history = model.fit(x, y, callbacks=[probe], epochs=2, verbose=0)
        >>> sorted(probe.stats().layers)
        ['a', 'b']

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019; the authors' train_probe_save.py. Departures: the running variance
        starts from the first value instead of 0, and not every step is looked at.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        data: Samples | None = None,
        *,
        every: int = 10,
        memory: float = 0.9,
        samples: int = 200,
        batch_size: int = 64,
        jacobian: str = "exact",
        jacobian_epoch: int = 5,
    ) -> None:
        super().__init__()
        if every < 1 or samples < 1 or batch_size < 1 or not 0 <= memory < 1:
            raise ConfigError(
                f"GradientProbe: got every={every}, samples={samples}, batch_size={batch_size}, "
                f"memory={memory}; expected positive numbers and a memory from 0 to below 1."
            )
        if jacobian not in FORMS:
            raise ConfigError(f"jacobian: got {jacobian!r}; expected one of {FORMS}.")
        check_writable(path)
        self._path, self._data = path, data
        self._every, self._memory = every, memory
        self._samples, self._batch_size = samples, batch_size
        self._jacobian, self._jacobian_epoch = jacobian, jacobian_epoch
        self.history: list[dict[str, Any]] = []
        self._taps: TrainingTaps | None = None
        self._singular: dict[str, float] = {}
        self._gains: dict[tuple[str, str], float] = {}

    def set_model(self, model: KerasModel) -> None:
        """Put the probing step in the place of the model's own, for one fit.

        Args:
            model: the model that is about to be fitted.

        Raises:
            ModelError: its training cannot be probed.
        """
        super().set_model(model)
        _check_model(model)
        instead = "Probe the training on one device; its statistics serve any number."
        require_one_replica(model, "GradientProbe", instead)
        self._taps = training_taps(model)
        tensors = self._taps.tensors(model)
        # Losses of `model.add_loss` are layers of their own, which must run in every step.
        losses = [layer.output for layer in model.layers if type(layer).__name__ in LOSS_KINDS]
        self._probe = keras.Model(model.inputs, [*model.outputs, *tensors.values(), *losses])
        self._kernels = [self._taps.kernel_of(n, model.get_layer(n)) for n in self._taps.macs]
        self._names = [("weight_gradients", name) for name in self._taps.macs]
        self._names += [("activation_gradients", owner) for owner in tensors]
        count = len(self._names)
        self._variance = tf.Variable(tf.fill([count], -1.0), trainable=False)
        self._largest = tf.Variable(tf.zeros([count]), trainable=False)
        self._steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._one_fit = OneFitStep(model, self._train_step)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Take up what an interrupted training had seen before this epoch."""
        if self.history or epoch == 0 or self._path is None:
            return
        with contextlib.suppress(OSError, ValueError, KeyError):
            state = json.loads(_partial(self._path).read_text(encoding="utf-8"))
            self.history = [r for r in state["history"] if r["epoch"] < epoch]
            self._variance.assign(state["variance"])
            self._singular = state["singular"]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Note the running variances and maxima of the epoch."""
        sigma = np.sqrt(np.maximum(self._variance.numpy(), 0.0))
        largest = self._largest.numpy()
        record: dict[str, Any] = {
            "epoch": epoch,
            "learning_rate": learning_rate(self.model),
            **{tensor: {} for tensor in _TENSORS},
        }
        for (tensor, name), s, m in zip(self._names, sigma, largest, strict=True):
            record[tensor][name] = {"sigma": float(s), "max": float(m)}
        self.history.append(record)
        self._largest.assign(tf.zeros_like(self._largest))
        if self._path is not None:
            state = {"history": self.history, "variance": self._variance.numpy()}
            write_json(_partial(self._path), {**state, "singular": self._singular})
        if epoch + 1 == self._jacobian_epoch:
            self._measure_jacobian()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Give the model its own step back, measure the trained network, write the file."""
        self._one_fit.end()
        if self._data is not None and self.history:
            if not self._singular:
                self._measure_jacobian()
            self._gains = noise_gains(self.model, self._first(self._samples))
            if self._path is not None:
                self.stats().save(self._path)
                _partial(self._path).unlink(missing_ok=True)

    def stats(self) -> TrainingStats:
        """What was learned, as the solver takes it.

        Raises:
            DataError: no epoch was seen yet, or a gradient was zero or not finite throughout.
        """
        if not self.history or self._taps is None:
            raise DataError("gradient probe: got no epoch; expected one. Call fit first.")
        rates = [record["learning_rate"] for record in self.history]
        names = dict.fromkeys([*self._taps.plan.points])
        layers = {name: self._layer(name) for name in names if self._is_known(name)}
        return TrainingStats(layers, min(rates), self.history)

    def _is_known(self, name: str) -> bool:
        assert self._taps is not None
        return name in self._taps.activations or name in self._taps.macs

    def _layer(self, name: str) -> LayerTrainingStats:
        assert self._taps is not None
        fields: dict[str, Any] = {"name": name}
        if name in self._taps.macs:
            sigmas = self._sigmas("weight_gradients", name)
            target = self._taps.gradient_tensor[name]
            kernel = self._kernels[self._taps.macs.index(name)].numpy()
            fields |= {
                "weight_gain": self._gains.get((name, "weights")),
                "weight_range": max(1.0, range_of(kernel)),
                "weight_gradient_sigma": (max(sigmas), min(sigmas)),
                "jacobian_singular_value": self._singular.get(name),
                "gradient_tensor": None if target == name else target,
            }
        tap = self._taps.activations.get(name)
        if tap is not None:
            fields |= {
                "activation_gain": self._gains.get((name, "activations")),
                "activation_range": self._activation_range(name),
                "activation_signed": tap.signed,
                "activation_gradient_sigma": max(self._sigmas("activation_gradients", name)),
            }
        return LayerTrainingStats(**fields)

    def _sigmas(self, tensor: str, name: str) -> list[float]:
        return [record[tensor][name]["sigma"] for record in self.history]

    def _activation_range(self, name: str) -> float:
        """The limit of the ReLU, or the power of two that holds everything seen in `data`."""
        assert self._taps is not None
        tap = self._taps.activations[name]
        if np.isfinite(tap.limit) and np.log2(tap.limit) == np.round(np.log2(tap.limit)):
            return float(tap.limit)
        if self._data is None:
            return 2.0
        if not hasattr(self, "_ranges"):
            outputs = self._probe.predict(self._first(self._samples), verbose=0)
            self._ranges = dict(zip(self._taps.activations, self._tapped(outputs), strict=True))
        return range_of(self._ranges[name])

    def _first(self, samples: int) -> list[np.ndarray]:
        assert self._data is not None
        return [np.asarray(part) for part in first_samples(self.model, self._data, samples)]

    def _measure_jacobian(self) -> None:
        if self._data is not None:
            batch = self._first(self._batch_size)
            self._singular = jacobian_singular_values(self.model, batch, form=self._jacobian)

    def _train_step(self, data: Any) -> dict[str, Any]:
        """Keras' own step, with the gradients of activations beside those of weights."""
        model = self.model
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        own = len(model.outputs)
        with tf.GradientTape() as tape:
            found = tf.nest.flatten(self._probe(x, training=True))
            predicted = found[0] if own == 1 else found[:own]
            if own > 1:
                predicted = tf.nest.pack_sequence_as(model.output, predicted)
            loss = model.compute_loss(x, y, predicted, weight)
            # Behind a softmax of its own a layer's tensor is its logits, which Keras remembers.
            points = [getattr(tensor, "_keras_logits", tensor) for tensor in self._tapped(found)]
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [*variables, *points])
        count = len(variables)
        model.optimizer.apply_gradients(zip(gradients[:count], variables, strict=True))
        by_id = {id(v): g for v, g in zip(variables, gradients[:count], strict=True)}
        watched = [by_id.get(id(kernel)) for kernel in self._kernels] + gradients[count:]
        tf.cond(tf.equal(self._steps % self._every, 0), lambda: self._look(watched), lambda: 0)
        self._steps.assign_add(1)
        return model.compute_metrics(x, y, predicted, weight)

    def _tapped(self, outputs: list[Any]) -> list[Any]:
        """The activation tensors among the probe's outputs."""
        assert self._taps is not None
        own = len(self.model.outputs)
        return outputs[own : own + len(self._taps.activations)]

    def _look(self, gradients: list[Any]) -> int:
        """Update running variances and maxima; a gradient that is not finite changes nothing."""
        held = [tf.zeros([1]) if g is None else tf.cast(g, tf.float32) for g in gradients]
        now = tf.stack([tf.math.reduce_variance(gradient) for gradient in held])
        smooth = self._memory * self._variance + (1 - self._memory) * now
        new = tf.where(self._variance < 0, now, smooth)
        self._variance.assign(tf.where(tf.math.is_finite(now), new, self._variance))
        largest = tf.stack([tf.reduce_max(tf.abs(gradient)) for gradient in held])
        self._largest.assign(tf.maximum(self._largest, largest))
        return 0


def _partial(path: str | os.PathLike[str]) -> Path:
    """Where the history of an unfinished training lies."""
    return Path(f"{os.fspath(path)}.partial")


def _check_model(model: keras.Model) -> None:
    if type(model).train_step is not keras.Model.train_step or "train_step" in vars(model):
        raise ModelError(
            f"model {model.name!r}: got a {type(model).__name__} with a train_step of its own; "
            "expected Keras' own, which GradientProbe replaces by one that keeps gradients."
        )
    if isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer):
        raise ModelError(
            f"optimizer of {model.name!r}: got a LossScaleOptimizer; expected a plain one, because "
            "scaled gradients say nothing about ranges. Train in float32."
        )
