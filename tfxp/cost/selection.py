"""From a precision map to the precision of every layer of a counted network."""

from __future__ import annotations

from collections.abc import Mapping

from tfxp.cost.bits import tensor_bits
from tfxp.errors import PrecisionError
from tfxp.precision import FLOAT, LayerPrecision, ModelStats, PrecisionMap

_NONE = LayerPrecision(FLOAT, FLOAT)


def select_layers(model: ModelStats) -> dict[str, list[str]]:
    """What the selectors of a precision map stand for in this network.

    Args:
        model: a network, counted or measured.

    Example:
        >>> from tfxp.models import count_network
        >>> select_layers(count_network("sakr_convnet"))["@last"]
        ['dense2']
    """
    return {key: list(names) for key, names in model.selected.items()}


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
        owners = [name for name, layer in model.layers.items() if layer.owns_format]
        rules = precision.resolve(owners, model.aliases, model.selected)
        # What passes a format on has that of its source; indices have none.
        return {name: rules.get(model.format_owners[name], _NONE) for name in model.layers}
    missing = [name for name in model.layers if name not in precision]
    if missing:
        raise PrecisionError(
            f"precision of the network: got none for {', '.join(map(repr, missing))}; expected "
            "one for every layer. Resolve the precision map with this network's layer names."
        )
    return dict(precision)


def charge_edges(
    model: ModelStats, resolved: Mapping[str, LayerPrecision]
) -> dict[str, LayerPrecision]:
    """The first and last layers with weights charged as float, their operands too.

    Args:
        model: the network.
        resolved: the precision of every layer.
    """
    selected = select_layers(model)
    edges = {*selected["@first"], *selected["@last"]}
    wide = LayerPrecision(weights=FLOAT)
    return {
        name: precision.updated(wide) if name in edges and model[name].weight_count else precision
        for name, precision in resolved.items()
    }


def weight_bits(
    model: ModelStats, precision: PrecisionMap | Mapping[str, LayerPrecision]
) -> dict[str, tuple[int, int]]:
    """Layer -> bits of each of its weights, and how many weights there are.

    Args:
        model: a network, counted or measured.
        precision: its map.

    Example:
        >>> from tfxp.models import count_network
        >>> weight_bits(count_network("sakr_convnet"), PrecisionMap.uniform(4, 8))["dense2"]
        (4, 5120)
    """
    resolved = resolve_precision(model, precision)
    weighted = [layer for layer in model.layers.values() if layer.weight_count]
    return {x.name: (tensor_bits(resolved[x.name].weights), x.weight_count) for x in weighted}


def layer_bits(
    model: ModelStats, precision: PrecisionMap | Mapping[str, LayerPrecision]
) -> dict[str, tuple[int | None, int | None]]:
    """Layer -> bits of its weights and of its output; None where it has none of its own.

    Args:
        model: a network, counted or measured.
        precision: its map.

    Example:
        >>> from tfxp.models import count_network
        >>> layer_bits(count_network("sakr_convnet"), PrecisionMap.uniform(4, 6))["dense0"]
        (4, 6)
    """
    resolved = resolve_precision(model, precision)
    return {
        layer.name: (
            tensor_bits(resolved[layer.name].weights) if layer.weight_count else None,
            tensor_bits(resolved[layer.name].activations),
        )
        for layer in model.layers.values()
        if layer.owns_format
    }
