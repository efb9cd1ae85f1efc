"""What tfmot's annotations ask for: which layers are quantized, and by whose QuantizeConfig.

As `quantize_apply` has it, an annotated layer is quantized, by its own QuantizeConfig if it was
given one. A layer that is not annotated stays as it is, but one that alone feeds an annotated layer
gets its output quantized, and so does an input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tfxp.keras_types import KerasLayer, KerasModel
from tfxp.quantization.annotated.own_config import own_config
from tfxp.quantization.layer_roles import role_of, table_name
from tfxp.quantization.layer_table import LAYERS
from tfxp.quantization.quantize_config import TensorQuantizeConfig
from tfxp.quantization.role import KEEP
from tfxp.tfmot import QuantizeAnnotate, QuantizeConfig
from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref, make_spec
from tfxp.transforms.layer_spec import Treatment
from tfxp.transforms.normalize.normalize import is_relu, is_softmax


class Annotation(NamedTuple):
    """An annotated layer, and the QuantizeConfig that it was given, if any."""

    layer: KerasLayer
    config: QuantizeConfig | None


Annotations = Mapping[str, Annotation]


def annotations_of(model: KerasModel) -> dict[str, Annotation]:
    """Layer -> its annotation, for the annotated layers of a model."""
    return {
        layer.layer.name: Annotation(layer.layer, layer.quantize_config)
        for layer in model.layers
        if isinstance(layer, QuantizeAnnotate)
    }


def take_off(graph: LayerGraph, model: KerasModel) -> None:
    """Put the annotated layers in the places of their annotations, under their own names."""
    found = {la.name: la.layer for la in model.layers if isinstance(la, QuantizeAnnotate)}
    names = {name: layer.name for name, layer in found.items()}
    graph.layers = {
        names.get(name, name): make_spec(found[name]) if name in found else spec
        for name, spec in graph.layers.items()
    }
    for call in graph.calls.values():
        call.layer = names.get(call.layer, call.layer)


def treat(graph: LayerGraph, annotations: Annotations) -> dict[str, TensorQuantizeConfig]:
    """Say of every layer of a graph whether it is quantized.

    Returns:
        Layer -> what its own QuantizeConfig asks for, as far as tfxp's wrapper can do that; a
        layer with another one is left alone, for tfmot to wrap.
    """
    own: dict[str, TensorQuantizeConfig] = {}
    for name, (layer, config) in annotations.items():
        known = None if config is None else own_config(layer, config)
        if known is not None:
            own[name] = known
    feeding, on_grid = _feeding(graph, annotations), set[Ref]()
    treated = set()
    for number, call, spec in graph.in_order():
        moves = all(ref in on_grid for ref in call.refs())
        if spec.name not in treated:
            treated.add(spec.name)
            if spec.name not in annotations:
                spec.treatment = _treatment(spec, spec.name in feeding, moves)
            elif annotations[spec.name].config is None:
                spec.treatment = _annotated_treatment(graph, call, spec, moves)
            elif spec.name not in own:
                spec.treatment = Treatment.UNTOUCHED
        passed = spec.treatment is Treatment.PASSED
        if spec.treatment is not Treatment.UNTOUCHED and (moves or not passed):
            on_grid.add(Ref(number))
    return own


def _feeding(graph: LayerGraph, annotations: Annotations) -> set[str]:
    """Layers that are an annotated layer's only input, and inputs that one reads among others."""
    found = set()
    for number, call, spec in graph.in_order():
        if spec.kind == "InputLayer":
            readers = {graph.calls[reader].layer for reader in graph.consumers(Ref(number))}
            found |= {spec.name} if readers & set(annotations) else set()
        elif spec.name in annotations and len(call.refs()) == len(graph.uses(spec.name)) == 1:
            found.add(graph.spec_of(call.refs()[0]).name)
    return found


def _annotated_treatment(graph: LayerGraph, call: Call, spec: LayerSpec, moves: bool) -> Treatment:
    """What becomes of an annotated layer: one that keeps its input's format needs an input that has
    one, and a ReLU something to close."""
    if table_name(spec) not in LAYERS or not role_of(spec).role.computes:
        return Treatment.DEFAULT
    closes = graph.spec_of(call.refs()[0]).treatment is not Treatment.OUTPUT
    if moves and (closes or not role_of(spec).role.closes):
        return Treatment.DEFAULT
    return Treatment.OUTPUT


def _treatment(spec: LayerSpec, feeds: bool, moves: bool) -> Treatment:
    """What becomes of a layer that is not annotated.

    Args:
        spec: the layer.
        feeds: whether it is an annotated layer's only input, or a network input that one reads.
        moves: whether all it reads is on grids.
    """
    if spec.kind == "InputLayer":
        return Treatment.DEFAULT if feeds else Treatment.UNTOUCHED
    if is_softmax(spec) and not spec.is_read:
        return Treatment.DEFAULT
    if table_name(spec) not in LAYERS or role_of(spec).accepts(spec):
        return Treatment.UNTOUCHED
    role = role_of(spec).role
    if role == KEEP or (is_relu(spec) == float("inf") and moves):
        return Treatment.PASSED
    quantized = role.owns_format or role.computes
    return Treatment.OUTPUT if feeds and quantized else Treatment.UNTOUCHED
