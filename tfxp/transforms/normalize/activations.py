"""Activation functions as layers of a few known forms.

- activation functions inside layers become layers of their own;
- swish(x) becomes x * sigmoid(x), hard_sigmoid(x) becomes min(relu(0.2 x + 0.5), 1), as Keras 2
  defines it;
- a ReLU with a slope becomes a LeakyReLU.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tfxp.keras import keras, layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref, make_spec
from tfxp.transforms.normalize.channel_functions import LENGTH, function_of

_WITH_ACTIVATION = (
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Conv3DTranspose",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
    "Dense",
)
# tf.nn.leaky_relu's slope, which a layer's configuration does not repeat.
_TF_LEAKY_SLOPE = 0.2
_SWISH = ("swish", "silu")
# What TFLite computes from integers; the others are computed in float and quantized.
_TABULATED = ("sigmoid", "tanh", "elu")


@dataclasses.dataclass(frozen=True)
class Unary:
    """A function of one tensor, element by element or row by row.

    Args:
        function: "sigmoid", "tanh", "elu", "leaky_relu", "prelu", "l2_normalize", or another name
            of Keras'.
        alpha: slope of a leaky ReLU where x is negative.
    """

    function: str
    alpha: float = 0.0

    @property
    def is_integer(self) -> bool:
        """Whether an integer operator computes it."""
        return self.function in (*_TABULATED, "leaky_relu", "prelu", "l2_normalize")


def unary_of(spec: LayerSpec) -> Unary | None:
    """The function of an activation layer; None for ReLU, softmax, linear and other layers."""
    config = spec.config
    if spec.kind == "Activation":
        function = str(config["activation"])
        plain = ("relu", "relu6", "softmax", "linear")
        return None if function in plain else Unary(function)
    if spec.kind == "LeakyReLU":
        return Unary("leaky_relu", float(config["alpha"]))
    if spec.kind == "ELU":
        alpha = float(config["alpha"])
        return Unary("elu") if alpha == 1 else Unary("elu with alpha", alpha)
    if function_of(spec) == LENGTH:
        return Unary("l2_normalize")
    if spec.kind == "PReLU":
        return Unary("prelu")
    return Unary("thresholded relu") if spec.kind == "ThresholdedReLU" else None


def split_activations(graph: LayerGraph) -> LayerGraph:
    """Make every activation function inside a layer a layer of its own behind it."""
    for _, _, spec in graph.in_order():
        function = spec.config.get("activation")
        if spec.kind not in _WITH_ACTIVATION or function in (None, "linear"):
            continue
        layer = _activation_layer(function, spec.name)
        if layer is None:
            continue
        spec.config["activation"] = "linear"
        for use in graph.uses(spec.name):
            graph.insert_behind(Ref(use), make_spec(layer))
    graph.sort()
    return graph


def _activation_layer(function: Any, name: str) -> Any:
    """The layer of an activation from a configuration: a name, or a layer's own configuration."""
    if isinstance(function, dict):
        kind = getattr(layers, str(function.get("class_name")), None)
        if kind is None:
            return None
        config = dict(function["config"])
        return kind.from_config({**config, "name": f"{name}_{config.get('name', 'activation')}"})
    if not isinstance(function, str):
        return None
    if function == "leaky_relu":
        return layers.LeakyReLU(_TF_LEAKY_SLOPE, name=f"{name}_{function}")
    return layers.Activation(function, name=f"{name}_{function}")


def rewrite_activations(graph: LayerGraph) -> LayerGraph:
    """Put swish, hard_sigmoid and sloped ReLUs into forms that have integer operators."""
    for number, _, spec in graph.in_order():
        if spec.kind == "ReLU":
            _sloped_relu(spec)
        function = spec.config["activation"] if spec.kind == "Activation" else None
        if function in _SWISH:
            _split_swish(graph, number, spec)
        elif function == "hard_sigmoid":
            _split_hard_sigmoid(graph, number, spec)
        elif function == "leaky_relu":
            spec.become(layers.LeakyReLU(_TF_LEAKY_SLOPE))
    graph.sort()
    return graph


def _sloped_relu(spec: LayerSpec) -> None:
    config = spec.config
    slope, threshold = float(config["negative_slope"] or 0), float(config["threshold"] or 0)
    if slope and not threshold and config["max_value"] is None:
        spec.become(layers.LeakyReLU(slope))


def _split_swish(graph: LayerGraph, number: int, spec: LayerSpec) -> None:
    call = graph.calls[number]
    source = call.refs()[0]
    gate = graph.append(layers.Activation("sigmoid", name=f"{spec.name}_sigmoid"), source)
    spec.become(layers.Multiply())
    call.read([source, gate])


def _split_hard_sigmoid(graph: LayerGraph, number: int, spec: LayerSpec) -> None:
    graph.insert_before(number, layers.Rescaling(0.2, 0.5, name=f"{spec.name}_line"))
    spec.become(layers.ReLU(max_value=1.0))


def is_known_function(name: str) -> bool:
    """Whether Keras has an activation function of this name."""
    return callable(getattr(keras.activations, name, None))
