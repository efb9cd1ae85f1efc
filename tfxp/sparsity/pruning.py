"""Zeros into a model's weights, all at once or along a schedule, and what holds them there."""

from __future__ import annotations

import numpy as np

from tfxp.errors import ConfigError
from tfxp.keras_types import KerasModel
from tfxp.quantization.read_network import plan_of_any
from tfxp.sparsity.masks import make_mask
from tfxp.sparsity.pattern import SparsityPattern
from tfxp.sparsity.prunable import Prunable, prunables
from tfxp.sparsity.sparsity_map import SparsityMap
from tfxp.tfmot import PolynomialDecay


def prune_model(model: KerasModel, sparsity: SparsityMap | str | float) -> dict[str, float]:
    """Set the smallest weights to zero, and hold them there in every training that follows.

    A weight that is zero has code 0 in every format, so the zeros hold through `quantize_model`,
    `set_precision`, `learn_formats`, `strip` and export. What holds them is a constraint of the
    layer (`tfxp.sparsity.ZeroMask`), saved with the model. Layers that a pattern leaves dense keep
    the masks they have.

    Args:
        model: a float model, or what `quantize_model` returned; changed in place.
        sparsity: a sparsity map, or a pattern for all layers: 0.75, "2:4", "blocks:0.75",
            "channels:0.5".

    Returns:
        Layer -> share of its weights that are zero; of their codes, if the model is quantized.

    Raises:
        ConfigError: no such pattern, no layer to prune, or a layer with a binary kernel, whose
            format has no zero.
        PrecisionError: a rule of the map matches no layer.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(8, input_shape=(4,), name="d")])
        >>> tfxp.prune_model(model, "2:4")
        {'d': 0.5}

    References:
        Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model
        compression", ICLR workshop 2018.
    """
    pruning = GradualPruning(model, sparsity)
    pruning.finish()
    return zero_shares(model)


def zero_shares(model: KerasModel) -> dict[str, float]:
    """Layer -> share of its weights, or of their codes, that are zero."""
    counts = {name: layer.zeros() for name, layer in prunables(model).items()}
    return {name: zeros / max(size, 1) for name, (zeros, size) in counts.items()}


class GradualPruning:
    """Zeros that become more from step to step.

        z(step) = z_end (1 - (1 - (step - begin) / (end - begin))^power)

    A weight that is zero stays zero. Patterns n:m have no shares between none and their own, and
    are made at the first turn.

    Args:
        model: as in `prune_model`; changed in place at every turn.
        sparsity: as in `prune_model`.
        begin, end: first and last step of the ramp.
        frequency: steps from one turn to the next.
        power: of the polynomial; 3 as published.

    Raises:
        ConfigError: as in `prune_model`, or steps out of order.
        PrecisionError: a rule of the map matches no layer.

    References:
        tfmot's `PolynomialDecay`, which gives the shares; Zhu and Gupta 2018, eq. 1.
    """

    def __init__(
        self,
        model: KerasModel,
        sparsity: SparsityMap | str | float,
        begin: int = 0,
        end: int = 0,
        frequency: int = 100,
        power: float = 3,
    ) -> None:
        check_ramp(begin, end, frequency)
        self._layers = {
            name: (prunables(model)[name], pattern)
            for name, pattern in _resolved(model, SparsityMap.of(sparsity)).items()
        }
        self._check()
        self._begin, self._end, self._frequency = begin, end, frequency
        self._power, self._turn = power, -1

    def update(self, step: int) -> bool:
        """Make the zeros that are due after so many steps.

        Returns:
            Whether a constraint is new, so that a training step that was compiled before has to be
            compiled again.
        """
        turn = self._last if step >= self._end else (step - self._begin) // self._frequency
        if turn < 0 or turn <= self._turn:
            return False
        self._turn = turn
        made = [self._prune(*layer, step) for layer in self._layers.values()]
        return any(made)

    def hold(self) -> bool:
        """Put the constraints in place, so that a step compiled now knows them; as `update`."""
        made = [layer.hold(_held(layer), _takes_bias(p)) for layer, p in self._layers.values()]
        return any(made)

    def finish(self) -> bool:
        """Make all the zeros now; as `update`."""
        return self.update(self._end)

    @property
    def is_finished(self) -> bool:
        """Whether all the zeros are there."""
        return self._turn == self._last

    @property
    def _last(self) -> int:
        return (self._end - self._begin) // self._frequency + 1

    def _prune(self, layer: Prunable, pattern: SparsityPattern, step: int) -> bool:
        kernel = layer.arranged(layer.kernel.numpy())
        mask = make_mask(kernel, pattern, self._share(pattern.share, step))
        return layer.hold(mask & _held(layer), _takes_bias(pattern))

    def _share(self, wanted: float, step: int) -> float:
        if step >= self._end:
            return wanted
        ramp = PolynomialDecay(0.0, wanted, self._begin, self._end, self._power, self._frequency)
        return float(ramp(step)[1])

    def _check(self) -> None:
        binary = [name for name, (layer, _) in self._layers.items() if layer.is_binary]
        if binary:
            raise ConfigError(
                f"pruning of {', '.join(map(repr, binary))}: got binary kernels, whose format has "
                "no zero; expected at least 2 bits. Give them the pattern 'dense'."
            )


def check_ramp(begin: int, end: int, frequency: int) -> None:
    """Complain about steps of a schedule that cannot be.

    Raises:
        ConfigError: steps out of order, or not positive.
    """
    if not 0 <= begin <= end or frequency < 1:
        raise ConfigError(
            f"pruning schedule: got begin {begin}, end {end}, every {frequency} steps; expected "
            "0 <= begin <= end and at least 1."
        )


def _held(layer: Prunable) -> np.ndarray:
    held = layer.mask
    size = layer.arranged(layer.kernel.numpy())
    return np.ones(size.shape, bool) if held is None else layer.arranged(held.mask)


def _takes_bias(pattern: SparsityPattern) -> bool:
    return pattern.kind == "channels"


def _resolved(model: KerasModel, sparsity: SparsityMap) -> dict[str, SparsityPattern]:
    """Layer -> its pattern, for those that are not to be dense."""
    names = list(prunables(model))
    aliases, selected = {}, {}
    if any(key not in names for key in sparsity.layers):  # selectors and folded layers
        plan = plan_of_any(model)
        aliases, selected = plan.aliases, plan.selected()
    patterns = sparsity.resolve(names, aliases, selected)
    return {name: pattern for name, pattern in patterns.items() if not pattern.is_dense}
