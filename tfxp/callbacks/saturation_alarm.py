"""Says when a layer dies or hits the ends of its format."""

from __future__ import annotations

import os
import warnings
from typing import Any

import tensorflow as tf

from tfxp.callbacks.observer import Figures, Observer, nested
from tfxp.callbacks.tensor_taps import Grid, Key, Tap
from tfxp.errors import ConfigError
from tfxp.keras_types import Samples


class SaturationWarning(UserWarning):
    """A tensor became all zero, not finite, or sits at the ends of its format."""


class SaturationAlarm(Observer):
    """Warns when a tensor becomes all zero, saturates, or is not finite; names layer and tensor.

        zero       (number of zeros) / n >= max_zero
        saturated  (number of values at the ends of the grid) / n > t,
                   t = 1 - (1 - max_saturated) (1 - ends / codes)

    A tensor that is spread evenly over its format has `ends / codes` of its values at the ends:
    two thirds in a symmetric 2-bit format, one in 128 at 8 bits; t lies between that and 1. The
    end at zero of unsigned formats counts as zeros, not as saturation. Float tensors are watched
    for zeros and for values that are not finite, binary ones for the latter.

    A tensor is warned of once, and again if it recovered in between. `alarms` holds what is wrong
    now: (layer, tensor) -> sentence.

    Args:
        data: inputs to compute activations on; None watches weights alone.
        log_dir: folder for saturation.jsonl and TensorBoard's events.
        max_zero: share of zeros that is too much.
        max_saturated: share at the ends that is too much in a wide format.
        stop_training: stop the training at the first alarm.
        options: `every`, `samples`, `max_share`, `tensorboard`, as in `Observer`.

    Raises:
        ConfigError: a share outside (0, 1].

    Example:
        >>> alarm = SaturationAlarm(max_saturated=0.25)
        >>> round(alarm.limit(codes=256, ends=2), 3), alarm.limit(codes=4, ends=1)
        (0.256, 0.4375)
    """

    name = "saturation"

    def __init__(
        self,
        data: Samples | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        *,
        max_zero: float = 1.0,
        max_saturated: float = 0.5,
        stop_training: bool = False,
        **options: Any,
    ) -> None:
        if not (0 < max_zero <= 1 and 0 < max_saturated <= 1):
            raise ConfigError(
                f"SaturationAlarm: got max_zero={max_zero}, max_saturated={max_saturated}; "
                "expected shares above 0 and up to 1."
            )
        super().__init__(data, log_dir, **options)
        self.alarms: dict[Key, str] = {}
        self._max_zero, self._max_saturated = max_zero, max_saturated
        self._stop = stop_training

    def limit(self, codes: int, ends: int) -> float:
        """Share of values at the ends of a format that is still let pass.

        Args:
            codes: how many codes the format has.
            ends: how many of them are ends: 2, or 1 if one end is zero.
        """
        return 1 - (1 - self._max_saturated) * (1 - ends / codes)

    def reduce(self, values: tf.Tensor, grid: Grid, tap: Tap) -> dict[str, Any]:
        """Shares of zeros, of values at the ends, and of what is not finite."""
        count = tf.cast(tf.size(values), tf.float32)

        def share(condition: tf.Tensor) -> Any:
            return tf.math.count_nonzero(condition, dtype=tf.float32) / count

        source = values if tap.variable is None else tf.convert_to_tensor(tap.variable)
        figures = {
            "zeros": share(tf.equal(values, 0.0)),
            "not_finite": share(~tf.math.is_finite(source)),
        }
        if grid is None or "qmax" not in grid or getattr(tap.quantizer, "binary", False):
            return figures
        # Codes; half a step of room, since a rounded product is compared.
        codes, low, high = values / grid["scale"], grid["qmin"], grid["qmax"]
        at_low = (codes <= low + 0.5) & (low < 0)
        figures["saturated"] = share(at_low | (codes >= high - 0.5))
        ends = tf.where(low < 0, 2.0, 1.0)
        figures["limit"] = self.limit(high - low + 1.0, ends)
        return figures

    def record(self, figures: Figures) -> dict[str, Any]:
        """Shares by layer and tensor, and the alarms."""
        alarms = {key: text for key, found in figures.items() if (text := self._alarm(key, found))}
        for key in [key for key in alarms if key not in self.alarms]:
            warnings.warn(self._when() + alarms[key], SaturationWarning, stacklevel=2)
        self.alarms = alarms
        if alarms and self._stop:
            self.model.stop_training = True
        return {"alarms": list(alarms.values()), "tensors": nested(figures)}

    def _when(self) -> str:
        return "before training: " if self._epoch < 0 else f"epoch {self._epoch + 1}: "

    def _alarm(self, key: Key, found: dict[str, Any]) -> str:
        name = f"{key[1]} of layer {key[0]!r}"
        if found["not_finite"] > 0:
            return (
                f"{name}: {found['not_finite']:.1%} of the values are NaN or infinite. Lower the "
                "learning rate."
            )
        if key[1] != "bias" and found["zeros"] >= self._max_zero:
            return (
                f"{name}: {found['zeros']:.1%} of the values are zero. Give it more bits or a "
                "finer format."
            )
        if found.get("saturated", 0.0) > found.get("limit", 1.0):
            return (
                f"{name}: {found['saturated']:.1%} of the values lie at the ends of the format "
                f"(up to {found['limit']:.1%} is let pass). Give it more integer bits."
            )
        return ""
