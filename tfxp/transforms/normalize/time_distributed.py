"""TimeDistributed layers become the layers inside them.

A layer that treats every position alike is called once, for all steps together. Convolutions, pools
and others that look at images or sequences are called once for every step, on what is cut out of
the input; the outputs are put side by side. Layers that follow each other, as a small network for
the pictures of a film does, go on with the pieces.

Layers stay as they are where steps are many or of unknown number, and where a mask says which
count.
"""

from __future__ import annotations

from tfxp.keras import layers
from tfxp.transforms.inner_model import model_inside
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref, Shape
from tfxp.transforms.linear_layers import LINEAR_LAYERS
from tfxp.transforms.normalize.function_layers import WHOLE, slicing_spec
from tfxp.transforms.normalize.masks import masked_layers
from tfxp.transforms.normalize.unrolled import MOST_STEPS

# These act on the last axis or on every element, whatever stands before.
_ANY_RANK = (
    "Dense",
    "Activation",
    "ReLU",
    "LeakyReLU",
    "ELU",
    "Softmax",
    "Dropout",
    "Rescaling",
    "LayerNormalization",
)
# These are called for every step, and so are those above behind one of them.
_STEP_BY_STEP = (
    *_ANY_RANK, *LINEAR_LAYERS, "SeparableConv1D", "SeparableConv2D", "BatchNormalization",
    "MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D",
    "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalAveragePooling1D",
    "GlobalAveragePooling2D", "Flatten", "Reshape", "Permute", "ZeroPadding1D", "ZeroPadding2D",
    "Cropping1D", "Cropping2D", "UpSampling1D", "UpSampling2D", "SpatialDropout1D",
    "SpatialDropout2D",
)  # fmt: skip
# What must not stand in a network inside.
_READ_STEPS = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "ConvLSTM2D", "TimeDistributed")


def unwrap_time_distributed(graph: LayerGraph) -> LayerGraph:
    """Call the layers inside TimeDistributed, for all steps at once or one by one."""
    masked = masked_layers(graph)
    pieces: dict[Ref, list[Ref]] = {}  # what is put side by side -> its steps
    for number, call, spec in graph.in_order():
        if spec.kind != "TimeDistributed":
            continue
        once = len(graph.uses(spec.name)) == 1 and spec.name not in masked
        in_pieces = once and call.refs()[0] in pieces
        inner, apart = _layer_inside(spec), once and _has_few_steps(graph, number)
        if inner is None:
            network = _network_inside(spec) if apart else None
            if network is not None:
                _write_out(graph, number, pieces, _Network(graph, spec, network))
        elif inner.kind in _ANY_RANK and not in_pieces and _counts_from_the_end(inner):
            _unwrap(spec, inner)
        elif apart and inner.kind in _STEP_BY_STEP:
            _write_out(graph, number, pieces, _Layer(graph, spec, inner))
    graph.sort()
    return graph


def _layer_inside(spec: LayerSpec) -> LayerSpec | None:
    """The layer inside; None for one of no class of Keras', or a mean over all steps' outputs."""
    written = spec.config["layer"]
    kind, config = getattr(layers, str(written["class_name"]), None), written["config"]
    if kind is None or config.get("activity_regularizer") is not None:
        return None
    return LayerSpec(spec.name, kind, config)


def _network_inside(spec: LayerSpec) -> LayerGraph | None:
    """The network inside; None for what is none, has steps of its own, several inputs or outputs,
    or losses of its own, of which the mean over all steps is taken."""
    model = model_inside(spec)
    if model is None:
        return None
    network = LayerGraph.from_model(model)
    inside = network.layers.values()
    regular = not any(layer.kind in _READ_STEPS or layer.activity_regularizer for layer in inside)
    single = len(network.inputs) == len(network.outputs) == 1
    return network if regular and single and not network.loss_calls else None


def _counts_from_the_end(inner: LayerSpec) -> bool:
    """Whether its settings mean the same with the axis of time in front."""
    config = inner.config
    return config.get("axis", -1) in (-1, [-1]) and not config.get("noise_shape")


def _unwrap(spec: LayerSpec, inner: LayerSpec) -> None:
    spec.become(inner)
    spec.weight_names = [name.removeprefix("layer.") for name in spec.weight_names]


def _has_few_steps(graph: LayerGraph, number: int) -> bool:
    shapes = graph.input_shape(number), graph.shape_of(Ref(number))
    known = all(len(shape) > 2 and shape[1] and None not in shape[2:] for shape in shapes)
    return known and int(shapes[0][1] or 0) <= MOST_STEPS


class _Layer:
    """A layer, ready to be called for every step; it takes the name of the layer around it."""

    def __init__(self, graph: LayerGraph, spec: LayerSpec, inner: LayerSpec) -> None:
        self._graph, self._spec = graph, spec
        _unwrap(spec, inner)

    def call(self, ref: Ref, shape: Shape) -> Ref:
        return self._graph.append(self._spec, ref, shape=shape)


class _Network:
    """A network, whose layers are called for every step; they keep their names."""

    def __init__(self, graph: LayerGraph, spec: LayerSpec, network: LayerGraph) -> None:
        self._graph, self._network, self._names = graph, network, {}
        graph.left_behind += network.left_behind
        for name, layer in network.layers.items():
            if layer.kind != "InputLayer":
                if "trainable" in layer.config and not spec.is_trainable:
                    layer.config["trainable"] = False
                self._names[name] = graph.add_layer(layer).name

    def call(self, ref: Ref, shape: Shape) -> Ref:
        known = {self._network.inputs[0]: ref}
        for number, call, spec in self._network.in_order():
            if spec.kind != "InputLayer":
                args, kwargs = call.map_refs(known.__getitem__)
                name, shapes = self._names[call.layer], call.output_shapes
                made = self._graph.add_call(name, args, kwargs, shapes)
                known |= {Ref(number, i): Ref(made.call, i) for i in range(len(shapes))}
        return known[self._network.outputs[0]]


def _write_out(
    graph: LayerGraph, number: int, pieces: dict[Ref, list[Ref]], inside: _Layer | _Network
) -> None:
    """Call what is inside for every step, and put the outputs side by side."""
    call = graph.calls[number]
    source, name, shape = call.refs()[0], call.layer, graph.shape_of(Ref(number))
    _, steps, *given = graph.input_shape(number)
    cuts = pieces.get(source) or [
        graph.append(slicing_spec(f"{name}_now"), source, [WHOLE, step], shape=(None, *given))
        for step in range(int(steps or 0))
    ]
    results = [inside.call(cut, (None, *shape[2:])) for cut in cuts]
    one = (1, *shape[2:])
    rows = [
        graph.append(layers.Reshape(one, name=f"{name}_row"), ref, shape=(None, *one))
        for ref in results
    ]
    joined = graph.append(layers.Concatenate(axis=1, name=f"{name}_steps"), rows, shape=shape)
    graph.replace(Ref(number), joined)
    graph.remove_call(number)
    pieces[joined] = results
