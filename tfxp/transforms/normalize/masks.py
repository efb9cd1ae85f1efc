"""Which layers are given a mask: steps of a sequence that stand for nothing."""

from __future__ import annotations

from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref

# A mask covers (batch, steps); what has fewer axes than (batch, steps, channels) has none.
_LEAST_RANK = 3
# They support masks, and give out none.
_END_MASKS = ("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D")
# They look at the mask they are given.
_READ_MASKS = (
    "GlobalAveragePooling1D", "Softmax", "MultiHeadAttention", "Attention",
    "AdditiveAttention", "LSTM", "GRU", "SimpleRNN", "RNN",
    "ConvLSTM2D", "Bidirectional", "TimeDistributed",
)  # fmt: skip


def mask_readers(graph: LayerGraph) -> dict[str, str]:
    """Layers that leave out steps or elements -> the layer that says which.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> from tfxp.transforms.normalize.masks import mask_readers
        >>> from tfxp.transforms.layer_graph import LayerGraph
        >>> x = inputs = keras.Input((7,))
        >>> x = layers.Embedding(11, 6, mask_zero=True, name="words")(x)
        >>> model = keras.Model(inputs, layers.GlobalAveragePooling1D(name="mean")(x))
        >>> mask_readers(LayerGraph.from_model(model))
        {'mean': 'words'}
    """
    given = masked_layers(graph)
    found = {}
    for _, call, spec in graph.in_order():
        second = call.refs()[1:] if spec.kind == "Softmax" else []
        if second:
            found[spec.name] = graph.spec_of(second[0]).name
        elif spec.kind in _READ_MASKS and spec.name in given:
            found[spec.name] = given[spec.name]
    return found


def makes_mask(spec: LayerSpec) -> bool:
    """Whether a layer says which steps count."""
    return spec.kind == "Masking" or bool(spec.config.get("mask_zero"))


def masked_layers(graph: LayerGraph) -> dict[str, str]:
    """Layers whose input carries a mask -> the layer that made it."""
    return _followed(graph)[0]


def masked_outputs(graph: LayerGraph) -> list[str]:
    """Layers that make masks which reach an output of the network, where losses read them."""
    makers = _followed(graph)[1]
    return [makers[ref] for ref in graph.outputs if ref in makers]


def _followed(graph: LayerGraph) -> tuple[dict[str, str], dict[Ref, str]]:
    """Who made the mask of each layer's input, and of each tensor that has one.

    Keras hands masks on past layers that support them; the others lose them silently.
    """
    makers: dict[Ref, str] = {}
    found: dict[str, str] = {}
    for number, call, spec in graph.in_order():
        given = next((makers[ref] for ref in call.refs() if ref in makers), None)
        if given is not None:
            found[spec.name] = given
        maker = spec.name if makes_mask(spec) else given
        if maker is not None and (makes_mask(spec) or _hands_on(spec, call)):
            makers[Ref(number)] = maker
    return found, makers


def _hands_on(spec: LayerSpec, call: Call) -> bool:
    ranks = [len(shape) for shape in call.output_shapes[:1]]
    if spec.kind in _END_MASKS or any(rank < _LEAST_RANK for rank in ranks):
        return False
    try:
        return bool(spec.cls.from_config(dict(spec.config)).supports_masking)
    except (TypeError, ValueError):  # classes whose configuration is no set of arguments
        return True
