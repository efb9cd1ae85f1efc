"""Lower precision step by step while a model trains."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tfxp.callbacks.event_log import EventLog
from tfxp.devices import step_count
from tfxp.errors import ConfigError
from tfxp.keras import keras
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.quantization import precision_of, set_precision


class PrecisionSchedule(keras.callbacks.Callback):
    """Gives the model another precision map from certain epochs on, through `set_precision`.

        precision(epoch) = schedule[max(e for e in schedule if e <= epoch)]

    Nothing is rebuilt or retraced; weights and optimizer state stay. A training that is resumed
    with `initial_epoch` gets the precision of that epoch. All maps are tried before the first
    step, so that a mistake in the last one does not wait for its epoch.

    Args:
        schedule: epoch (from 0) -> precision map or shorthand, such as {0: "w8a8", 5: "w4a4"}.
        stats: what `tfxp.measure_model` returned; by default what the model was quantized with in
            this process. Needed where a map gives numbers of bits for activations.
        fit: how bits are split, as in `tfxp.quantize_model`.
        log_dir: folder for precision.jsonl and TensorBoard's events.
        tensorboard: whether to write events beside the lines.

    Raises:
        ConfigError: the schedule is empty, or an epoch is no whole number from 0 on.
        PrecisionError: at the start of training: a map does not fit the model.

    Example:
        >>> schedule = PrecisionSchedule({0: "w8a8", 3: "w6a6", 6: "w4a4"})
        >>> schedule.at(4)
        'w6a6'

    References:
        Bit widths by schedule are asked for in IntelLabs/distiller issue 476.
    """

    def __init__(
        self,
        schedule: Mapping[int, PrecisionMap | str],
        stats: ModelStats | None = None,
        *,
        fit: str = "mse",
        log_dir: str | os.PathLike[str] | None = None,
        tensorboard: bool = True,
    ) -> None:
        super().__init__()
        wrong = [epoch for epoch in schedule if not isinstance(epoch, int) or epoch < 0]
        if wrong or not schedule:
            raise ConfigError(
                f"epochs of the precision schedule: got {wrong or 'none'}; expected whole numbers "
                "from 0 on, such as {0: 'w8a8', 5: 'w4a4'}."
            )
        self.schedule = dict(sorted(schedule.items()))
        for precision in self.schedule.values():
            PrecisionMap.of(precision)  # complains about what it cannot read
        self._stats, self._fit = stats, fit
        self._supports_tf_logs = True
        self._log = EventLog(log_dir, "precision", tensorboard)
        self._current: int | None = None

    def at(self, epoch: int) -> PrecisionMap | str | None:
        """What the model should have in an epoch; None before the first entry."""
        entry = self._entry(epoch)
        return None if entry is None else self.schedule[entry]

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Try every map, then put back what the model had."""
        before = precision_of(self.model)
        try:
            for precision in self.schedule.values():
                set_precision(self.model, precision, self._stats, fit=self._fit)
        finally:
            set_precision(self.model, before)
        self._current = None

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Change the precision where the schedule says so."""
        entry = self._entry(epoch)
        if entry is None or entry == self._current:
            return
        set_precision(self.model, self.schedule[entry], self._stats, fit=self._fit)
        self._current = entry
        self._write(epoch)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Close the log."""
        self._log.close()

    def _entry(self, epoch: int) -> int | None:
        return max((start for start in self.schedule if start <= epoch), default=None)

    def _write(self, epoch: int) -> None:
        assert self._current is not None
        wanted, found = self.schedule[self._current], precision_of(self.model)
        scalars = {}
        for name, rule in found.layers.items():
            for tensor in ("weights", "activations"):
                formats = getattr(rule, tensor)
                first = formats[0] if isinstance(formats, tuple) else formats
                if hasattr(first, "bits"):
                    scalars[f"bits/{name}/{tensor}"] = float(first.bits)
        record = {
            "epoch": epoch,
            "step": step_count(self.model),
            "precision": wanted if isinstance(wanted, str) else "map",
            "map": found.to_dict(),
        }
        self._log.write(record, scalars)
