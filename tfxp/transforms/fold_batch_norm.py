"""Fold BatchNormalization into the layer before or after it, or turn it into a 1x1 convolution.

BN(y) = g * y + c,    g = gamma / sqrt(variance + epsilon),    c = beta - g * mean

before:  BN(conv(x, W) + b)  = conv(x, g * W) + g * b + c        (any padding)
after:   conv(BN(x), W) + b  = conv(x, W * g) + b + sum(W * c)   (no zero padding, or c = 0)
alone:   a depthwise 1x1 convolution with kernel g and bias c
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tfxp.keras import layers
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref, Shape
from tfxp.transforms.linear_layers import CONV, DENSE, LINEAR_LAYERS
from tfxp.transforms.training_settings import MovedWeight, carry_settings, lose_settings


def fold_batch_norm(graph: LayerGraph, keep: Collection[str] = ()) -> LayerGraph:
    """Remove BatchNormalization from a graph; its outputs at inference stay the same.

    The arithmetic is done in float64, so that outputs change by float32 rounding only.

    Args:
        graph: graph to edit.
        keep: names of layers to leave alone.

    Returns:
        The same graph.
    """
    for number, _, spec in graph.in_order():
        if spec.kind != "BatchNormalization" or spec.name in keep:
            continue
        if not (_fold_back(graph, number) or _fold_forward(graph, number)):
            _become_depthwise(graph, number)
    graph.sort()
    return graph


def affine(spec: LayerSpec) -> tuple[np.ndarray, np.ndarray]:
    """g and c of a BatchNormalization at inference, float64 (channels,)."""
    arrays = {name: value.astype(np.float64) for name, value in spec.arrays().items()}
    deviation = np.sqrt(arrays["moving_variance"] + spec.config["epsilon"])
    g = arrays.get("gamma", np.ones_like(deviation)) / deviation
    return g, arrays.get("beta", np.zeros_like(deviation)) - g * arrays["moving_mean"]


def follows_foldable(graph: LayerGraph, number: int) -> bool:
    """Whether the BatchNormalization called at `number` can go into the layer before it.

    Both may be shared, if every call of one is followed by a call of the other.
    """
    call = graph.calls[number]
    spec, source = graph.layers[call.layer], call.refs()[0]
    before = graph.spec_of(source)
    return (
        before.kind in LINEAR_LAYERS
        and before.config.get("activation", "linear") == "linear"
        and before.activity_regularizer is None
        and _always_follows(graph, spec, before)
        and _normalises_channels(spec, graph.shape_of(source))
    )


def _always_follows(graph: LayerGraph, spec: LayerSpec, before: LayerSpec) -> bool:
    calls = graph.uses(spec.name)
    sources = [graph.calls[number].refs()[0] for number in calls]
    return [ref.call for ref in sources] == graph.uses(before.name) and all(
        graph.only_consumer(ref) == number for ref, number in zip(sources, calls, strict=True)
    )


def _normalises_channels(spec: LayerSpec, shape: Shape) -> bool:
    axis = spec.config["axis"]
    axis = list(axis) if isinstance(axis, list | tuple) else [axis]
    return axis == [-1] or (bool(shape) and axis == [len(shape) - 1])


def _fold_back(graph: LayerGraph, number: int) -> bool:
    if not follows_foldable(graph, number):
        return False
    spec = graph.layers[graph.calls[number].layer]
    before = graph.spec_of(graph.calls[number].refs()[0])
    g, c = affine(spec)
    arrays = before.arrays()
    name, kernel = next(iter(arrays.items()))
    form = LINEAR_LAYERS[before.kind]
    channels = form.channels(kernel.shape) + (1,) * form.trailing
    if is_channel_scale(before) and not before.is_trainable and (kernel == 1).all():
        before.config["trainable"] = spec.is_trainable  # ones that only carried the normalization
    bias = arrays.get("bias", np.zeros(g.shape)).astype(np.float64)
    before.set_arrays(
        {
            name: (kernel.astype(np.float64) * g.reshape(channels)).astype(np.float32),
            "bias": (g * bias + c).astype(np.float32),
        }
    )
    before.config["use_bias"] = True
    _fold_settings(graph, spec, before)
    spec.pass_on_activity(before)
    before.absorb(spec)
    for use in graph.uses(spec.name):
        graph.bypass(use)
    return True


def _fold_settings(graph: LayerGraph, norm: LayerSpec, into: LayerSpec) -> None:
    """Say what training loses where a normalization goes into a layer with weights of its own."""
    remedy = "which is folded; fold_batch_norm=False keeps it"
    lose_settings(graph, norm, remedy)
    if norm.is_trainable and not into.is_trainable:
        graph.left_behind.append(f"the training of {norm.name!r} before frozen {into.name!r}")
    for kind in (key for key in into.config if key.endswith("_constraint")):
        if into.config[kind] is not None and not _is_ours(into.config[kind]):
            graph.left_behind.append(f"{kind} of {into.name!r} ({norm.name!r} is folded into it)")
            into.config[kind] = None


def _is_ours(setting: object) -> bool:
    """Whether a constraint is meant for kernels as they are quantized."""
    name = setting.get("registered_name") if isinstance(setting, dict) else None
    return str(name).startswith("tfxp>")


def _fold_forward(graph: LayerGraph, number: int) -> bool:
    spec = graph.layers[graph.calls[number].layer]
    consumer = graph.only_consumer(Ref(number))
    if consumer is None or len(graph.uses(spec.name)) > 1 or spec.activity_regularizer is not None:
        return False
    after = graph.layers[graph.calls[consumer].layer]
    form = LINEAR_LAYERS.get(after.kind)
    dense = form is DENSE
    one_group = form is CONV and after.config.get("groups", 1) == 1
    normal = _normalises_channels(spec, graph.shape_of(Ref(number)))
    if not ((dense or one_group) and normal and len(graph.uses(after.name)) == 1):
        return False
    g, c = affine(spec)
    if not dense and after.config["padding"] != "valid" and c.any():
        return False  # the padding would be shifted too
    arrays = after.arrays()
    kernel = arrays["kernel"].astype(np.float64)
    bias = arrays.get("bias", np.zeros(kernel.shape[-1])).astype(np.float64)
    shift = (kernel * c[:, None]).sum(axis=tuple(range(kernel.ndim - 1)))
    after.set_arrays(
        {
            "kernel": (kernel * g[:, None]).astype(np.float32),
            "bias": (bias + shift).astype(np.float32),
        }
    )
    after.config["use_bias"] = True
    _fold_settings(graph, spec, after)
    after.absorb(spec)
    graph.bypass(number)
    return True


def scales_images(graph: LayerGraph, number: int) -> bool:
    """Whether a depthwise convolution can do the work of the BatchNormalization at `number`."""
    shape = graph.shape_of(Ref(number))
    unknown = len(shape) != 4 and shape[1:].count(None) > 1  # more than a Reshape can leave open
    spec = graph.layers[graph.calls[number].layer]
    return len(shape) > 1 and not unknown and _normalises_channels(spec, shape)


def is_channel_scale(spec: LayerSpec) -> bool:
    """Whether a layer multiplies every channel by a number, as a lone BatchNormalization does."""
    return spec.kind == "DepthwiseConv2D" and all(
        tuple(np.atleast_1d(spec.config[key])) in ((1,), (1, 1))
        for key in ("kernel_size", "strides", "depth_multiplier")
    )


def _become_depthwise(graph: LayerGraph, number: int) -> None:
    """Replace the layer by a depthwise 1x1 convolution of the same name, for every call of it."""
    if not scales_images(graph, number):
        return
    spec = graph.layers[graph.calls[number].layer]
    g, c = affine(spec)
    settings, arrays = spec.config, spec.arrays()
    spec.become(layers.DepthwiseConv2D(1))
    scale = np.unique(arrays["moving_variance"] + settings["epsilon"])
    factor = float(1 / np.sqrt(scale[0])) if scale.size == 1 else None
    shifted = bool(arrays["moving_mean"].any())
    moves = (
        MovedWeight("gamma", spec, "depthwise", factor, reshaped=True),
        MovedWeight("beta", spec, "bias", None if shifted else 1.0),
    )
    carry_settings(graph, spec.name, settings, moves)
    spec.set_arrays(
        {
            "depthwise_kernel": g.astype(np.float32).reshape(1, 1, -1, 1),
            "bias": c.astype(np.float32),
        }
    )
    for use in graph.uses(spec.name):
        reshape_to_image(graph, use)


def reshape_to_image(graph: LayerGraph, number: int) -> None:
    """Positions, of whatever rank, as the rows of an image one column wide."""
    call, shape = graph.calls[number], graph.shape_of(Ref(number))
    if len(shape) == 4:
        return
    rows = -1 if None in shape[1:] else int(np.prod([int(size or 1) for size in shape[1:-1]]))
    image = (shape[0], None if rows < 0 else rows, 1, shape[-1])
    as_image = layers.Reshape((rows, 1, shape[-1]), name=f"{call.layer}_as_image")
    graph.insert_before(number, as_image, image)
    original = [-1 if size is None else size for size in shape[1:]]
    as_vector = layers.Reshape(original, name=f"{call.layer}_as_vector")
    graph.insert_behind(Ref(number), as_vector, shape)
    call.output_shapes = [image]
