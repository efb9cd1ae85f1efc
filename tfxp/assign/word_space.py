"""Bits per layer: how long the words of each layer's weights and activations are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence

from tfxp.assign.search_space import Configuration
from tfxp.errors import ConfigError, did_you_mean
from tfxp.formats import MAX_BITS
from tfxp.precision import LayerPrecision, ModelStats, PrecisionMap


class WordSpace:
    """Which word lengths may vary, among which values, and what a configuration means as a map.

    A parameter is (unit, "weights") or (unit, "activations"); its value is a number of bits, the
    format is fitted to measurements. Everything else keeps what `base` says. Like `BitSpace` it can
    be walked by `JuddDescent`.

    Args:
        stats: sizes of the network; measured, if the maps are to be used.
        weights, activations: word lengths that may be tried, such as `range(2, 9)` or (4, 8); one
            value, or none, leaves nothing to search.
        base: precision of what does not vary: by default 8 bits, which is what the network's
            inputs and outputs keep.
        blocks: name -> layers that share their bits.
        fixed: layers that keep what `base` says.

    Raises:
        ConfigError: word lengths that cannot be, an unknown layer, or nothing to vary.

    Example:
        >>> from tfxp.models import count_network
        >>> space = WordSpace(count_network("sakr_convnet"), weights=(4, 8), activations=())
        >>> space.size
        512
    """

    def __init__(
        self,
        stats: ModelStats,
        weights: Sequence[int] = range(2, 9),
        activations: Sequence[int] = range(2, 9),
        base: PrecisionMap | None = None,
        blocks: Mapping[str, Sequence[str]] | None = None,
        fixed: Sequence[str] = (),
    ) -> None:
        self.stats, self.base = stats, base or PrecisionMap()
        self._words = {"weights": _checked(weights), "activations": _checked(activations)}
        self._check_names(blocks or {}, fixed)
        home = {layer: block for block, layers in (blocks or {}).items() for layer in layers}
        self.layers: dict[tuple[str, str], list[str]] = {}
        for name, family in self._free(fixed):
            self.layers.setdefault((home.get(name, name), family), []).append(name)
        if not self.layers:
            raise ConfigError("space of a search: got nothing to vary; expected words of 2 widths.")

    def _free(self, fixed: Sequence[str]) -> Iterator[tuple[str, str]]:
        ends = {name for key in ("@inputs", "@outputs") for name in self.stats.selected[key]}
        for name, layer in self.stats.layers.items():
            if name in fixed or not layer.owns_format:
                continue
            if layer.weight_count and self._words["weights"]:
                yield name, "weights"
            if name not in ends and self._words["activations"]:
                yield name, "activations"

    def _check_names(self, blocks: Mapping[str, Sequence[str]], fixed: Sequence[str]) -> None:
        for name in [*fixed, *(layer for layers in blocks.values() for layer in layers)]:
            if name not in self.stats.layers:
                hint = did_you_mean(name, self.stats.layers)
                raise ConfigError(f"layer: got {name!r}; expected one of the network's.{hint}")

    def parameters(self) -> list[tuple[str, str]]:
        """Every (unit, family) that varies, in the order of the network."""
        return list(self.layers)

    def words(self, family: str) -> tuple[int, ...]:
        """The word lengths of a family, shortest first."""
        return self._words[family]

    @property
    def size(self) -> int:
        """How many configurations there are."""
        return math.prod(len(self._words[family]) for _, family in self.layers)

    def uniform(self, weights: int, activations: int) -> Configuration:
        """The same bits everywhere; the next allowed word above where they are not allowed."""
        asked = {"weights": weights, "activations": activations}
        return self.nearest({key: asked[key[1]] for key in self.layers})

    def nearest(self, bits: Mapping[tuple[str, str], int]) -> Configuration:
        """A configuration from any bits: the next allowed word, or the longest."""
        return Configuration.of({key: self._allowed(key[1], bits[key]) for key in self.layers})

    def _allowed(self, family: str, bits: int) -> int:
        words = self._words[family]
        return next((word for word in words if word >= bits), words[-1])

    def step(self, config: Configuration, unit: str, family: str, by: int) -> Configuration | None:
        """One parameter moved by so many allowed words; None where there are no more."""
        words = self._words[family]
        index = words.index(config.to_dict()[unit, family]) + by
        return config.changed(unit, family, words[index]) if 0 <= index < len(words) else None

    def lowered(self, config: Configuration) -> list[tuple[str, str, Configuration]]:
        """Every configuration with one parameter one word shorter."""
        steps = (
            (unit, family, self.step(config, unit, family, -1)) for unit, family in self.layers
        )
        return [(unit, family, lower) for unit, family, lower in steps if lower is not None]

    def to_map(self, config: Configuration) -> PrecisionMap:
        """The precision map of a configuration."""
        fields: dict[str, dict[str, int]] = {}
        for (unit, family), bits in config.to_dict().items():
            for layer in self.layers[unit, family]:
                fields.setdefault(layer, {})[family] = bits
        rules = {
            layer: LayerPrecision(bits.get("weights"), bits.get("activations"))
            for layer, bits in fields.items()
        }
        return self.base.updated(rules)

    def fingerprint(self) -> str:
        """A string that differs between spaces whose configurations mean different maps."""
        names = [[*key, *layers] for key, layers in self.layers.items()]
        return json.dumps([names, self._words, self.base.to_dict()])


def _checked(words: Sequence[int]) -> tuple[int, ...]:
    wrong = [word for word in words if not 1 <= word <= MAX_BITS]
    if wrong:
        raise ConfigError(f"word lengths: got {wrong[0]}; expected 1 to {MAX_BITS} bits.")
    return tuple(sorted(set(words))) if len(set(words)) > 1 else ()
