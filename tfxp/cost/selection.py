"""From a precision map to the precision of every layer of a counted network."""

from __future__ import annotations

from collections.abc import Mapping

from tfxp.cost.bits import tensor_bits
from tfxp.cost.stages import INHERITING
from tfxp.errors import PrecisionError
from tfxp.precision import LayerKind, LayerPrecision, ModelStats, PrecisionMap


def select_layers(model: ModelStats) -> dict[str, list[str]]:
    """What the selectors of a precision map stand for in this network.

    Example:
        >>> from tfxp.models import count_network
        >>> select_layers(count_network("sakr_convnet"))["@last"]
        ['dense2']
    """
    layers = model.layers
    inputs = [name for name, layer in layers.items() if layer.kind == LayerKind.INPUT]
    forward: dict[str, list[str]] = {name: [] for name in layers}
    for layer in layers.values():
        for source in layer.inputs:
            forward[source].append(layer.name)
    backward = {name: list(layer.inputs) for name, layer in layers.items()}
    weighted = [name for name, layer in layers.items() if layer.weight_count]
    return {
        "@inputs": inputs,
        "@outputs": list(dict.fromkeys(_owner(model, name) for name in model.outputs)),
        "@first": inputs + _nearest(inputs, forward, weighted) if inputs else weighted[:1],
        "@last": _nearest(list(model.outputs), backward, weighted),
    }


def resolve_precision(
    model: ModelStats, precision: PrecisionMap | Mapping[str, LayerPrecision]
) -> dict[str, LayerPrecision]:
    """The precision of every layer of a network.

    Args:
        model: the network.
        precision: a map with rules, or one that is resolved already.

    Raises:
        PrecisionError: a rule matches no layer, or a layer has no precision.
    """
    if isinstance(precision, PrecisionMap):
        return precision.resolve(model.layers, model.aliases, select_layers(model))
    missing = [name for name in model.layers if name not in precision]
    if missing:
        raise PrecisionError(
            f"precision of the network: got none for {', '.join(map(repr, missing))}; expected "
            "one for every layer. Resolve the precision map with this network's layer names."
        )
    return dict(precision)


def weight_bits(
    model: ModelStats, precision: PrecisionMap | Mapping[str, LayerPrecision]
) -> dict[str, tuple[int, int]]:
    """Layer -> bits of each of its weights, and how many weights there are.

    Example:
        >>> from tfxp.models import count_network
        >>> weight_bits(count_network("sakr_convnet"), PrecisionMap.uniform(4, 8))["dense2"]
        (4, 5120)
    """
    resolved = resolve_precision(model, precision)
    weighted = [layer for layer in model.layers.values() if layer.weight_count]
    return {x.name: (tensor_bits(resolved[x.name].weights), x.weight_count) for x in weighted}


def _owner(model: ModelStats, name: str) -> str:
    """The layer whose format an output has."""
    while model[name].kind in INHERITING and model[name].inputs:
        name = model[name].inputs[0]
    return name


def _nearest(
    start: list[str], neighbours: Mapping[str, list[str]], weighted: list[str]
) -> list[str]:
    """The layers with weights that a walk from `start` meets first, in the network's order."""
    found, seen, todo = set(), set(start), list(start)
    while todo:
        name = todo.pop()
        if name in weighted:
            found.add(name)
            continue
        for other in neighbours[name]:
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return [name for name in weighted if name in found]
