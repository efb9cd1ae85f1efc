"""The best model so far as a verified integer file."""

from __future__ import annotations

import operator
import os
import tempfile
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfxp.callbacks.event_log import EventLog
from tfxp.callbacks.tensor_taps import first_samples
from tfxp.devices import require_one_worker, step_count, strategy_of
from tfxp.errors import ConfigError, ExportError
from tfxp.export import export_tflite
from tfxp.export.check_exportable import check_exportable
from tfxp.files import check_writable
from tfxp.keras import keras
from tfxp.keras_types import Samples
from tfxp.quantization.read_network import read_network

_MODES = ("auto", "max", "min")


class ExportCheckpoint(keras.callbacks.Callback):
    """Exports the model as `.tflite` at every epoch that is the best so far, and verifies it.

    An export takes seconds; a trial before the first step, which is thrown away, says how many.
    Where one would take the callback beyond `max_share` of the time spent on training, the best
    weights are kept in memory instead, and exported when the training ends. After `fit` the file
    always is the best epoch's. It is written whole or not at all, so what is there can be picked
    up at any time.

    Args:
        path: file to write.
        verify: inputs on which Keras, tfxp's interpreter and LiteRT are compared, element by
            element; the first `samples` of them.
        monitor: figure of the epoch's logs that decides, such as "val_accuracy".
        mode: "max", "min", or "auto": "max" for names with "acc" or "auc" in them.
        log_dir: folder for exports.jsonl and TensorBoard's events.
        samples: how many inputs are compared.
        max_share: part of the training time that may be spent; None exports every time.
        tensorboard: whether to write events beside the lines.
        options: further arguments of `tfxp.export_tflite`.

    Raises:
        ConfigError: an argument outside its range; while training: the logs lack `monitor`.
        ExportError: at the start of training: the model cannot be written as integers.
        OutputError: the path cannot be written.

    Example:
        >>> best = ExportCheckpoint("best.tflite", x, monitor="val_accuracy")   # doctest: +SKIP
        >>> qmodel.fit(x, y, validation_split=0.1, callbacks=[best])            # doctest: +SKIP
        >>> best.report.verification.mismatches_litert                          # doctest: +SKIP
        0
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        verify: Samples,
        monitor: str = "val_loss",
        mode: str = "auto",
        log_dir: str | os.PathLike[str] | None = None,
        *,
        samples: int = 32,
        max_share: float | None = 0.05,
        tensorboard: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        if mode not in _MODES or samples < 1 or (max_share is not None and max_share < 0):
            raise ConfigError(
                f"ExportCheckpoint: got mode={mode!r}, samples={samples}, max_share={max_share}; "
                f"expected a mode of {', '.join(_MODES)}, at least 1 sample and no negative share."
            )
        check_writable(path)
        if mode == "auto":
            mode = "max" if "acc" in monitor or "auc" in monitor.lower() else "min"
        self.path, self.monitor = path, monitor
        self.report: Any = None
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.seconds = 0.0
        self._better = operator.gt if mode == "max" else operator.lt
        self._verify, self._samples, self._options = verify, samples, options
        self._max_share, self._cost = max_share, 0.0
        self._log = EventLog(log_dir, "exports", tensorboard)
        self._pending: list[np.ndarray] | None = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Say now what could not be exported later."""
        require_one_worker(strategy_of(self.model), "ExportCheckpoint")
        check_exportable(read_network(self.model))
        batch = first_samples(self.model, self._verify, self._samples)
        self._inputs = [part.numpy() for part in batch]
        self._pending, self.best, self.best_epoch = None, None, None
        if self._max_share is not None:
            with tempfile.TemporaryDirectory() as folder:
                self._timed_export(os.path.join(folder, "trial.tflite"))
        self._started = time.perf_counter()
        self.seconds = 0.0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Export, or keep the weights, if this epoch is the best so far.

        Args:
            epoch: its number, from 0.
            logs: figures of the epoch, as Keras names them.

        Raises:
            ConfigError: the watched figure is not among them.
        """
        logs = logs or {}
        if self.monitor not in logs:
            raise ConfigError(
                f"monitor of ExportCheckpoint: got {self.monitor!r}; expected one of "
                f"{', '.join(logs) or 'nothing, the epoch has no figures'}."
            )
        value = float(logs[self.monitor])
        # A first value that is NaN is no best.
        if np.isnan(value) or (self.best is not None and not self._better(value, self.best)):
            return
        self.best, self.best_epoch = value, epoch
        if self._affordable():
            self._export()
            self._pending = None
        else:
            self._pending = self.model.get_weights()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Export what is still owed."""
        if self._pending is not None:
            now = self.model.get_weights()
            self.model.set_weights(self._pending)
            try:
                self._export()
            finally:
                self.model.set_weights(now)
            self._pending = None
        self._log.close()

    def _affordable(self) -> bool:
        if self._max_share is None:
            return True
        training = time.perf_counter() - self._started - self.seconds
        return self.seconds + self._cost <= self._max_share * training

    def _timed_export(self, path: str | os.PathLike[str]) -> Any:
        started = time.perf_counter()
        inputs = self._inputs if len(self._inputs) > 1 else self._inputs[0]
        report = export_tflite(self.model, path, verify=inputs, **self._options)
        self._cost = time.perf_counter() - started
        return report

    def _export(self) -> None:
        try:
            self.report = self._timed_export(self.path)
        except ExportError as error:  # the training is worth more than the file
            warnings.warn(f"{os.fspath(self.path)!r} is not written: {error}", stacklevel=2)
            return
        self.seconds += self._cost
        figures = self.report.to_dict()
        record = {
            "epoch": self.best_epoch,
            "step": step_count(self.model),
            self.monitor: self.best,
            **figures,
        }
        kept = ("mismatches_interpreter", "mismatches_litert", "tflite_bytes")
        scalars = {f"export/{name}": float(figures[name]) for name in kept}
        self._log.write(record, {**scalars, f"export/{self.monitor}": float(self.best or 0.0)})
