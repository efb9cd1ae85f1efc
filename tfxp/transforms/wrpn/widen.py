"""Widen a network: more filters and units in every layer, depth and interface unchanged (WRPN)."""

from __future__ import annotations

import functools
import math
import re
import zlib
from collections.abc import Mapping

import numpy as np

from tfxp.devices import scope_of
from tfxp.errors import ConfigError, UnsupportedLayerError, did_you_mean
from tfxp.keras_types import KerasModel
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec
from tfxp.transforms.linear_layers import LINEAR_LAYERS, TRANSPOSED
from tfxp.transforms.wrpn import axes
from tfxp.transforms.wrpn.axes import Axis, Fixed, Free
from tfxp.transforms.wrpn.layer_rules import (
    OWNERS,
    WITH_WEIGHTS,
    LayerAxes,
    configure,
    copy_weights,
    owns_channels,
    trace,
    uneven_groups,
)
from tfxp.transforms.wrpn.plan import ChannelPlan, before_outputs
from tfxp.transforms.zero_mask import drop_masks

INITIALIZATIONS = ("fresh", "preserve")
Factor = float | Mapping[str, float]


def widen_model(
    model: KerasModel,
    factor: Factor,
    initialization: str = "fresh",
    noise: float = 0.0,
    seed: int = 0,
) -> KerasModel:
    """A network with `factor` times the filters and units; depth, inputs and outputs unchanged.

        n' = floor(factor * n + 1/2)        channels of every layer but the last

    Channels that an Add, a shared layer or a depthwise convolution ties together are widened
    alike; groups keep their number and are rounded one by one (a convolution with one group per
    channel is a depthwise one); what forms the model's outputs keeps its width.

    Args:
        model: Sequential or functional tf_keras model; it is not changed.
        factor: a number above 0, or layer names and full-match patterns -> numbers, last match
            wins; layers without a match stay as they are unless they are tied to one that has.
            A factor of 1 leaves a layer alone.
        initialization: "fresh" draws all weights anew from the layers' own initializers;
            "preserve" copies channels and shares out their weights (Net2Wider), so that the
            outputs are those of the narrow model within float32 rounding.
        noise: "preserve" only: standard deviation of Gaussian noise on the kernels of copied
            channels, relative to the kernel's own, so that copies can learn different things.
        seed: for the initializers, the choice of copies and the noise.

    Returns:
        A new model, not compiled, with the same layer names.

    Raises:
        ConfigError: a factor is not above 0, matches no layer with channels of its own, or rounds
            a layer to no change; `initialization` or `noise` is impossible.
        UnsupportedLayerError: layers that cannot be widened, all of them at once, and why.
        ModelError: the model is no layer graph.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> x = keras.Input((8, 8, 3))
        >>> y = layers.Dense(10)(layers.Flatten()(layers.Conv2D(4, 3)(x)))
        >>> wide = widen_model(keras.Model(x, y), 1.5)
        >>> wide.layers[1].filters, wide.layers[-1].units
        (6, 10)

    References:
        Mishra et al., "WRPN: Wide Reduced-Precision Networks", ICLR 2018, sec. 3.
        Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016.
        Departs from Net2Net: copies are spread evenly over the channels instead of drawn one by
        one, and residual, concatenated, grouped and depthwise channels are followed too.
    """
    _check_options(factor, initialization, noise)
    preserve = initialization == "preserve"
    graph = LayerGraph.from_model(model)
    trace_call = functools.partial(trace, preserve=preserve)
    plan = ChannelPlan(graph, trace_call, set(OWNERS))
    requested = _requested_factors(plan, factor)
    _choose_widths(plan, requested, seed, preserve)
    for name, spec in graph.layers.items():
        layer = plan.layers.get(name)
        if spec.kind in WITH_WEIGHTS and not preserve:
            _draw_afresh(spec, seed)
        elif spec.kind in WITH_WEIGHTS and layer is not None:
            arrays = copy_weights(spec, layer)
            spec.set_arrays(_with_noise(spec, layer, arrays, noise, seed))
        if layer is not None:
            configure(spec, layer)
            drop_masks(spec)
    with scope_of(model):
        return graph.to_model()


def _check_options(factor: Factor, initialization: str, noise: float) -> None:
    values = factor.items() if isinstance(factor, Mapping) else [("", factor)]
    for key, value in values:
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            of = f" of {key!r}" if key else ""
            raise ConfigError(f"widen factor{of}: got {value!r}; expected a number above 0.")
    if initialization not in INITIALIZATIONS:
        raise ConfigError(
            f"initialization: got {initialization!r}; expected one of {', '.join(INITIALIZATIONS)}."
        )
    if not 0 <= noise < math.inf:
        raise ConfigError(f"noise: got {noise!r}; expected a number of 0 or more.")
    if noise and initialization != "preserve":
        raise ConfigError("noise: got it with initialization 'fresh'; expected 'preserve'.")


def _owners(plan: ChannelPlan) -> dict[str, Axis]:
    """Layers with channels of their own -> those channels."""
    return {
        name: layer.written
        for name, layer in plan.layers.items()
        if layer.written is not None and owns_channels(plan.graph.layers[name], layer)
    }


def _requested_factors(plan: ChannelPlan, factor: Factor) -> dict[str, float]:
    """Layer with channels of its own -> the factor asked for it."""
    owners = _owners(plan)
    if not isinstance(factor, Mapping):
        return {name: float(factor) for name in owners}
    requested, unmatched = {}, []
    for key, value in factor.items():
        try:
            hits = [key] if key in owners else [n for n in owners if re.fullmatch(key, n)]
        except re.error as error:
            raise ConfigError(f"widen factor of {key!r}: {error}; expected a pattern.") from None
        requested.update(dict.fromkeys(hits, float(value)))
        if not hits:
            unmatched.append(key)
    if unmatched:
        raise ConfigError(
            f"widen factors: got {', '.join(map(repr, unmatched))}, which match no layer with "
            f"filters or units; expected names or patterns of {', '.join(owners)}."
            f"{did_you_mean(unmatched[0], owners)}"
        )
    last = before_outputs(plan.graph, owners)
    outputs = [
        key
        for key in factor
        if key in last and key in owners and factor[key] != 1 and _is_fixed(owners[key])
    ]
    if outputs:
        raise ConfigError(
            f"widen factors: got {', '.join(map(repr, outputs))}, which form the model's outputs; "
            "expected layers before them."
        )
    return requested


def _is_fixed(axis: Axis) -> bool:
    return all(isinstance(leaf, Fixed) for leaf in axes.leaves(axis))


def _choose_widths(
    plan: ChannelPlan, requested: Mapping[str, float], seed: int, preserve: bool
) -> None:
    """Give every free axis its new width; say everything that is in the way."""
    factors: dict[Free, tuple[float, str]] = {}
    spots: list[str] = []
    owners = _owners(plan)
    last = before_outputs(plan.graph, owners)
    for name, axis in owners.items():
        factor = requested.get(name)
        if factor is None:
            continue
        for leaf in axes.leaves(axis):
            if isinstance(leaf, Free):
                other, owner = factors.setdefault(leaf, (factor, name))
                if other != factor:
                    spots.append(f"{name!r} (factor {factor:g}, but tied to {owner!r}: {other:g})")
            elif factor != 1 and name not in last:
                spots.append(f"{name!r} ({leaf.reason})")
                break
    widths = {leaf: math.floor(leaf.width * f + 0.5) for leaf, (f, _) in factors.items()}
    _raise_spots(spots)
    _check_rounding(plan, factors, widths, preserve)
    axes.choose_copies(widths, widths.values(), seed)
    uneven = [n for n, layer in plan.layers.items() if uneven_groups(plan.graph.layers[n], layer)]
    _raise_spots([f"{name!r} (its groups would get different widths)" for name in uneven])


def _raise_spots(spots: list[str]) -> None:
    if spots:
        raise UnsupportedLayerError(
            f"layers that cannot be widened: {'; '.join(dict.fromkeys(spots))}. "
            "Give them the factor 1, as in factor={'.*': 2, 'conv': 1}, or change the model."
        )


def _check_rounding(
    plan: ChannelPlan,
    factors: Mapping[Free, tuple[float, str]],
    widths: Mapping[Free, int],
    preserve: bool,
) -> None:
    unchanged = [
        f"{owner!r} ({leaf.width} * {factor:g})"
        for leaf, (factor, owner) in factors.items()
        if widths[leaf] in (leaf.width, 0) and factor != 1
    ]
    if unchanged:
        raise ConfigError(
            f"widen factor: got {', '.join(dict.fromkeys(unchanged))}, which round to no change; "
            "expected a larger one, or 1 for these layers."
        )
    if all(factor == 1 for factor, _ in factors.values()):
        raise ConfigError(
            "widen factor: got 1 for every layer that could be widened; "
            "expected another number for at least one."
        )
    if preserve and any(factor < 1 for factor, _ in factors.values()):
        raise ConfigError(
            "widen factor: got one below 1 with initialization 'preserve'; "
            "expected 1 or more, or 'fresh'."
        )


def _with_noise(
    spec: LayerSpec, layer: LayerAxes, arrays: dict[str, np.ndarray], noise: float, seed: int
) -> dict[str, np.ndarray]:
    """Noise on what makes the copies, none on the originals."""
    if not noise or spec.kind not in OWNERS or layer.written is None:
        return arrays
    index = axes.copies(layer.written)
    first = np.zeros(len(index), bool)
    first[np.unique(index, return_index=True)[1]] = True
    name = "pointwise_kernel" if "pointwise_kernel" in arrays else "kernel"
    kernel = arrays[name]
    draws = np.random.default_rng([seed, zlib.crc32(spec.name.encode())]).normal(size=kernel.shape)
    copied = ~first[:, None] if LINEAR_LAYERS.get(spec.kind) is TRANSPOSED else ~first
    changed = kernel + noise * kernel.std() * draws * copied
    return {**arrays, name: changed.astype(np.float32)}


def _draw_afresh(spec: LayerSpec, seed: int) -> None:
    """Let Keras draw the weights, each from a seed of its own."""
    spec.weights, spec.weight_names = [], []
    for field, value in spec.config.items():
        if field.endswith("_initializer") and isinstance(value, dict):
            settings = value.get("config", {})
            if "seed" in settings:
                own = zlib.crc32(f"{seed}/{spec.name}/{field}".encode()) & 0x7FFFFFFF
                spec.config[field] = {**value, "config": {**settings, "seed": own}}
