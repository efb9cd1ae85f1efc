"""Even out the channels of a network's kernels before it is quantized, without a change of output.

One number per channel moves from a kernel into those that read its output. A per-tensor format
then fits all channels alike; a first convolution folded with its normalization needs that most.
"""

from __future__ import annotations

import numpy as np

from tfxp.data.model_notes import keep_notes, notes_of
from tfxp.devices import scope_of
from tfxp.keras_types import KerasModel
from tfxp.transforms.fold_batch_norm import fold_batch_norm
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.linear_layers import DEPTHWISE, LINEAR_LAYERS, TRANSPOSED
from tfxp.transforms.normalize.affine import affine_to_batch_norm
from tfxp.transforms.normalize.normalize import is_relu, normalize
from tfxp.transforms.wrpn import axes
from tfxp.transforms.wrpn.axes import Axis, Free
from tfxp.transforms.wrpn.plan import ChannelPlan
from tfxp.transforms.wrpn.rescale_rules import MAKERS, rescaled, trace_scale

_STEPS = 200
_SETTLED = 1e-3  # of the log2 of a scale
_LARGEST = 40.0  # |log2| of a scale: far from float32's limits


def equalize(model: KerasModel, *, powers_of_two: bool = True) -> KerasModel:
    """The same function, with the channels of its kernels of like size.

    Every channel c between layers gets a scale s_c > 0 and carries x_c / s_c instead:

        W'[., c] = W[., c] / s_c,   b'[c] = b[c] / s_c    in the layers that write the channel
        W'[c, .] = W[c, .] * s_c                          in those that read it

    and s_c makes the largest weights on both sides alike: s_c = sqrt(r_write / r_read), with the
    geometric mean of all kernels that write or read a channel. Scales pass through whatever is
    positively homogeneous (ReLU, LeakyReLU, PReLU, pools, sums, concatenations, depthwise
    convolutions). They stop at other functions, at limits (ReLU6), at inputs and at outputs. The
    paper replaces ReLU6 by ReLU first, which changes the network: do that before, if you want it.

    BatchNormalization is folded. Measure the new model, since activations change.

    Args:
        model: trained Sequential or functional Keras model; it is not changed.
        powers_of_two: round scales to powers of two, so that every output of the folded network
            stays the same bit for bit; otherwise they stay the same within float32 rounding.

    Returns:
        A new float model, not compiled, with the names of the layers that remain.

    Raises:
        ModelError: the model is no layer graph.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> first = layers.Dense(2, activation="relu", input_shape=(1,))
        >>> model = keras.Sequential([first, layers.Dense(1)])
        >>> ones = [np.zeros(2), np.ones((2, 1)), np.zeros(1)]
        >>> model.set_weights([np.array([[1.0, 64.0]]), *ones])
        >>> [w.ravel().tolist() for w in tfxp.equalize(model).get_weights() if w.ndim == 2]
        [[1.0, 8.0], [1.0, 8.0]]

    References:
        Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
        ICCV 2019, sec. 4.1; several kernels per channel, and powers of two, are ours.
    """
    graph = normalize(LayerGraph.from_model(model))
    fold_batch_norm(affine_to_batch_norm(graph))
    scales = _Scales(graph)
    scales.solve()
    scales.apply(powers_of_two)
    with scope_of(model):
        return keep_notes(graph.to_model(), notes_of(model))


class _Scales:
    """log2 of the scale of every channel; channels of one free axis lie one after another."""

    def __init__(self, graph: LayerGraph) -> None:
        self._graph, self._plan = graph, ChannelPlan(graph, trace_scale, MAKERS)
        self._freeze()
        self._start: dict[Free, int] = {}
        self._count = 1  # number 0 stands for all fixed channels
        self._kernels = {
            name: (self._numbers(layer.read), self._numbers(layer.written))
            for name, layer in self._plan.layers.items()
            if graph.layers[name].kind in LINEAR_LAYERS
        }
        self._log = np.zeros(self._count)

    def _freeze(self) -> None:
        """Keep channels where a scale would change outputs, rounding, or a training's loss."""
        for number, _, spec in self._graph.in_order():
            limited = spec.kind == "ReLU" and (spec.config["max_value"], spec.config["threshold"])
            relu6 = spec.kind == "Activation" and is_relu(spec) not in (None, np.inf)
            watched = spec.activity_regularizer is not None
            if watched or relu6 or (limited and limited != (None, 0.0)):
                axes.freeze(self._plan.tensors[Ref(number)], f"tied to {spec.name!r}")
            if spec.kind == "BatchNormalization":
                axes.freeze(self._plan.tensors[Ref(number)], "tied to a normalization")

    def _numbers(self, axis: Axis | None) -> np.ndarray:
        """The number of every channel of an axis."""
        assert axis is not None
        for leaf in axes.leaves(axis):
            if isinstance(leaf, Free) and leaf not in self._start:
                self._start[leaf] = self._count
                self._count += leaf.width
        numbers = axes.expand(axis, lambda leaf: self._start[leaf] + np.arange(leaf.width), 0)
        return numbers.astype(np.int64)

    def solve(self) -> None:
        """Even out all channels at once, half way a step, until nothing moves.

        With w writers and r readers of largest weights a and b, the scale of a channel goes towards
        the s that minimises  sum_w log(a / s)^2 + sum_r log(b s)^2.
        """
        sizes = {name: _log_sizes(self._graph.layers[name]) for name in self._kernels}
        for _ in range(_STEPS):
            total, writers, readers = np.zeros((3, self._count))
            for name, (read, written) in self._kernels.items():
                size = sizes[name] + self._log[read][:, None] - self._log[written]
                writers += _add(total, written, size.max(axis=0), 1.0)
                readers += _add(total, read, size.max(axis=1), -1.0)
            between = (writers > 0) & (readers > 0)
            between[0] = False
            step = np.where(between, total / np.maximum(writers + readers, 1) / 2, 0.0)
            self._log = np.clip(self._log + step, -_LARGEST, _LARGEST)
            if np.abs(step).max() < _SETTLED:
                return

    def apply(self, powers_of_two: bool) -> None:
        """Rewrite the kernels and biases."""
        scales = 2.0 ** (np.rint(self._log) if powers_of_two else self._log)
        for name, (read, written) in self._kernels.items():
            rescaled(self._graph.layers[name], scales[read], scales[written])


def _add(total: np.ndarray, numbers: np.ndarray, sizes: np.ndarray, sign: float) -> np.ndarray:
    """Add a kernel's largest weights per channel to the sum; how many were added to each."""
    largest = np.full(total.shape, -np.inf)
    np.maximum.at(largest, numbers, sizes)
    known = np.isfinite(largest)
    total[known] += sign * largest[known]
    return known.astype(np.float64)


def _log_sizes(spec: LayerSpec) -> np.ndarray:
    """log2 of the largest weight between each input and output channel; -inf where there is none.

    Returns:
        Shape (input channels, output channels).
    """
    form = LINEAR_LAYERS[spec.kind]
    kernel = np.abs(spec.arrays()[form.kernel].astype(np.float64))
    sizes = kernel.max(axis=tuple(range(kernel.ndim - 2)))
    if form is TRANSPOSED:
        sizes = sizes.T
    groups = len(sizes) if form is DEPTHWISE else spec.config.get("groups", 1)
    if form is DEPTHWISE:
        sizes = sizes.reshape(1, -1)
    if groups > 1:  # the columns of a group read the inputs of that group alone
        inputs, outputs = sizes.shape
        blocks = sizes.reshape(inputs, groups, outputs // groups)
        sizes = np.einsum("igo,gh->higo", blocks, np.eye(groups)).reshape(groups * inputs, outputs)
    with np.errstate(divide="ignore"):
        return np.log2(sizes)
