"""The same precision everywhere: what every other method is compared with."""

from __future__ import annotations

import dataclasses

from tfxp.assign.assignment import Assignment, Decision
from tfxp.precision import ModelStats, PrecisionMap


@dataclasses.dataclass(frozen=True)
class UniformAssigner:
    """Equal bits in every layer.

    Args:
        weights: bits, a format's name, or "float".
        activations: bits, a format's name, or "float".
        edge_bits: bits of the first and last layer, the input and the output, if they differ.
        per_channel: whether every output channel's kernel has its own fractional bits.

    Example:
        >>> from tfxp.models import count_network
        >>> UniformAssigner(4, 6).assign(count_network("sakr_convnet")).map.to_dict()["default"]
        {'weights': 4, 'activations': 6}
    """

    weights: int | str = 8
    activations: int | str = 8
    edge_bits: int | None = None
    per_channel: bool | None = None

    def assign(self, stats: ModelStats) -> Assignment:
        """The uniform map; says nothing about single layers."""
        pmap = PrecisionMap.uniform(
            self.weights, self.activations, self.edge_bits, self.per_channel
        )
        trace = [
            Decision("", "weights", self.weights, "uniform"),
            Decision("", "activations", self.activations, "uniform"),
        ]
        if self.edge_bits is not None:
            trace.append(Decision("", "edges", self.edge_bits, "first and last layer"))
        return Assignment(pmap, tuple(trace), "uniform precision needs no search")
