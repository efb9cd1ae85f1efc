"""Judd's parameters: bits of weights, integer and fractional bits of data, per layer."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tfxp.cost import stages_of
from tfxp.errors import ConfigError, DataError, did_you_mean
from tfxp.formats import FixedPointFormat
from tfxp.precision import FLOAT, LayerPrecision, LayerStats, ModelStats, PrecisionMap

FAMILIES = ("weight_bits", "data_integer", "data_fraction")
ARITHMETICS = ("quantized", "storage")
RANGES = ("uniform", "measured")
_LOWEST, _HIGHEST = -24, 31
_SHORTEST_WEIGHTS = 2


@dataclasses.dataclass(frozen=True)
class Configuration:
    """A value for every free parameter: (unit, family) -> bits. Equal contents, equal objects.

    Args:
        values: the parameters and their bits.
    """

    values: tuple[tuple[str, str, int], ...]

    @classmethod
    def of(cls, values: Mapping[tuple[str, str], int]) -> Configuration:
        """From a dictionary."""
        return cls(tuple((unit, family, bits) for (unit, family), bits in values.items()))

    def to_dict(self) -> dict[tuple[str, str], int]:
        """(unit, family) -> bits."""
        return {(unit, family): bits for unit, family, bits in self.values}

    def changed(self, unit: str, family: str, bits: int) -> Configuration:
        """The same with one value replaced."""
        return Configuration(
            tuple(
                (u, f, bits if (u, f) == (unit, family) else value) for u, f, value in self.values
            )
        )

    def key(self) -> str:
        """A string that is the same for equal configurations, also in another process."""
        return json.dumps(self.values, separators=(",", ":"))

    @classmethod
    def from_key(cls, key: str) -> Configuration:
        """The inverse of `key`."""
        return cls(tuple((unit, family, int(bits)) for unit, family, bits in json.loads(key)))


@dataclasses.dataclass(frozen=True)
class Unit:
    """Layers that share their parameters: a stage, or a block of stages.

    Args:
        name: of its first layer, or of the block.
        layers: their names; precision is said of each.
        weighted: those with a kernel.
        weight_integer: integer bits of every kernel, the sign not counted; fixed, and negative
            for kernels that are small throughout.
        signed: whether the data of each layer can be negative.
        data_integer: integer bits, sign included, that hold the unit's measured data; None if
            they were not measured.
        stored: the layer whose output is kept, for each stage of the unit.
    """

    name: str
    layers: tuple[str, ...]
    weighted: tuple[str, ...]
    weight_integer: Mapping[str, int]
    signed: Mapping[str, bool]
    data_integer: int | None
    stored: tuple[str, ...]


class BitSpace:
    """Which parameters may vary, in which limits, and what a configuration means as a map.

    Weights have as many integer bits as their range needs and only their word length varies; the
    paper's weights are all within [-1, 1], where F fractional bits are a word of 1 + F. Data, that
    is what layers read and write, vary in integer and fractional bits. Signed data count the sign
    among their integer bits, as the paper does.

    With `arithmetic="quantized"` every tensor of the network has a format, biases lie on the
    accumulators' grid and rounding is the engine's: what a map says is what an integer engine
    computes. With "storage", as in the paper, values are rounded (to nearest, ties to even) where
    they are stored between stages and computed with in float: biases are float, and a tensor that
    is consumed inside its stage (a convolution under a mean) is not rounded. A windowed average
    pool stays an exception: it is rounded before and after pooling.

    Args:
        stats: measured statistics of the network; what is not measured is taken as signed data
            and weights within [-1, 1].
        blocks: name -> layers that get one precision, as Judd treats Inception modules.
        freeze: family -> value that all units keep (the paper freezes `data_fraction`).
        min_bits: shortest word of data; signed words have at least 2.
        arithmetic: "quantized" or "storage".

    Raises:
        ConfigError: a block, a frozen family or an arithmetic that does not exist.

    References:
        Judd et al., "Reduced-Precision Strategies for Bounded Memory in Deep Neural Nets", 2015,
        sec. 2.1.
    """

    def __init__(
        self,
        stats: ModelStats,
        blocks: Mapping[str, Sequence[str]] | None = None,
        freeze: Mapping[str, int] | None = None,
        min_bits: int = 1,
        arithmetic: str = "quantized",
    ) -> None:
        if arithmetic not in ARITHMETICS:
            hint = did_you_mean(arithmetic, ARITHMETICS)
            raise ConfigError(f"arithmetic: got {arithmetic!r}; expected {ARITHMETICS}.{hint}")
        self.stats, self.arithmetic = stats, arithmetic
        self.freeze = dict(freeze or {})
        self.min_bits = min_bits
        for family in self.freeze:
            if family not in FAMILIES:
                hint = did_you_mean(family, FAMILIES)
                raise ConfigError(f"frozen: got {family!r}; expected one of {FAMILIES}.{hint}")
        self.units = {unit.name: unit for unit in self._units(blocks or {})}

    def _units(self, blocks: Mapping[str, Sequence[str]]) -> Iterator[Unit]:
        home = {layer: block for block, layers in blocks.items() for layer in layers}
        for layer in home:
            if layer not in self.stats.layers:
                hint = did_you_mean(layer, self.stats.layers)
                raise ConfigError(
                    f"layer of block {home[layer]!r}: got {layer!r}; expected a layer of the "
                    f"network.{hint}"
                )
        groups: dict[str, list[str]] = {}
        stored: dict[str, list[str]] = {}
        for stage in stages_of(self.stats).values():
            # What only passes a format on has none to choose.
            own = [name for name in stage.members if self.stats[name].owns_format]
            if own:
                unit = home.get(stage.name, stage.name)
                groups.setdefault(unit, []).extend(own)
                stored.setdefault(unit, []).append(stage.owner)
        for name, layers in groups.items():
            weighted = [layer for layer in layers if self.stats[layer].weight_count]
            yield Unit(
                name,
                tuple(layers),
                tuple(weighted),
                {layer: _weight_integer(self.stats[layer]) for layer in weighted},
                {layer: _signed(self.stats[layer]) for layer in layers},
                self._range(layers),
                tuple(stored[name]),
            )

    def _range(self, layers: Sequence[str]) -> int | None:
        """Integer bits, sign included, that hold the measured data of some layers."""
        found = [self.stats[name].activations for name in layers]
        measured = [_integer_bits(stats.max_abs) for stats in found if stats is not None]
        return max(measured) + 1 if measured else None

    def parameters(self) -> list[tuple[str, str]]:
        """Every (unit, family) that a configuration has a value for, frozen ones included."""
        result = []
        for unit in self.units.values():
            if unit.weighted:
                result.append((unit.name, "weight_bits"))
            result += [(unit.name, "data_integer"), (unit.name, "data_fraction")]
        return result

    def uniform(self, values: Mapping[str, int], ranges: str = "uniform") -> Configuration:
        """The configuration with the same values in every unit; frozen ones keep theirs.

        Args:
            values: family -> bits; unsigned data have one integer bit less, so that all data span
                the same range. Where a word would be too short, it gets fractional bits.
            ranges: "measured" gives each unit the integer bits of its own data where they are
                known and fewer than those asked for.

        Raises:
            ConfigError: a family is missing or has an impossible value.
        """
        values = {**values, **self.freeze}
        for family in FAMILIES:
            if not _LOWEST <= values.get(family, _HIGHEST + 1) <= _HIGHEST:
                raise ConfigError(
                    f"{family}: got {values.get(family)}; expected {_LOWEST} to {_HIGHEST}."
                )
        chosen = {key: values[key[1]] for key in self.parameters()}
        if ranges == "measured" and "data_integer" not in self.freeze:
            for name, unit in self.units.items():
                if unit.data_integer is not None:
                    key = name, "data_integer"
                    chosen[key] = min(chosen[key], unit.data_integer)
        config = Configuration.of(chosen)
        # Words that would be too short get fractional bits; integer bits stay as asked.
        return Configuration.of(
            {
                key: bits if key[1] == "data_integer" else max(bits, self._lowest(config, *key))
                for key, bits in config.to_dict().items()
            }
        )

    def can_lower(self, config: Configuration, unit: str, family: str) -> bool:
        """Whether a parameter is free and one bit less leaves a word."""
        value = config.to_dict()[unit, family]
        return family not in self.freeze and value - 1 >= self._lowest(config, unit, family)

    def lowered(self, config: Configuration) -> list[tuple[str, str, Configuration]]:
        """Every configuration with one free parameter one bit lower."""
        values = config.to_dict()
        return [
            (unit, family, config.changed(unit, family, values[unit, family] - 1))
            for unit, family in self.parameters()
            if self.can_lower(config, unit, family)
        ]

    def _lowest(self, config: Configuration, name: str, family: str) -> int:
        """The smallest value that leaves every layer of the unit a possible word."""
        unit, values = self.units[name], config.to_dict()
        if family == "weight_bits":
            return _SHORTEST_WEIGHTS
        other = "data_fraction" if family == "data_integer" else "data_integer"
        shortest = max(self.min_bits, 2 if any(unit.signed.values()) else 1)
        return shortest + self._sign_given(unit) - values[name, other]

    @staticmethod
    def _sign_given(unit: Unit) -> int:
        """1 if some layer of the unit drops the sign bit that data_integer counts."""
        return int(not all(unit.signed.values()))

    def to_map(self, config: Configuration) -> PrecisionMap:
        """The precision map of a configuration; full formats, nothing left to measurement.

        Raises:
            FormatError: a word would be longer than 32 bits.
        """
        values = config.to_dict()
        rules = {}
        for unit in self.units.values():
            integer = values[unit.name, "data_integer"]
            fraction = values[unit.name, "data_fraction"]
            for layer in unit.layers:
                # m of a format does not count the sign; the paper's integer bits do.
                data = FixedPointFormat(integer - 1, fraction, unit.signed[layer])
                weights: str | FixedPointFormat = FLOAT
                if layer in unit.weighted:
                    m, bits = unit.weight_integer[layer], values[unit.name, "weight_bits"]
                    weights = FixedPointFormat(m, bits - 1 - m)
                rules[layer] = self._rule(unit, layer, weights, data)
        return PrecisionMap(LayerPrecision(FLOAT, FLOAT), rules)

    def _rule(
        self, unit: Unit, layer: str, weights: str | FixedPointFormat, data: FixedPointFormat
    ) -> LayerPrecision:
        if self.arithmetic == "quantized":
            return LayerPrecision(weights, data)
        kept = data if layer in unit.stored else FLOAT
        bias = FLOAT if layer in unit.weighted else None
        return LayerPrecision(weights, kept, bias, rounding="half_even")

    def data_integer_bits(self) -> int:
        """Integer bits, sign included, that hold every measured tensor without clipping.

        Raises:
            DataError: no activations were measured.
        """
        found = [unit.data_integer for unit in self.units.values()]
        measured = [bits for bits in found if bits is not None]
        if not measured:
            raise DataError(
                "model statistics: got no measured activations. Measure the model with data."
            )
        return max(measured)

    def fingerprint(self) -> str:
        """A string that differs between spaces whose configurations mean different maps."""
        units = [
            [u.name, u.layers, sorted(u.weight_integer.items()), sorted(u.signed.items())]
            for u in self.units.values()
        ]
        return json.dumps([units, sorted(self.freeze.items()), self.min_bits, self.arithmetic])


def word_lengths(config: Configuration, space: BitSpace) -> dict[str, tuple[int | None, int]]:
    """Layer -> (weight bits, data bits), for tables."""
    layers = space.to_map(config).layers
    return {
        name: (_bits(rule.weights), _bits(rule.activations) or 0) for name, rule in layers.items()
    }


def _bits(value: object) -> int | None:
    return value.bits if isinstance(value, FixedPointFormat) else None


def _integer_bits(magnitude: float) -> int:
    """Bits before the point, without sign, that hold a magnitude rounded to nearest.

    Negative where all values are below a half: leading zeros are no bits.
    """
    return math.ceil(math.log2(magnitude)) if magnitude > 0 else 0


def _weight_integer(layer: LayerStats) -> int:
    return _integer_bits(layer.weights.max_abs) if layer.weights is not None else 0


def _signed(layer: LayerStats) -> bool:
    return layer.activations is None or layer.activations.min < 0


def free_parameters(space: BitSpace, families: Iterable[str] = FAMILIES) -> list[tuple[str, str]]:
    """The parameters that are not frozen, of some families."""
    wanted = set(families) - set(space.freeze)
    return [key for key in space.parameters() if key[1] in wanted]
