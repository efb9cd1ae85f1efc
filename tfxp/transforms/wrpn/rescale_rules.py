"""What a positive scale per channel does to each Keras layer.

A layer is positively homogeneous if f(x / s) = f(x) / s for s > 0: ReLU, max and average pooling,
padding, reshaping, sums of tensors with one scale. Layers with weights take any scale in and out.
"""

from __future__ import annotations

import numpy as np

from tfxp.transforms.layer_graph import Call, LayerSpec
from tfxp.transforms.linear_layers import LINEAR_LAYERS, TRANSPOSED
from tfxp.transforms.training_only import AUGMENTATION
from tfxp.transforms.wrpn.axes import Axis, Fixed, Free, leaves, resolve
from tfxp.transforms.wrpn.layer_rules import (
    ELEMENTWISE,
    WITH_KERNELS,
    ImpossibleError,
    Shape,
    trace,
)

MAKERS = WITH_KERNELS | {"BatchNormalization"}
_NOT_HOMOGENEOUS = {
    "AlphaDropout", "ELU", "GaussianNoise", "LayerNormalization", "Rescaling", "ThresholdedReLU",
    *AUGMENTATION,
}  # fmt: skip
_SUMS = ("__operators__.add", "math.add", "math.subtract", "math.maximum", "math.minimum")
_ACTIVATIONS = (None, "linear", "relu")


def is_relu_like(spec: LayerSpec) -> bool:
    """Whether the layer's output comes out of a ReLU."""
    if spec.kind == "TFOpLambda":
        return spec.config.get("function") == "nn.relu"
    return spec.kind == "ReLU" or spec.config.get("activation") in ("relu", "relu6")


def trace_scale(spec: LayerSpec, call: Call, inputs: list[Axis], shapes: list[Shape]) -> Axis:
    """The channels of a call's output, free where a new scale may begin.

    Raises:
        ImpossibleError: a scale cannot pass through the layer.
    """
    if spec.kind in MAKERS:
        return _trace_maker(spec, call, inputs, shapes)
    if spec.kind == "Activation" and spec.config["activation"] not in (*_ACTIVATIONS, "relu6"):
        raise ImpossibleError(f"whose {spec.config['activation']} is no multiple of its input")
    if spec.kind in _NOT_HOMOGENEOUS:
        raise ImpossibleError("whose output is no multiple of its input")
    if spec.kind == "TFOpLambda":
        _check_function(spec, call, inputs)
    if spec.kind == "Multiply":
        return _trace_product(inputs)
    if spec.kind in ELEMENTWISE and len({axis.width for axis in inputs}) > 1:
        raise ImpossibleError("which stretches one channel over many")
    return trace(spec, call, inputs, shapes, preserve=True)


def _trace_maker(spec: LayerSpec, call: Call, inputs: list[Axis], shapes: list[Shape]) -> Axis:
    width = trace(spec, call, inputs, shapes, preserve=False).width  # raises for odd layouts
    activation = spec.config.get("activation")
    if activation not in _ACTIVATIONS:
        return Fixed(width, f"its activation {activation!r} is no multiple of its input")
    return Free(width)


def _check_function(spec: LayerSpec, call: Call, inputs: list[Axis]) -> None:
    function = spec.config.get("function")
    if function == "nn.relu":
        return
    if function not in _SUMS or len(inputs) < 2 or len({axis.width for axis in inputs}) > 1:
        raise ImpossibleError(f"whose {function} is no multiple of its input")


def _trace_product(inputs: list[Axis]) -> Axis:
    """A product with tensors of scale 1, such as the gates of squeeze-and-excite blocks."""
    scaled = {id(resolve(axis)): axis for axis in inputs if not _is_fixed(axis)}
    width = max(axis.width for axis in inputs)
    if not scaled:
        return Fixed(width, "tied to a product of unscaled tensors")
    (axis, *others) = scaled.values()
    twice = sum(resolve(other) is resolve(axis) for other in inputs) > 1
    if others or twice or axis.width != width:
        raise ImpossibleError("whose factors both have scales")
    return axis


def _is_fixed(axis: Axis) -> bool:
    return all(isinstance(leaf, Fixed) for leaf in leaves(axis))


def weight_size(spec: LayerSpec, read: np.ndarray, percentile: float) -> float:
    """The magnitude that must become 1 in a layer's weights, inputs at scale `read`."""
    sizes = []
    arrays = {name: np.asarray(value, np.float64) for name, value in spec.arrays().items()}
    if "pointwise_kernel" in arrays:
        # The tensor between the two kernels has a scale of its own, so only the product counts.
        depthwise = arrays["depthwise_kernel"] * read[:, None]
        sizes = [_size(depthwise, percentile) * _size(arrays["pointwise_kernel"], percentile)]
    elif "depthwise_kernel" in arrays:
        sizes = [_size(arrays["depthwise_kernel"] * read[:, None], percentile)]
    elif "kernel" in arrays:
        sizes = [_size(_scaled_inputs(spec, arrays["kernel"], read), percentile)]
    return max(sizes, default=0.0)


def _size(values: np.ndarray, percentile: float) -> float:
    return float(np.percentile(np.abs(values), percentile))


def _scaled_inputs(spec: LayerSpec, kernel: np.ndarray, read: np.ndarray) -> np.ndarray:
    if LINEAR_LAYERS.get(spec.kind) is TRANSPOSED:
        return kernel * read
    groups = spec.config.get("groups", 1)
    if groups == 1:
        return kernel * read[:, None]
    # Column j of the kernel belongs to group j // (columns per group), whose inputs follow on.
    per_group = read.reshape(groups, -1).T  # (inputs of a group, groups)
    return kernel * np.repeat(per_group, kernel.shape[-1] // groups, axis=1)


def rescaled(
    spec: LayerSpec, read: np.ndarray, written: np.ndarray, percentile: float = 100.0
) -> None:
    """Rewrite a layer's weights for inputs and outputs divided by these scales."""
    if spec.kind not in MAKERS:
        return
    arrays = {name: np.asarray(value, np.float64) for name, value in spec.arrays().items()}
    if spec.kind == "BatchNormalization":
        arrays = _rescaled_norm(spec, arrays, read, written)
    elif "pointwise_kernel" in arrays:
        depthwise = arrays["depthwise_kernel"] * read[:, None]
        between = _size(depthwise, percentile) or 1.0
        arrays["depthwise_kernel"] = depthwise / between
        arrays["pointwise_kernel"] = arrays["pointwise_kernel"] * between / written
    elif "depthwise_kernel" in arrays:
        kernel = arrays["depthwise_kernel"]
        out = written.reshape(kernel.shape[-2:])
        arrays["depthwise_kernel"] = kernel * read[:, None] / out
    else:
        kernel = _scaled_inputs(spec, arrays["kernel"], read)
        transposed = LINEAR_LAYERS.get(spec.kind) is TRANSPOSED
        arrays["kernel"] = kernel / (written[:, None] if transposed else written)
    if "bias" in arrays:
        arrays["bias"] = arrays["bias"] / written
    spec.set_arrays({name: value.astype(np.float32) for name, value in arrays.items()})


def _rescaled_norm(
    spec: LayerSpec, arrays: dict[str, np.ndarray], read: np.ndarray, written: np.ndarray
) -> dict[str, np.ndarray]:
    """Statistics of the scaled input; gamma makes up for epsilon, which does not scale."""
    epsilon = spec.config["epsilon"]
    mean, variance = arrays["moving_mean"] / read, arrays["moving_variance"] / read**2
    deviation = np.sqrt(arrays["moving_variance"] + epsilon)
    gamma = arrays.get("gamma", np.ones_like(deviation))
    gamma = gamma * read * np.sqrt(variance + epsilon) / deviation / written
    result = {"gamma": gamma}
    spec.config["scale"] = True
    if "beta" in arrays:
        result["beta"] = arrays["beta"] / written
    return {**result, "moving_mean": mean, "moving_variance": variance}
