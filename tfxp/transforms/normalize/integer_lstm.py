"""Which LSTM layers LiteRT's integer LSTM computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfxp.transforms.activation_functions import function_name
from tfxp.transforms.layer_graph import LayerGraph

# Settings of the Keras layer and what they must be.
_SETTINGS = {
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "go_backwards": False,
    "return_state": False,
    "stateful": False,
    "time_major": False,
}


def lstm_obstacle(graph: LayerGraph, name: str) -> str | None:
    """Why LiteRT's UNIDIRECTIONAL_SEQUENCE_LSTM does not compute an LSTM layer; None if it does.

    Args:
        graph: the network.
        name: the layer.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> from tfxp.transforms.normalize.integer_lstm import lstm_obstacle
        >>> from tfxp.transforms.layer_graph import LayerGraph
        >>> inputs = keras.Input((7, 3))
        >>> model = keras.Model(inputs, layers.LSTM(4, go_backwards=True, name="lstm")(inputs))
        >>> lstm_obstacle(LayerGraph.from_model(model), "lstm")
        'go_backwards is True; expected False'
    """
    obstacle = setting_obstacle(graph.layers[name].config)
    if obstacle is not None:
        return obstacle
    uses = graph.uses(name)
    if len(uses) > 1:
        return f"{len(uses)} calls share it; give each call a layer"
    if len(graph.calls[uses[0]].refs()) > 1:
        return "it is called with initial states; the operator starts from zero"
    return None


def setting_obstacle(config: Mapping[str, Any]) -> str | None:
    """Which setting of an LSTM layer the operator does not have; None if it has all."""
    for setting, wanted in _SETTINGS.items():
        got = config.get(setting, wanted)
        if got != wanted:
            known = function_name(got) if isinstance(got, dict) else got
            return f"{setting} is {known!r}; expected {wanted!r}"
    return None
