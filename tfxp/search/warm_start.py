"""Where a search begins: Lin's allocation at the lowest level that is good enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tfxp.assign import Configuration, LinAssigner, WordSpace
from tfxp.errors import ConfigError
from tfxp.precision import ModelStats

# Whether a configuration is accepted; None if that is not known yet.
Lookup = Callable[[Configuration], bool | None]


class LinWarmStart:
    """Finds the lowest accepted level of Lin's allocation by bisection.

    Bits of weights follow Lin's offsets; going down, the first convolution's bits fall and the
    others' with them, within the words that the space allows. Activations, which the paper keeps at
    16 bits, get the same bits everywhere. First weights are lowered under the widest activations,
    then activations. Levels are taken to be monotone, which accuracies of few samples are only
    nearly; the search goes on from there in any case.

    It is a function of results, so that it can be resumed and shared: `ask(lookup)` returns what
    has to be known next, until it is done and `start` is set.

    Args:
        space: word lengths that vary.
        stats: sizes of the network.

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, sec. 4.2.
    """

    def __init__(self, space: WordSpace, stats: ModelStats) -> None:
        self._space = space
        self._weights = self._weight_levels(stats)
        self.start: Configuration | None = None

    def ask(self, lookup: Lookup) -> Configuration | None:
        """The configuration that has to be evaluated next; None once `start` is known."""
        chosen, wanted = _bisect(self._weights, lookup)
        if chosen is None:
            return wanted
        chosen, wanted = _bisect(self._activation_levels(chosen), lookup)
        self.start = chosen
        return wanted

    def dearest(self, cost_of: Callable[[Configuration], float], budget: float) -> Configuration:
        """The dearest level within a budget; the cheapest of all if none is."""
        levels = [c for weights in self._weights for c in self._activation_levels(weights)]
        within = [level for level in levels if cost_of(level) <= budget]
        return max(within, key=cost_of) if within else min(levels, key=cost_of)

    def _weight_levels(self, stats: ModelStats) -> list[Configuration]:
        """Distinct allocations, the cheapest first, under the widest activations."""
        space = self._space
        words, wide = space.words("weights"), space.words("activations")
        activations = wide[-1] if wide else 8
        if not words:
            return [space.uniform(8, activations)]
        levels: dict[Configuration, None] = {}
        for anchor in range(words[0], 32):
            bits = _lin_bits(stats, anchor, words)
            values = {
                (unit, family): activations
                if family == "activations"
                else max(bits[layer] for layer in space.layers[unit, family])
                for unit, family in space.parameters()
            }
            levels[space.nearest(values)] = None
            if all(bits[n] >= words[-1] for n in bits):
                break
        return list(levels)

    def _activation_levels(self, config: Configuration) -> list[Configuration]:
        values = config.to_dict()
        levels = []
        for word in self._space.words("activations") or (0,):
            level = {key: word if key[1] == "activations" else values[key] for key in values}
            levels.append(self._space.nearest(level))
        return levels


def _lin_bits(stats: ModelStats, anchor: int, words: Sequence[int]) -> dict[str, int]:
    assigner = LinAssigner(
        anchor_bits=anchor,
        dense_bits=None,
        widths=words,
        min_bits=words[0],
        max_bits=words[-1],
    )
    bits: dict[str, int] = assigner.assign(stats).figures["bits"]
    return bits


def _bisect(
    levels: Sequence[Configuration], lookup: Lookup
) -> tuple[Configuration | None, Configuration | None]:
    """(lowest accepted level, None), or (None, level to look up); the highest is not asked."""
    if not levels:
        raise ConfigError("levels of a warm start: got none; expected at least one.")
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        accepted = lookup(levels[middle])
        if accepted is None:
            return None, levels[middle]
        low, high = (low, middle) if accepted else (middle + 1, high)
    return levels[high], None
