"""Zeros into weights step by step while a model trains."""

from __future__ import annotations

from collections.abc import Mapping

from tfxp.keras import keras
from tfxp.sparsity.pruning import GradualPruning, check_ramp
from tfxp.sparsity.sparsity_map import SparsityMap


class PruningSchedule(keras.callbacks.Callback):
    """Prunes a model in its own `fit`, along tfmot's polynomial schedule.

        z(step) = z_end (1 - (1 - (step - begin) / (end - begin))^power)

    Steps are those of the optimizer, so a training that is resumed goes on where it was. After the
    last step the masks stay, and so do the zeros; see `tfxp.prune_model`.

    Args:
        sparsity: a sparsity map or a pattern for all layers, as in `tfxp.prune_model`.
        end_step: the step from which on all the zeros are there.
        begin_step: the first step of the ramp.
        frequency: steps from one change of the masks to the next.
        power: of the polynomial.

    Raises:
        ConfigError: steps out of order, or no such pattern; at the start of the training: a layer
            with a binary kernel, or nothing to prune.

    Example:
        >>> from tfxp.callbacks import PruningSchedule
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(8, input_shape=(4,), name="d")])
        >>> model.compile("adam", "mse")
        >>> zeros = PruningSchedule("0.75", end_step=4, frequency=1)
        >>> x, y = np.ones((16, 4)), np.ones((16, 8))
        >>> _ = model.fit(x, y, batch_size=2, verbose=0, callbacks=[zeros])
        >>> int((model.layers[0].kernel.numpy() == 0).sum())
        24

    References:
        Zhu and Gupta, "To prune, or not to prune", ICLR workshop 2018; tfmot's `PolynomialDecay`.
    """

    def __init__(
        self,
        sparsity: SparsityMap | str | float,
        end_step: int,
        begin_step: int = 0,
        frequency: int = 100,
        power: float = 3,
    ) -> None:
        super().__init__()
        check_ramp(begin_step, end_step, frequency)
        self.sparsity = SparsityMap.of(sparsity)
        self._ramp = begin_step, end_step, frequency, power
        self._pruning: GradualPruning | None = None

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Put the constraints in place before the training step is compiled."""
        self._pruning = GradualPruning(self.model, self.sparsity, *self._ramp)
        added = self._pruning.hold()
        self._update()
        if added and self.model.train_function is not None:
            self.model.make_train_function(force=True)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Change the masks when it is time."""
        self._update()

    def _update(self) -> None:
        assert self._pruning is not None
        self._pruning.update(int(self.model.optimizer.iterations))
