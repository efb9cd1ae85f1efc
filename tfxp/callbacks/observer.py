"""What observing callbacks share: when they look, how long they may take, where it goes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfxp.callbacks.event_log import EventLog
from tfxp.callbacks.tensor_taps import Grid, Key, Reduce, Tap, TensorTaps
from tfxp.devices import require_one_worker, step_count, strategy_of
from tfxp.errors import ConfigError
from tfxp.keras import keras
from tfxp.keras_types import Samples

if TYPE_CHECKING:
    import tensorflow as tf

Figures = dict[Key, dict[str, np.ndarray]]


class Observer(keras.callbacks.Callback):
    """Base of callbacks that look at tensors while a model trains.

    It looks before the first step, at the end of every epoch (or every so many steps), and after
    the last step. In between it looks only while its own time, what it is about to spend included,
    stays below `max_share` of the time spent on training; whatever would exceed that is left out.
    The look before the first step, which builds the graph, and the last one do not count.

    Args:
        data: inputs to compute activations on; None looks at weights alone.
        log_dir: folder for `<name>.jsonl` and TensorBoard's events; None keeps records in
            `self.records` only.
        every: "epoch", or a number of steps.
        samples: how many inputs are used, the first ones.
        max_share: part of the training time that may be spent; None looks every time.
        tensorboard: whether to write events beside the lines.

    Raises:
        ConfigError: an argument outside its range.
        OutputError: `log_dir` takes no files.
    """

    name = "observer"

    def __init__(
        self,
        data: Samples | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        *,
        every: str | int = "epoch",
        samples: int = 32,
        max_share: float | None = 0.05,
        tensorboard: bool = True,
    ) -> None:
        super().__init__()
        if every != "epoch" and (not isinstance(every, int) or every < 1):
            raise ConfigError(f"every: got {every!r}; expected 'epoch' or a number of steps.")
        if samples < 1 or (max_share is not None and max_share < 0):
            raise ConfigError(
                f"{type(self).__name__}: got samples={samples}, max_share={max_share}; expected "
                "at least 1 sample and a share that is not negative."
            )
        self.records: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.skipped = 0
        self._supports_tf_logs = True  # nothing is read from the logs of a step
        self._data, self._every, self._samples = data, every, samples
        self._max_share = max_share
        self._log = EventLog(log_dir, self.name, tensorboard)
        self._measure: Callable[[], Figures] | None = None
        self._seen: Any = None
        self._epoch = -1
        self._step = 0
        self._observed_step = -1

    def reduce(self, values: tf.Tensor, grid: Grid, tap: Tap) -> dict[str, Any]:
        """Figures of one tensor, in TensorFlow operations; subclasses say which."""
        raise NotImplementedError

    def record(self, figures: Figures) -> dict[str, Any]:
        """What a line of the log holds besides epoch and step; subclasses shape it."""
        return {"tensors": nested(figures)}

    def make_measure(self) -> Callable[[], Figures]:
        """The function that is called at every look; most subclasses only define `reduce`."""
        reduce: Reduce = self.reduce
        return TensorTaps(self.model, self._data, self._samples).compile(reduce)

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Build, and look at the state before the first step."""
        require_one_worker(strategy_of(self.model), type(self).__name__)
        if self._measure is None or self._seen is not self.model:
            self._measure, self._seen = self.make_measure(), self.model
        self._step = self._first_step()
        self._epoch = -1
        self._look()
        started = time.perf_counter()
        self._measure()  # once more without tracing, to know what a look costs
        self._cost = time.perf_counter() - started
        self.seconds, self.skipped = 0.0, 0
        self._started = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Look every so many steps."""
        self._step += 1
        if self._every != "epoch" and self._step % int(self._every) == 0:
            self._look_if_affordable()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Look at the end of an epoch."""
        if self._every == "epoch":
            self._look_if_affordable()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Look at the final state, whatever it costs."""
        if self._observed_step != self._step:
            self._look()
        self._log.close()

    def _look_if_affordable(self) -> None:
        if self._max_share is not None:
            training = time.perf_counter() - self._started - self.seconds
            if self.seconds + self._cost > self._max_share * training:
                self.skipped += 1
                return
        started = time.perf_counter()
        self._look()
        self._cost = time.perf_counter() - started
        self.seconds += self._cost

    def _look(self) -> None:
        assert self._measure is not None
        self._observed_step = self._step
        figures = self._measure()
        record = {"epoch": self._epoch, "step": self._step, **self.record(figures)}
        self.records.append(record)
        self._log.write(record, self.scalars(figures), self.histograms(figures))

    def scalars(self, figures: Figures) -> dict[str, float]:
        """TensorBoard's curves: every figure that is one number, as "figure/layer/tensor"."""
        return {
            f"{name}/{layer}/{tensor}": float(value)
            for (layer, tensor), found in figures.items()
            for name, value in found.items()
            if np.ndim(value) == 0
        }

    def histograms(self, figures: Figures) -> dict[str, np.ndarray]:
        """TensorBoard's histograms: every figure that is a row of counts."""
        return {
            f"{name}/{layer}/{tensor}": value
            for (layer, tensor), found in figures.items()
            for name, value in found.items()
            if np.ndim(value) == 1
        }

    def _first_step(self) -> int:
        """Steps the optimizer has done, so that a resumed training goes on counting."""
        return step_count(self.model)


def nested(figures: Mapping[Key, Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Layer -> tensor -> figures.

    Example:
        >>> nested({("conv", "weights"): {"zeros": 0.5}})
        {'conv': {'weights': {'zeros': 0.5}}}
    """
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for (layer, tensor), found in figures.items():
        result.setdefault(layer, {})[tensor] = dict(found)
    return result
