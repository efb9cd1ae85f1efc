"""Sizes and work of layers of any class, also of those that cannot be quantized."""

from __future__ import annotations

import math
from collections.abc import Callable

from tfxp.errors import UnsupportedLayerError
from tfxp.precision import LayerKind, LayerStats, ModelStats
from tfxp.quantization.layer_roles import role_of
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.linear_layers import CONV, DENSE, DEPTHWISE, LINEAR_LAYERS, TRANSPOSED
from tfxp.transforms.normalize.matrix_products import is_product

Shape = tuple[int, ...]
_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional")
# Kinds of classes that quantization does not know.
_KINDS = {
    "EinsumDense": LayerKind.DENSE,
    "Attention": LayerKind.ATTENTION,
    "AdditiveAttention": LayerKind.ATTENTION,
    "Average": LayerKind.ADD,
    "Dot": LayerKind.MATMUL,
    "GroupNormalization": LayerKind.NORMALIZATION,
    "UnitNormalization": LayerKind.L2_NORMALIZE,
    "Lambda": LayerKind.ACTIVATION,
    "Rescaling": LayerKind.ACTIVATION,
    "Normalization": LayerKind.ACTIVATION,
    "ThresholdedReLU": LayerKind.ACTIVATION,
    "SeparableConv1D": LayerKind.DEPTHWISE_CONV,
    "SeparableConv2D": LayerKind.DEPTHWISE_CONV,
}


def any_workload(graph: LayerGraph) -> ModelStats:
    """Sizes and multiply-accumulates of every layer of a normalised graph.

    Unlike `workload` this asks nothing of the layers: activation functions stay layers of their
    own (cost models compute them with the layer before), and what a class does is told from its
    name and its weights. Weights of rank two and more are kernels, all others count as biases. A
    class that is not known has no multiply-accumulates, whatever weights it has.
    """
    layers: dict[str, LayerStats] = {}
    for number, call, spec in graph.in_order():
        out = sample_shape(graph.shape_of(Ref(number)))
        inputs = [sample_shape(graph.shape_of(ref)) for ref in call.refs()]
        producers = [graph.calls[ref.call].layer for ref in call.refs()]
        macs = layer_work(spec, inputs, out) or 0
        kernel, biases = layer_weights(spec)
        stats = LayerStats(
            spec.name, _kind(spec), tuple(dict.fromkeys(producers)), out, kernel, macs, biases
        )
        known = layers.get(spec.name)  # a shared layer works once per call
        layers[spec.name] = stats if known is None else known.again(stats)
    outputs = [graph.calls[ref.call].layer for ref in graph.outputs]
    return ModelStats(layers, tuple(dict.fromkeys(outputs)), 0, graph.aliases())


# Kinds of layers whose weights are looked up, added or multiplied once.
_ADD_UP_NOTHING = (
    LayerKind.EMBEDDING, LayerKind.ACTIVATION, LayerKind.LOOKUP, LayerKind.ADD, LayerKind.SUBTRACT,
    LayerKind.MULTIPLY,
)  # fmt: skip


def uncounted_layers(stats: ModelStats) -> list[str]:
    """Layers with kernels whose multiply-accumulates are not known.

    Args:
        stats: what `count_model` or `measure_model` returned.
    """
    return [
        layer.name
        for layer in stats.layers.values()
        if layer.weight_count and not layer.macs and layer.kind not in _ADD_UP_NOTHING
    ]


def _kind(spec: LayerSpec) -> LayerKind:
    try:
        return role_of(spec).kind
    except UnsupportedLayerError:
        return _KINDS.get(spec.kind, LayerKind.OTHER)


def layer_weights(spec: LayerSpec) -> tuple[Shape, int]:
    """The kernel's shape (of several kernels: all their entries in a row), and how many biases."""
    kernels = _kernels(spec)
    size = sum(math.prod(shape) for shape in kernels)
    biases = sum(math.prod(shape) for shape in _shapes(spec)) - size
    return kernels[0] if len(kernels) == 1 else ((size,) if size else ()), biases


def layer_work(spec: LayerSpec, inputs: list[Shape], out: Shape) -> int | None:
    """Multiply-accumulates of one call on one sample, padding taps included.

    Args:
        spec: the layer.
        inputs: shapes of what it reads, without the batch.
        out: shape of its output, without the batch.

    Returns:
        the count; None for a class that is not in the table.
    """
    known = _matrix_product if is_product(spec) else _COUNTS.get(spec.kind)
    return known(spec, inputs, out) if known is not None else None


def _dense(spec: LayerSpec, inputs: list[Shape], out: Shape) -> int:
    """Each kernel entry once for every position of the output."""
    kernel = _kernels(spec)[0]
    return math.prod(out) // kernel[-1] * math.prod(kernel)


def _depthwise(spec: LayerSpec, inputs: list[Shape], out: Shape) -> int:
    kernel = _kernels(spec)[0]
    return math.prod(out) // (kernel[-1] * kernel[-2]) * math.prod(kernel)


def _separable(spec: LayerSpec, inputs: list[Shape], out: Shape) -> int:
    positions = math.prod(out[:-1])
    return positions * sum(math.prod(kernel) for kernel in _kernels(spec))


def _transposed(spec: LayerSpec, inputs: list[Shape], out: Shape) -> int:
    """Each kernel entry once for every position of the input."""
    kernel = _kernels(spec)[0]
    return math.prod(inputs[0]) // kernel[-1] * math.prod(kernel)


def _recurrent(spec: LayerSpec, inputs: list[Shape], out: Shape) -> int:
    """Each kernel entry once per time step; both directions if there are two."""
    return inputs[0][0] * sum(math.prod(kernel) for kernel in _kernels(spec))


def _einsum(spec: LayerSpec, inputs: list[Shape], out: Shape) -> int:
    """The output times what is summed over: kernel axes that the output lacks."""
    left, result = spec.config["equation"].split("->")
    axes = left.split(",")[1]
    kernel = _kernels(spec)[0] if _kernels(spec) else _shapes(spec)[0]
    summed = [size for axis, size in zip(axes, kernel, strict=True) if axis not in result]
    return math.prod(out) * math.prod(summed)


def _attention(spec: LayerSpec, inputs: list[Shape], out: Shape) -> int:
    """Four projections, scores and weighted sums; keys are the values unless a third is given."""
    query, value = math.prod(inputs[0][:-1]), math.prod(inputs[min(1, len(inputs) - 1)][:-1])
    q, k, v, o = (math.prod(kernel) for kernel in _kernels(spec)[:4])
    heads, depth = spec.config["num_heads"], spec.config["key_dim"]
    value_depth = spec.config.get("value_dim") or depth
    products = query * value * heads * (depth + value_depth)
    return query * (q + o) + value * (k + v) + products


def _dot(spec: LayerSpec, inputs: list[Shape], out: Shape) -> int:
    axes = spec.config["axes"]
    axis = axes[0] if isinstance(axes, list | tuple) else axes
    return math.prod(out) * inputs[0][axis if axis < 0 else axis - 1]


def _matrix_product(spec: LayerSpec, inputs: list[Shape], out: Shape) -> int:
    """The output times what is summed over; a side that broadcasts has fewer matrices."""
    left, right = (math.prod(shape) for shape in inputs)
    matrices = math.prod(out[:-2])
    depth = max(left // (matrices * out[-2]), right // (matrices * out[-1]))
    return math.prod(out) * depth


def _distributed(spec: LayerSpec, inputs: list[Shape], out: Shape) -> int:
    inner = spec.config["layer"]["class_name"]
    return _dense(spec, inputs, out) if LINEAR_LAYERS.get(inner) in (DENSE, CONV) else 0


_LINEAR = {DENSE: _dense, CONV: _dense, DEPTHWISE: _depthwise, TRANSPOSED: _transposed}
_COUNTS: dict[str, Callable[[LayerSpec, list[Shape], Shape], int]] = {
    **{kind: _LINEAR[form] for kind, form in LINEAR_LAYERS.items()},
    "SeparableConv1D": _separable,
    "SeparableConv2D": _separable,
    **dict.fromkeys(_RECURRENT, _recurrent),
    "EinsumDense": _einsum,
    "MultiHeadAttention": _attention,
    "Dot": _dot,
    "TimeDistributed": _distributed,
}


def _shapes(spec: LayerSpec) -> list[Shape]:
    return [tuple(int(size) for size in weight.shape) for weight in spec.weights]


def _kernels(spec: LayerSpec) -> list[Shape]:
    pairs = zip(spec.weight_names, _shapes(spec), strict=True)
    return [shape for name, shape in pairs if len(shape) > 1 and "bias" not in name]


def sample_shape(shape: tuple[int | None, ...]) -> Shape:
    """One sample's shape; sizes that are not known count as one."""
    return tuple(int(size or 1) for size in shape[1:])
