"""Which layers are given a mask: steps of a sequence that stand for nothing."""

from __future__ import annotations

from tfxp.keras import layers
from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref

#: The argument that holds them: none of Keras', so that whoever overlooks it is told.
STEP_MASKS = "step_masks"
# A mask covers (batch, steps); what has fewer axes than (batch, steps, channels) has none.
_LEAST_RANK = 3
# They support masks, and give out none.
_END_MASKS = ("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D")
# Their masks are those of all inputs; other layers hand on that of the first one.
_MERGES = (
    "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate",
)  # fmt: skip
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
        elif spec.name in given and reads_mask(spec) and not ignores_masks(call):
            found[spec.name] = given[spec.name]
    return found


def reads_mask(spec: LayerSpec) -> bool:
    """Whether a layer looks at the mask of what it reads, if that has one."""
    if spec.kind == "TimeDistributed":  # as far as the layer inside does; a network may
        inside = str(spec.config["layer"]["class_name"])
        return inside in _READ_MASKS or not hasattr(layers, inside)
    return spec.kind in _READ_MASKS


def step_masks(call: Call) -> list[Ref | None]:
    """The masks that `masks_to_tensors` gave a call, in the order of its inputs; empty if none.

    Tensors of (batch, steps, 1) that are 1 for a step that counts, else 0; None where all do.
    """
    return list(call.kwargs.get(STEP_MASKS, ()))


def ignores_masks(call: Call) -> bool:
    """Whether a call is told that all steps count, whatever its inputs carry."""
    return "mask" in call.kwargs and call.kwargs["mask"] is None


def makes_mask(spec: LayerSpec) -> bool:
    """Whether a layer says which steps count."""
    return spec.kind == "Masking" or bool(spec.config.get("mask_zero"))


def masked_layers(graph: LayerGraph) -> dict[str, str]:
    """Layers whose input carries a mask -> the layer that made it."""
    makers = mask_makers(graph)
    found = {}
    for _, call, spec in graph.in_order():
        given = [maker for ref in call.refs() for maker in makers.get(ref, ())]
        if given:
            found[spec.name] = given[0]
    return found


def mask_makers(graph: LayerGraph) -> dict[Ref, tuple[str, ...]]:
    """Tensors that have a mask -> the layers that made it: a step counts if all of them say so.

    Keras hands masks on past layers that support them; the others lose them silently. A join along
    another axis than the last joins the masks too, and is taken as the maker of one.
    """
    makers: dict[Ref, tuple[str, ...]] = {}
    for number, call, spec in graph.in_order():
        given = [makers.get(ref, ()) for ref in call.refs()]
        if makes_mask(spec):
            found: tuple[str, ...] = (spec.name,)
        elif not any(given) or ignores_masks(call) or not _hands_on(spec, call):
            continue
        elif joins_masks(spec, call):
            found = (spec.name,)
        else:
            taken = given if spec.kind in _MERGES else given[:1]
            found = tuple(dict.fromkeys(maker for part in taken for maker in part))
        if found:
            makers[Ref(number)] = found
    return makers


def joins_masks(spec: LayerSpec, call: Call) -> bool:
    """Whether a layer puts steps behind each other, and their masks with them."""
    ranks = {len(shape) for shape in call.output_shapes[:1]}
    return spec.kind == "Concatenate" and spec.config["axis"] not in (-1, *(r - 1 for r in ranks))


def hands_on_one_mask(spec: LayerSpec, call: Call) -> bool:
    """Whether a layer's output has the mask of its one input, at which it does not look itself."""
    single = len(call.refs()) == 1 and not makes_mask(spec)
    return single and not reads_mask(spec) and _hands_on(spec, call)


def _hands_on(spec: LayerSpec, call: Call) -> bool:
    ranks = [len(shape) for shape in call.output_shapes[:1]]
    if spec.kind in _END_MASKS or any(rank < _LEAST_RANK for rank in ranks):
        return False
    try:
        return bool(spec.cls.from_config(dict(spec.config)).supports_masking)
    except (TypeError, ValueError):  # classes whose configuration is no set of arguments
        return True
