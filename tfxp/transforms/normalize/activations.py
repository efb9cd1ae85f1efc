"""Activation functions as layers of a few known forms.

- activation functions inside layers become layers of their own;
- swish(x) becomes x * sigmoid(x), hard_sigmoid(x) becomes min(relu(0.2 x + 0.5), 1), as Keras 2
  defines it;
- an ELU with another slope than 1, which selu is too, becomes a LeakyReLU behind an ELU;
- a ReLU with a slope becomes a LeakyReLU.
"""

from __future__ import annotations

import dataclasses

from tfxp.keras import layers
from tfxp.transforms.activation_functions import (
    GELU_TANH,
    ActivationConfig,
    function_name,
    layer_of,
)
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref, make_spec
from tfxp.transforms.normalize.channel_functions import LENGTH, LOGARITHM, function_of
from tfxp.transforms.normalize.single_functions import ELEMENT_WISE
from tfxp.transforms.normalize.steps import Step, follow

# tf.nn.leaky_relu's slope, which a layer's configuration does not repeat.
_TF_LEAKY_SLOPE = 0.2
_SWISH = ("swish", "silu")
# Where a layer keeps the weights of a layer that is its activation.
_INSIDE = "activation."
# Functions of one code that LiteRT tabulates: name -> operator.
TABULATED = {
    "sigmoid": "LOGISTIC", "tanh": "TANH", "elu": "ELU", "gelu": "GELU", GELU_TANH: "GELU",
    "exponential": "EXP", "log": "LOG",
}  # fmt: skip
_SELU_SLOPE, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@dataclasses.dataclass(frozen=True)
class Unary:
    """A function of one tensor, element by element or row by row.

    Args:
        function: one of `TABULATED`, "leaky_relu", "prelu", "l2_normalize", another name of Keras'
            or TensorFlow's, or the registered name of a user's own.
        alpha: slope of a leaky ReLU where x is negative.
    """

    function: str
    alpha: float = 0.0

    @property
    def is_integer(self) -> bool:
        """Whether an operator of LiteRT's computes it; others are tables that the file holds."""
        return self.function in (*TABULATED, "leaky_relu", "prelu", "l2_normalize")


def unary_of(spec: LayerSpec) -> Unary | None:
    """The function of an activation layer; None for ReLU, softmax, linear and other layers."""
    config = spec.config
    if spec.kind == "Activation":
        function = function_name(config["activation"])
        plain = ("relu", "relu6", "softmax", "linear")
        return None if function in plain else Unary(function.removeprefix("tfxp>"))
    if spec.kind == "LeakyReLU":
        return Unary("leaky_relu", float(config["alpha"]))
    if spec.kind == "ELU":
        alpha = float(config["alpha"])
        return Unary("elu") if alpha == 1 else Unary("elu with alpha", alpha)
    if function_of(spec) == LENGTH:
        return Unary("l2_normalize")
    if function_of(spec) == LOGARITHM:
        return Unary("log")
    if function_of(spec) in ELEMENT_WISE:
        return Unary(str(function_of(spec)))
    if spec.kind == "PReLU":
        return Unary("prelu")
    thresholded = spec.kind == "ThresholdedReLU" or (
        spec.kind == "ReLU" and bool(float(config["threshold"] or 0))
    )
    return Unary("thresholded relu") if thresholded else None


def is_tabulated(spec: LayerSpec) -> bool:
    """Whether a layer computes a function that the file holds as a table of 256 codes."""
    unary = unary_of(spec)
    return unary is not None and not unary.is_integer


def split_activations(graph: LayerGraph) -> LayerGraph:
    """Make every activation function inside a layer of Keras' a layer of its own behind it.

    Recurrent layers keep theirs, which they apply at every step.
    """
    for _, _, spec in graph.in_order():
        function = spec.config.get("activation")
        if function_name(function) == "linear" or not _belongs_to_keras(spec.cls):
            continue
        if spec.kind == "Activation" and layer_of(function) is None:
            continue
        added = _activation_spec(spec, function)
        if spec.kind == "Activation":
            spec.become(added)
            spec.weights, spec.weight_names = added.weights, added.weight_names
            continue
        spec.config["activation"] = "linear"
        spec.pass_on_activity(added)
        for use in graph.uses(spec.name):
            graph.insert_behind(Ref(use), added)
    graph.sort()
    return graph


def _belongs_to_keras(kind: type) -> bool:
    """Whether Keras says what the setting "activation" of a layer class means."""
    return kind.__module__.startswith("tf_keras.") and not issubclass(kind, layers.RNN)


def _activation_spec(spec: LayerSpec, function: ActivationConfig) -> LayerSpec:
    """The layer that an activation of a layer becomes; it takes the weights that it has there."""
    kind = layer_of(function)
    if isinstance(function, dict) and kind is not None:
        config = dict(function["config"])
        added = LayerSpec(f"{spec.name}_{config.get('name', 'activation')}", kind, config)
    elif function == "leaky_relu":
        added = make_spec(layers.LeakyReLU(_TF_LEAKY_SLOPE, name=f"{spec.name}_{function}"))
    else:
        name = f"{spec.name}_{function_name(function).split('>')[-1]}"
        added = make_spec(layers.Activation(function, name=name))
    arrays = dict(zip(spec.weight_names, spec.weights, strict=True))
    inner = [name for name in arrays if name.startswith(_INSIDE)]
    added.set_arrays({name.removeprefix(_INSIDE): arrays.pop(name) for name in inner})
    spec.set_arrays(arrays)
    return added


def merge_last_activations(graph: LayerGraph) -> LayerGraph:
    """Put activations that end a network back into the layers whose names the outputs have."""
    wanted = dict(zip(graph.outputs, graph.output_names or [], strict=False))
    for ref, name in wanted.items():
        call, spec = graph.calls[ref.call], graph.spec_of(ref)
        before = graph.calls[call.refs()[0].call] if call.refs() else call
        single = len(graph.uses(before.layer)) == len(graph.uses(call.layer)) == 1
        if spec.kind != "Activation" or before.layer != name or not single:
            continue
        if graph.layers[name].config.get("activation") != "linear":
            continue
        if graph.only_consumer(call.refs()[0]) == ref.call and not graph.consumers(ref):
            graph.layers[name].config["activation"] = spec.config["activation"]
            spec.pass_on_activity(graph.layers[name])
            graph.bypass(ref.call)
    graph.sort()
    return graph


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
        elif function == "selu":
            _split_elu(graph, number, _SELU_SLOPE, _SELU_SCALE)
        elif spec.kind == "ELU" and float(spec.config["alpha"]) != 1:
            _split_elu(graph, number, float(spec.config["alpha"]))
    graph.sort()
    return graph


def _sloped_relu(spec: LayerSpec) -> None:
    config = spec.config
    slope, threshold = float(config["negative_slope"] or 0), float(config["threshold"] or 0)
    if slope and not threshold and config["max_value"] is None:
        spec.become(layers.LeakyReLU(slope))


def _split_elu(graph: LayerGraph, number: int, slope: float, scale: float = 1.0) -> None:
    """ELU(alpha) is the leaky ReLU of an ELU: where x is negative, so is exp(x) - 1."""
    name, shape = graph.calls[number].layer, graph.shape_of(Ref(number))
    steps = [layers.ELU(name=f"{name}_elu"), layers.LeakyReLU(slope, name=f"{name}_leaky")]
    if scale != 1:
        steps.append(layers.Rescaling(scale))
    follow(graph, number, [Step(layer, shape) for layer in steps])


def _split_swish(graph: LayerGraph, number: int, spec: LayerSpec) -> None:
    call = graph.calls[number]
    source = call.refs()[0]
    gate = graph.append(layers.Activation("sigmoid", name=f"{spec.name}_sigmoid"), source)
    spec.become(layers.Multiply())
    call.read([source, gate])


def _split_hard_sigmoid(graph: LayerGraph, number: int, spec: LayerSpec) -> None:
    graph.insert_before(number, layers.Rescaling(0.2, 0.5, name=f"{spec.name}_line"))
    spec.become(layers.ReLU(max_value=1.0))
