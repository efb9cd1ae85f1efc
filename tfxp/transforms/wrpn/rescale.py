"""Rescale a trained network into WRPN's fixed grids: weights in [-1, 1], activations in [0, 1]."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np

from tfxp.devices import scope_of
from tfxp.errors import ConfigError, UnsupportedLayerError, did_you_mean
from tfxp.keras import layers
from tfxp.keras_types import KerasModel, Samples
from tfxp.transforms.layer_graph import LayerGraph, Ref
from tfxp.transforms.wrpn import axes
from tfxp.transforms.wrpn.axes import Axis, Fixed, Free
from tfxp.transforms.wrpn.plan import ChannelPlan, before_outputs
from tfxp.transforms.wrpn.rescale_norms import add_batch_norms
from tfxp.transforms.wrpn.rescale_ranges import measured_ranges, stated_ranges
from tfxp.transforms.wrpn.rescale_rules import (
    MAKERS,
    is_relu_like,
    rescaled,
    trace_scale,
    weight_size,
)

_SLACK = 1 + 1e-6


def rescale_for_wrpn(
    model: KerasModel,
    data: Samples,
    *,
    percentile: float = 100.0,
    weight_percentile: float = 100.0,
    keep_float: Collection[str] = (),
    add_batch_norm: bool = False,
    batch_size: int = 64,
) -> KerasModel:
    """The same function with weights in [-1, 1] and ReLU outputs in [0, 1].

    Every tensor x of the network gets a scale s > 0 and carries x / s instead:

        W' = W * s_in / s_out,    b' = b / s_out                   (ReLU(x / s) = ReLU(x) / s)
        BN after it:  mean' = mean / s_in, var' = var / s_in^2, gamma' and beta' over s_out

    A layer followed by BatchNormalization has a scale of its own, so its weights fill [-1, 1];
    elsewhere one scale must serve both the weights and the activations. Tensors that an Add joins
    share one scale, a Concatenate has one per branch, inputs and outputs keep the scale 1.

    Args:
        model: trained Sequential or functional tf_keras model, BatchNormalization not folded; it
            is not changed.
        data: calibration inputs: array, list or dict of arrays, or a `tf.data.Dataset` of
            batches; or the result of `measure_model` (with percentile 100 or any other).
        percentile: of the ReLU outputs, 0 to 100: what lies above will be clipped at 1.
        weight_percentile: of a layer's weight magnitudes: what lies above will be clipped. Few
            bits need it: with 100 one large weight leaves the rest near zero.
        keep_float: names or full-match patterns of layers whose weights and outputs need not fit.
            Layers that form the outputs never need to.
        add_batch_norm: give every layer that lacks one a BatchNormalization that changes nothing
            (`<layer>_norm`, from the calibration inputs), so that its weights can fill [-1, 1]
            too. Without it such weights fit, but may be so small that few bits round all to zero.
        batch_size: samples per step, for arrays.

    Returns:
        A new model, not compiled, with the same layer names and, within float32 rounding, the
        same outputs.

    Raises:
        UnsupportedLayerError: weights or activations that cannot be made to fit, all of them.
        ConfigError: a percentile is impossible, a name matches no layer, or `add_batch_norm` has
            statistics instead of inputs to work with.
        DataError: the data are empty, not finite, do not fit, or lack an activation.
        ModelError: the model is no layer graph.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> x = keras.Input((4,))
        >>> y = layers.Dense(3, use_bias=False, activation="relu")(x)
        >>> model = keras.Model(x, layers.Dense(2)(y))
        >>> small = rescale_for_wrpn(model, 9 * np.ones((8, 4), np.float32))
        >>> bool(np.abs(small.layers[1].get_weights()[0]).max() <= 1)
        True

    References:
        Mishra et al., "WRPN: Wide Reduced-Precision Networks", ICLR 2018, sec. 5, trains from
        scratch inside these ranges; this transform is what a trained network needs first.
    """
    for name, value in (("percentile", percentile), ("weight_percentile", weight_percentile)):
        if not 0 < value <= 100:
            raise ConfigError(f"{name}: got {value!r}; expected a number above 0, at most 100.")
    graph = LayerGraph.from_model(model)
    exempt = _matching(graph, keep_float)
    stated = hasattr(data, "layers") and hasattr(data, "aliases")
    if add_batch_norm:
        if stated:
            raise ConfigError("add_batch_norm: got statistics as data; expected inputs.")
        add_batch_norms(graph, data, exempt | _last_makers(graph), batch_size)
    plan = ChannelPlan(graph, trace_scale, MAKERS)
    points = {
        Ref(number): spec.name
        for number, _, spec in graph.in_order()
        if is_relu_like(spec) and spec.name not in exempt
    }
    if stated:
        ranges = stated_ranges(graph, points, data, percentile)
    else:
        ranges = measured_ranges(graph, points, data, percentile, batch_size)
    scales = _Scales(plan, ranges, exempt, weight_percentile)
    scales.solve()
    scales.check(points)
    for name, layer in plan.layers.items():
        read, written = scales.vector(layer.read), scales.vector(layer.written)
        rescaled(graph.layers[name], read, written, weight_percentile)
    _rescale_limits(plan, scales)
    with scope_of(model):
        return graph.to_model()


def _last_makers(graph: LayerGraph) -> set[str]:
    makers = [name for name, spec in graph.layers.items() if spec.kind in MAKERS]
    return before_outputs(graph, makers)


class _Scales:
    """One positive number for every free axis, as small as weights and activations allow."""

    def __init__(
        self,
        plan: ChannelPlan,
        ranges: Mapping[Ref, float],
        exempt: Collection[str],
        weight_percentile: float,
    ) -> None:
        self._plan, self._ranges, self._percentile = plan, ranges, weight_percentile
        self._scale: dict[Free, float] = {}
        kinds = {name: plan.graph.layers[name].kind for name in plan.layers}
        self._last = _last_makers(plan.graph)
        self._makers = {
            name: layer
            for name, layer in plan.layers.items()
            if kinds[name] in MAKERS - {"BatchNormalization"}
            and name not in exempt
            and name not in self._last
        }
        for ref, largest in ranges.items():
            self._raise_to(plan.tensors[ref], largest)
        for name, layer in plan.layers.items():
            if kinds[name] == "BatchNormalization" and layer.written is not None:
                for leaf in axes.leaves(layer.written):
                    if isinstance(leaf, Free):
                        self._scale.setdefault(leaf, 1.0)

    def solve(self) -> None:
        """Raise scales until all weights fit, or until they grow for ever."""
        for _ in range(len(self._makers) + 2):
            grown = [
                self._raise_to(layer.written, size)
                for layer, size in ((layer, self._size(n)) for n, layer in self._makers.items())
            ]
            if not any(grown):
                return

    def check(self, points: Mapping[Ref, str]) -> None:
        """Complain about all that does not fit."""
        spots = []
        for name, layer in self._makers.items():
            largest = float((self._size(name) / self.vector(layer.written)).max())
            if largest > _SLACK:
                spots.append(f"weights of {name!r} reach {largest:.3g} ({_why(layer.written)})")
        for ref, largest in self._ranges.items():
            axis = self._plan.tensors[ref]
            largest = float((largest / self.vector(axis)).max())
            if largest > _SLACK and points[ref] not in self._last:
                spots.append(f"outputs of {points[ref]!r} reach {largest:.3g} ({_why(axis)})")
        if spots:
            raise UnsupportedLayerError(
                f"layers that cannot be rescaled to [-1, 1] and [0, 1]: {'; '.join(spots)}. "
                "Name those that stay float in keep_float, or change the model."
            )

    def vector(self, axis: Axis | None) -> np.ndarray:
        """The scale of every channel of an axis, float64."""
        assert axis is not None
        return axes.expand(axis, lambda leaf: self._scale.get(leaf) or 1.0)

    def _size(self, name: str) -> float:
        layer = self._makers[name]
        spec = self._plan.graph.layers[name]
        return weight_size(spec, self.vector(layer.read), self._percentile)

    def _raise_to(self, axis: Axis | None, scale: float) -> bool:
        assert axis is not None
        grown = False
        for leaf in axes.leaves(axis):
            if isinstance(leaf, Free) and scale > self._scale.get(leaf, 0.0) * (1 + 1e-12):
                self._scale[leaf] = scale
                grown = True
        return grown


def _why(axis: Axis | None) -> str:
    assert axis is not None
    for leaf in axes.leaves(axis):
        if isinstance(leaf, Fixed):
            return leaf.reason
    return "a sum without BatchNormalization feeds itself, whatever the scale"


def _rescale_limits(plan: ChannelPlan, scales: _Scales) -> None:
    """ReLU6(x) / s = min(ReLU(x / s), 6 / s): limits and thresholds shrink with the scale."""
    spots = []
    for name, spec in plan.graph.layers.items():
        limited = spec.kind == "Activation" and spec.config["activation"] == "relu6"
        if spec.kind != "ReLU" and not limited:
            continue
        if limited:
            spec.become(layers.ReLU(6.0))
        limit, threshold = spec.config["max_value"], spec.config["threshold"]
        if limit is None and not threshold:
            continue
        vectors = [scales.vector(plan.tensors[Ref(use)]) for use in plan.graph.uses(name)]
        found = np.unique(np.concatenate(vectors))
        if found.max() > found.min() * _SLACK:
            spots.append(repr(name))
            continue
        spec.config["max_value"] = None if limit is None else float(limit) / float(found[0])
        spec.config["threshold"] = float(threshold or 0) / float(found[0])
    if spots:
        raise UnsupportedLayerError(
            f"layers with a limit: got several scales in {', '.join(spots)}; expected one. "
            "Give every branch its own activation layer."
        )


def _matching(graph: LayerGraph, keys: Collection[str]) -> set[str]:
    if isinstance(keys, str):
        keys = (keys,)
    found: set[str] = set()
    unmatched = []
    for key in keys:
        try:
            hits = {name for name in graph.layers if name == key or re.fullmatch(key, name)}
        except re.error as error:
            raise ConfigError(f"keep_float: {key!r}: {error}; expected a pattern.") from None
        found |= hits
        if not hits:
            unmatched.append(key)
    if unmatched:
        raise ConfigError(
            f"keep_float: got {', '.join(map(repr, unmatched))}, which match no layer; expected "
            f"names or patterns of {', '.join(graph.layers)}."
            f"{did_you_mean(unmatched[0], graph.layers)}"
        )
    return found
