"""What every assigner gives back: a precision map, why it is so, and why it stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from tfxp.precision import ModelStats, PrecisionMap


@dataclasses.dataclass(frozen=True)
class Decision:
    """One step on the way to a precision map.

    Args:
        layer: the layer it is about, or "" for the whole network.
        tensor: "weights", "activations", … or a parameter of the search.
        value: what was decided: bits, a format's name, a number.
        reason: why, in a few words.
    """

    layer: str
    tensor: str
    value: Any
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A precision map with its history.

    Args:
        map: the precision map.
        trace: decisions in the order they were made.
        stop_reason: why the assigner stopped.
        figures: what else it found out, ready for JSON.
    """

    map: PrecisionMap
    trace: tuple[Decision, ...] = ()
    stop_reason: str = ""
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "map": self.map.to_dict(),
            "trace": [decision.to_dict() for decision in self.trace],
            "stop_reason": self.stop_reason,
            "figures": dict(self.figures),
        }

    def described(self, method: str, command: str) -> PrecisionMap:
        """The map with a note of where it came from; what it says of itself already is kept.

        Args:
            method: name of the assigner.
            command: what gives the map again.
        """
        note = {"description": f"{method}: {self.stop_reason}", "command": command}
        return dataclasses.replace(self.map, provenance={**note, **self.map.provenance})


class PrecisionAssigner(Protocol):
    """Anything that turns what is known of a network into a precision map."""

    def assign(self, stats: ModelStats) -> Assignment:
        """Choose the precision of every layer."""
        ...
