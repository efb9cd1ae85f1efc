"""What a rewrite does with the settings that only training knows: carried over, or named as lost.

A regularizer R and a constraint of a weight w stay right for w' = f w, if R'(w') = R(w):

    l1 |w| = (l1 / |f|) |w'|,    l2 w^2 = (l2 / f^2) w'^2,    w >= 0  <=>  w' >= 0  for f > 0
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tfxp.transforms.call_graph import CallGraph
from tfxp.transforms.layer_spec import LayerSpec

_KINDS = ("regularizer", "constraint")
_ELEMENTWISE = ("NonNeg",)


@dataclasses.dataclass(frozen=True)
class MovedWeight:
    """A weight that a rewrite puts elsewhere.

    Args:
        weight: its name in the settings of the layer that it was in, such as "pointwise".
        layer: the layer that it is in now.
        name: its name in that layer's settings, such as "kernel".
        factor: the new value in units of the old one; None where elements have different ones.
        reshaped: whether its axes are others now.
    """

    weight: str
    layer: LayerSpec
    name: str
    factor: float | None = 1.0
    reshaped: bool = False


def carry_settings(
    graph: CallGraph, owner: str, settings: Mapping[str, Any], moves: Iterable[MovedWeight]
) -> None:
    """Give moved weights the regularizers and constraints that they had.

    Args:
        graph: remembers what cannot be carried over, in `left_behind`.
        owner: name of the layer that the weights were in.
        settings: its configuration at that time.
        moves: where its weights are now.
    """
    for move in moves:
        for kind in _KINDS:
            setting = settings.get(f"{move.weight}_{kind}")
            if setting is None:
                continue
            new = _carried(kind, setting, move)
            if new is None:
                graph.left_behind.append(f"{move.weight}_{kind} of {owner!r}")
            else:
                move.layer.config[f"{move.name}_{kind}"] = new


def lose_settings(graph: CallGraph, spec: LayerSpec, why: str) -> None:
    """Remember that a layer's regularizers and constraints are lost, all of them."""
    for key, value in spec.config.items():
        if value is not None and key.endswith(tuple(f"_{kind}" for kind in _KINDS)):
            graph.left_behind.append(f"{key} of {spec.name!r} ({why})")


def _carried(kind: str, setting: object, move: MovedWeight) -> Any:
    """The setting that does to the new weight what the old one did to the old; None if unknown."""
    if move.factor == 1 and not move.reshaped:
        return setting
    if move.factor is None or not isinstance(setting, dict):
        return None
    name, config = setting.get("class_name"), setting.get("config")
    if kind == "constraint":
        return setting if name in _ELEMENTWISE and move.factor > 0 else None
    if name not in ("L1", "L2", "L1L2") or not isinstance(config, dict):
        return None
    size = abs(move.factor)
    scaled = {key: float(value) / size ** {"l1": 1, "l2": 2}[key] for key, value in config.items()}
    return {**setting, "config": scaled}
