"""--strategy and --replicas: on which devices a tool trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfxp.cli.flags import ToolFlags


@dataclass(frozen=True)
class StrategyFlags:
    """The two flags.

    Args:
        name: value "none", "mirrored" or "multi_worker".
        replicas: value None or a number of devices.
    """

    name: Any
    replicas: Any

    @property
    def values(self) -> tuple[str, int | None]:
        """What `tfxp.devices.make_strategy` takes."""
        return self.name.value, self.replicas.value


def strategy_flags(tool: ToolFlags, names: Sequence[str]) -> StrategyFlags:
    """Define the flags.

    Args:
        tool: the tool's flags.
        names: strategies that it takes.
    """
    text = (
        "Train on one device, on all GPUs of this machine (without one: on logical devices of the "
        "processor), or, as one of several workers, with those that TF_CONFIG names."
    )
    name = tool.DEFINE_enum("strategy", "none", list(names), text)
    text = "Devices of --strategy=mirrored (default: all GPUs)."
    return StrategyFlags(name, tool.DEFINE_integer("replicas", None, text, lower_bound=1))
