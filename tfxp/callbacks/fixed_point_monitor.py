"""Says when training in fixed point goes wrong, and in which tensor."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping

import numpy as np

from tfxp.callbacks.event_log import EventLog
from tfxp.callbacks.saturation_alarm import SaturationWarning
from tfxp.errors import ConfigError
from tfxp.files import atomic_path
from tfxp.keras import keras
from tfxp.quantization.read_network import wrappers_of
from tfxp.quantizers import GradientCounts


class FixedPointMonitor(keras.callbacks.Callback):
    """Watches the tensors of `FixedPointSGD` and the gradients of activations, epoch by epoch.

    It warns, with the names of layer and tensor, when

    - an accumulator saturates (more than 0.1 % of its elements) on more than `max_steps` of the
      steps of an epoch,
    - more than `max_clipped` of a gradient's elements are clipped,
    - a gradient or the loss is not finite, or the loss exceeds `explosion` times its first value.
      Then training stops; the checkpoint is that of the last sound epoch.

    Args:
        log_dir: folder for fixed_point.jsonl and TensorBoard's events, which get every share.
        checkpoint: a file of weights, written after every sound epoch; None writes none.
        max_steps: share of steps.
        max_clipped: share of elements; the criteria aim at 5 % or less.
        explosion: how much the loss may grow.
        stop_training: whether to stop at a loss that is not finite or explodes.

    Raises:
        ConfigError: a share outside 0 to 1, or an explosion of at most 1.

    Example:
        >>> monitor = FixedPointMonitor(max_steps=0.2)
        >>> monitor.alarms
        {}
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        max_steps: float = 0.1,
        max_clipped: float = 0.05,
        explosion: float = 100.0,
        stop_training: bool = True,
    ) -> None:
        super().__init__()
        if not (0 <= max_steps <= 1 and 0 <= max_clipped <= 1) or explosion <= 1:
            raise ConfigError(
                f"FixedPointMonitor: got max_steps={max_steps}, max_clipped={max_clipped}, "
                f"explosion={explosion}; expected shares from 0 to 1, and more than 1."
            )
        self.alarms: dict[tuple[str, str], str] = {}
        self._log = EventLog(log_dir, "fixed_point", tensorboard=False)
        self._checkpoint, self._stop = checkpoint, stop_training
        self._max_steps, self._max_clipped = max_steps, max_clipped
        self._explosion = explosion
        self._first_loss: float | None = None
        self._broken = False
        self._epoch = 0

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Remember what was counted before."""
        self._before = self._counts()
        self._broken = False

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Look at the loss."""
        loss = float((logs or {}).get("loss", 0.0))
        if self._first_loss is None and np.isfinite(loss):
            self._first_loss = max(loss, 1e-6)
        if np.isfinite(loss) and loss <= self._explosion * (self._first_loss or loss):
            return
        if not self._broken:
            self._broken = True
            self._warn("loss", "loss", self._reason(loss, batch))
            self.model.stop_training = self.model.stop_training or self._stop

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Compare shares with the limits; keep the weights of a sound epoch."""
        shares = self._shares()
        self._before = self._counts()
        self._log.write({"epoch": epoch, "step": epoch, "tensors": shares})
        for layer, tensors in shares.items():
            for tensor, share in tensors.items():
                self._judge(layer, tensor, share)
        if self._checkpoint is not None and not self._broken:
            with atomic_path(self._checkpoint) as temporary:
                self.model.save_weights(temporary)

    def _judge(self, layer: str, tensor: str, share: float) -> None:
        where = f"epoch {self._epoch + 1}: {tensor} of layer {layer!r}"
        if tensor == "accumulator_steps" and share > self._max_steps:
            text = (
                f"epoch {self._epoch + 1}: accumulators of layer {layer!r} saturate on "
                f"{100 * share:.1f} % of the steps; expected at most "
                f"{100 * self._max_steps:.1f} %. Widen the weights' range or lower the rate."
            )
            self._warn(layer, "accumulators", text)
        elif tensor.endswith("gradients") and share > self._max_clipped:
            text = (
                f"{where}: {100 * share:.1f} % of the elements are clipped; expected at most "
                f"{100 * self._max_clipped:.1f} %. Give the tensor a wider range."
            )
            self._warn(layer, tensor, text)
        elif tensor == "not_finite" and share > 0:
            self._warn(layer, "weight_gradients", f"{where}: NaN or infinite; not applied.")

    def _reason(self, loss: float, batch: int) -> str:
        bad = [layer for layer, found in self._shares().items() if found.get("not_finite", 0) > 0]
        named = f"; first in the weight gradient of layer {bad[-1]!r}" if bad else ""
        kept = f" The weights before are kept in {str(self._checkpoint)!r}."
        return (
            f"epoch {self._epoch + 1}, step {batch + 1}: the loss is {loss:.4g}{named}. Use a "
            f"smaller learning rate or wider formats.{kept if self._checkpoint else ''}"
        )

    def _warn(self, layer: str, tensor: str, text: str) -> None:
        if (layer, tensor) not in self.alarms:
            warnings.warn(text, SaturationWarning, stacklevel=3)
        self.alarms[layer, tensor] = text

    def _counts(self) -> dict[tuple[str, str], np.ndarray]:
        """(layer, tensor) -> [what was clipped, out of how many], since the beginning."""
        result = {}
        optimizer = self.model.optimizer
        for name, counts in getattr(optimizer, "counts", dict)().items():
            layer = name.rpartition("/")[0]
            for tensor in ("weight_gradients", "weights", "accumulators", "not_finite"):
                result[layer, tensor] = np.array([counts[tensor], counts["elements"]], float)
            result[layer, "accumulator_steps"] = np.array(
                [counts["accumulator_steps"], counts["steps"]], float
            )
        for layer in wrappers_of(self.model):
            if layer.gradient_variables is not None:
                seen = GradientCounts.read(layer.gradient_variables)
                pair = np.array([seen.saturated, seen.elements], float)
                result[layer.owner, "activation_gradients"] = pair
        return result

    def _shares(self) -> dict[str, dict[str, float]]:
        """What was clipped in this epoch so far."""
        now: dict[tuple[str, str], np.ndarray] = self._counts()
        shares: dict[str, dict[str, float]] = {}
        for key, pair in now.items():
            clipped, of = pair - self._before.get(key, np.zeros(2))
            shares.setdefault(key[0], {})[key[1]] = float(clipped / of) if of else 0.0
        return shares
