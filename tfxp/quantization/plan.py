"""Where a network is quantized: which layer's output, by whose rule, and who reads it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any

import tensorflow as tf

from tfxp.keras_types import KerasModel
from tfxp.precision import LayerKind
from tfxp.precision.selectors import Node, select, without_index_formats
from tfxp.quantization.annotated.annotations import Annotations, annotations_of, take_off, treat
from tfxp.quantization.layer_role import LayerRole
from tfxp.quantization.layer_roles import check_supported, role_of
from tfxp.quantization.quantize_config import TensorQuantizeConfig
from tfxp.quantization.role import MEAN, Role
from tfxp.quantization.unsupported import check_inputs, check_weights
from tfxp.transforms.fold_batch_norm import fold_batch_norm
from tfxp.transforms.kept_batch_norm import keep_batch_norm
from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref
from tfxp.transforms.layer_spec import Treatment
from tfxp.transforms.normalize.activations import unary_of
from tfxp.transforms.normalize.affine import affine_to_batch_norm
from tfxp.transforms.normalize.channel_functions import PAD, function_of
from tfxp.transforms.normalize.constant_layers import CONSTANT_LAYERS
from tfxp.transforms.normalize.normalize import is_relu, is_softmax, normalize
from tfxp.transforms.set_aside import setting_aside

_POSITIVE = ("sigmoid", "softplus", "exponential")


@dataclasses.dataclass(frozen=True)
class Point:
    """A place where a tensor is quantized.

    Args:
        owner: the layer whose rule in the precision map decides ("activations").
        layer: the layer whose output is quantized: the owner, or the ReLU that closes it.
        role: the owner's role.
        nonnegative: whether the tensor cannot be negative, by construction.
    """

    owner: str
    layer: str
    role: Role
    nonnegative: bool


@dataclasses.dataclass(frozen=True)
class QuantizationPlan:
    """A prepared graph with its quantization points.

    Args:
        graph: normalised graph, BatchNormalization folded or kept.
        points: owner -> point.
        sources: tensor -> owner of the format it has; what has none is absent: outputs of softmax
            layers, states of recurrent ones, indices.
        aliases: layers that were folded or closed another -> the owner.
        nodes: calls as selectors see them.
        own_configs: layer -> the quantizers that its annotation asks for.
    """

    graph: LayerGraph
    points: dict[str, Point]
    sources: dict[Ref, str]
    aliases: dict[str, str]
    nodes: dict[int, Node[int]]
    own_configs: dict[str, TensorQuantizeConfig] = dataclasses.field(default_factory=dict)

    def role(self, layer: str) -> LayerRole:
        """The role of a layer."""
        return role_of(self.graph.layers[layer])

    @property
    def macs(self) -> list[str]:
        """Layers that multiply by weights and add up, in order."""
        return [name for name in self.graph.layers if self.role(name).role.adds_up]

    @property
    def weighted(self) -> list[str]:
        """Layers with kernels to quantize, those that no integer operator multiplies included."""
        return [name for name in self.graph.layers if self.role(name).weights]

    @property
    def constants(self) -> list[str]:
        """Layers that add or multiply by a constant."""
        return [n for n, spec in self.graph.layers.items() if spec.kind in CONSTANT_LAYERS]

    @functools.cached_property
    def normalized(self) -> frozenset[str]:
        """Layers whose output a kept BatchNormalization reads."""
        return self._read_by(lambda role: role.is_absorbed)

    @functools.cached_property
    def before_activation(self) -> frozenset[str]:
        """Layers whose output a ReLU reads that may close them."""
        return self._read_by(lambda role: role.closes)

    def _read_by(self, kind: Callable[[Role], bool]) -> frozenset[str]:
        """Layers with a reader whose role is of some kind."""
        calls = self.graph.calls
        readers = [call for call in calls.values() if kind(self.role(call.layer).role)]
        return frozenset(calls[ref.call].layer for call in readers for ref in call.refs())

    def input_owners(self, layer: str) -> list[str]:
        """Owners of the tensors that all calls of a layer read."""
        calls = [self.graph.calls[number] for number in self.graph.uses(layer)]
        return [self.sources[ref] for call in calls for ref in call.refs() if ref in self.sources]

    def selected(self) -> dict[str, list[str]]:
        """What the selectors of a precision map stand for in this network."""
        return select(self.nodes, [ref.call for ref in self.graph.outputs])


def prepare(
    model: KerasModel, fold: bool = True, pre_activation: Collection[str] = ()
) -> QuantizationPlan:
    """Normalise a Keras model and find its quantization points.

    Args:
        model: a Sequential or functional tf_keras model; of one that was annotated with tfmot,
            the annotated layers are quantized.
        fold: whether BatchNormalization is folded; otherwise it is kept, to be absorbed at
            export.
        pre_activation: owners whose output is quantized before their ReLU.

    Raises:
        ModelError: weights are NaN or infinite.
        UnsupportedLayerError: some layers are not supported, or an input takes strings.
    """
    graph, annotations = LayerGraph.from_model(model), annotations_of(model)
    if annotations:
        take_off(graph, model)
    return prepare_graph(graph, annotations, fold, pre_activation)


def prepare_graph(
    graph: LayerGraph,
    annotations: Annotations,
    fold: bool = True,
    pre_activation: Collection[str] = (),
) -> QuantizationPlan:
    """The same from a graph and annotations of its layers; none at all stand for all layers."""
    check_inputs(graph)
    check_weights(graph)
    own = treat(graph, annotations) if annotations else {}
    with setting_aside(graph):
        normalize(graph)
        keep = () if fold else keep_batch_norm(graph)
        fold_batch_norm(affine_to_batch_norm(graph), keep)
    check_supported(graph)
    return dataclasses.replace(make_plan(graph, pre_activation), own_configs=own)


def logit_tensors(plan: QuantizationPlan, model: KerasModel) -> list[Any]:
    """The outputs of a model built from the plan, or what final Softmax layers read."""
    tensors = []
    for ref, tensor in zip(plan.graph.outputs, tf.nest.flatten(model.outputs), strict=True):
        if role_of(plan.graph.spec_of(ref)).role.is_final:
            layer, node_index = tensor._keras_history[:2]  # a shared layer has many inputs
            tensor = tf.nest.flatten(layer.inbound_nodes[node_index].keras_inputs)[0]
        tensors.append(tensor)
    return tensors


def make_plan(graph: LayerGraph, pre_activation: Collection[str] = ()) -> QuantizationPlan:
    """Find the quantization points of a prepared graph."""
    points: dict[str, Point] = {}
    sources: dict[Ref, str] = {}
    nonnegative: dict[Ref, bool] = {}
    aliases = graph.aliases()
    nodes = _nodes(graph)
    for number, call, spec in graph.in_order():
        role, result, reads = role_of(spec), Ref(number), call.refs()
        signs = [nonnegative[ref] for ref in reads if ref in nonnegative]
        positive = _keeps_sign(spec, role, call) and bool(signs) and all(signs)
        positive = positive or _is_positive(spec)
        nonnegative[result] = positive
        if nodes[number].owns_format:
            layer = _closing_layer(graph, number, spec.name in pre_activation)
            relu = is_relu(graph.layers[layer]) is not None
            points[spec.name] = Point(spec.name, layer, role.role, positive or relu)
            sources[result] = spec.name
            if layer != spec.name:
                aliases[layer] = spec.name
        elif reads and reads[0] in sources and not role.role.is_float:
            if role.role.is_final:
                aliases[spec.name] = sources[reads[0]]
            else:
                sources[result] = sources[reads[0]]
    return QuantizationPlan(graph, points, sources, aliases, nodes)


def _nodes(graph: LayerGraph) -> dict[int, Node[int]]:
    """Calls as selectors see them."""
    nodes = {}
    for number, call, spec in graph.in_order():
        role, reads = role_of(spec), [ref.call for ref in call.refs()]
        weighted, owns, free = bool(role.weights), role.role.owns_format, role.role.is_float
        nodes[number] = Node(spec.name, role.kind, reads, weighted, owns, free)
    return without_index_formats(nodes)


def _keeps_sign(spec: LayerSpec, role: LayerRole, call: Call) -> bool:
    if function_of(spec) == PAD and call.kwargs["constant_values"] < 0:
        return False
    signed = role.kind == LayerKind.SUBTRACT or bool(role.weights)  # a constant may be negative
    return role.role.keeps_sign and not signed


def _is_positive(spec: LayerSpec) -> bool:
    unary = unary_of(spec)
    if is_relu(spec) is not None or is_softmax(spec):
        return True
    if spec.treatment is Treatment.OUTPUT:  # its activation function is still inside
        return spec.config.get("activation") in ("relu", "relu6", "softmax", *_POSITIVE)
    return unary is not None and unary.function in _POSITIVE


def _closing_layer(graph: LayerGraph, number: int, before_activation: bool) -> str:
    """The layer behind which the output of call `number` is quantized."""
    name = graph.calls[number].layer
    current, role = number, role_of(graph.layers[name]).role
    if not role.closable or len(graph.uses(name)) > 1:
        return name
    if role == MEAN and None in graph.input_shape(number)[1:]:
        return name  # how many elements it averages is read off its own input, not the ReLU's
    while True:
        following = graph.only_consumer(Ref(current))
        if following is None:
            return graph.calls[current].layer
        spec = graph.layers[graph.calls[following].layer]
        role = role_of(spec).role
        closes = role.closes and not before_activation
        if len(graph.uses(spec.name)) > 1 or not (closes or role.is_absorbed):
            return graph.calls[current].layer
        current = following
        if closes:
            return spec.name
