"""Zeros that a precision map makes, read off measured distributions; nothing is run."""

from __future__ import annotations

from collections.abc import Mapping

from tfxp.cost.selection import resolve_precision
from tfxp.cost.zero_skip import zero_skip
from tfxp.errors import ConfigError
from tfxp.formats import Format, TensorStats, fit_mse
from tfxp.precision import FLOAT, LayerPrecision, ModelStats, PrecisionMap
from tfxp.precision.layer_precision import TensorPrecision


class ExpectedZeros:
    """Multiplications that meet no zero, for any precision map of one network.

        executed = macs (1 - z_a) (1 - z_w),    z = share of values with |x| <= scale / 2

    z_a is that of what the layer reads, z_w that of its kernel, both by the measured distributions
    and the map's formats: coarser formats make more zeros. Bits without a format are fitted by
    their mean squared error. Zeros of both kinds are taken to fall independently, and padding taps
    as other activations; a run of the exported file counts what there is.

    Args:
        model: what `measure_model` returned.

    Raises:
        ConfigError: the distributions were not measured.

    Example:
        >>> stats = tfxp.measure_model(model, x_calibration)   # doctest: +SKIP
        >>> ExpectedZeros(stats).executed_macs(tfxp.PrecisionMap.uniform(4, 4))  # doctest: +SKIP
    """

    def __init__(self, model: ModelStats) -> None:
        self._model = model
        self._shares: dict[tuple[str, str, TensorPrecision | None], float] = {}
        if not any(layer.activations is not None for layer in model.layers.values()):
            raise ConfigError(
                "zeros of a network: got sizes without distributions; expected statistics of "
                "measure_model."
            )

    def executed_macs(
        self, precision: PrecisionMap | Mapping[str, LayerPrecision]
    ) -> dict[str, float]:
        """Layer -> multiply-accumulates per sample, for every layer that has some.

        Args:
            precision: a precision map, or the precision of every layer.
        """
        rules = resolve_precision(self._model, precision)
        zeros = {name: self._share(name, "activations", rules[name].activations) for name in rules}
        return {
            row.name: row.macs_executed
            * (1 - self._share(row.name, "weights", rules[row.name].weights))
            for row in zero_skip(self._model, rules, zeros)
            if row.macs
        }

    def _share(self, layer: str, tensor: str, precision: TensorPrecision | None) -> float:
        key = layer, tensor, precision
        if key not in self._shares:
            stats: TensorStats | None = getattr(self._model[layer], tensor)
            known = stats is not None and stats.count > 0
            self._shares[key] = _zero_share(stats, precision) if known and stats else 0.0
        return self._shares[key]


def _zero_share(stats: TensorStats, precision: TensorPrecision | None) -> float:
    """Share of a tensor's values that a precision turns into code 0."""
    if precision is None or precision == FLOAT:
        return stats.zero_fraction
    several = precision if isinstance(precision, tuple) else (precision,)
    shares = [_below_half_a_step(stats, one) for one in several]
    return sum(shares) / len(shares)


def _below_half_a_step(stats: TensorStats, precision: int | str | Format) -> float:
    if isinstance(precision, str):
        return stats.zero_fraction
    if isinstance(precision, int):
        precision = fit_mse(stats, precision, signed=stats.negative_fraction > 0)
    if getattr(precision, "is_binary", False):
        return 0.0
    values, counts = stats.bin_values()
    return float(counts[abs(values) <= precision.scale / 2].sum() / stats.count)
