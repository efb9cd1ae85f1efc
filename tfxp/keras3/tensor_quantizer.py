"""One tensor's quantizer in Keras 3: its kind, its settings, and the variables of its format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfxp.keras3.arithmetic import (
    ROUNDINGS,
    State,
    inside,
    on_grid,
    rounded,
    straight_through,
)
from tfxp.keras3.framework import K
from tfxp.keras_types import Tensor
from tfxp.quantizers import (
    ActivationQuantizer,
    AveragePoolQuantizer,
    BiasQuantizer,
    FormatQuantizer,
    MeanQuantizer,
    WeightQuantizer,
)
from tfxp.quantizers.quantizers import FAST_ROUNDINGS
from tfxp.quantizers.straight_through import HALF_UP_NUDGE

Settings = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TensorQuantizer:
    """How one tensor is put on its grid; its format lives in variables of the layer.

    Args:
        kind: "kernel", "bias", "activation", "average_pool" or "mean".
        settings: numbers and names that the kind computes with.
        shapes: variable ("scale", "qmin", ...) -> its shape.

    Example:
        >>> from tfxp.keras3 import TensorQuantizer
        >>> settings = {"rounding": "half_even", "nudge": 0.0, "saturation_gradient": "zero"}
        >>> quantizer = TensorQuantizer("activation", settings, {"scale": []})
        >>> format = {"scale": 0.5, "qmin": -2.0, "qmax": 1.0}
        >>> np.asarray(quantizer(np.array([0.3, 9.0], "float32"), format)).tolist()
        [0.5, 0.5]
    """

    kind: str
    settings: Settings
    shapes: Mapping[str, list[int]]

    def __call__(self, x: Tensor, state: State) -> Tensor:
        """The tensor on its grid, the gradient straight through.

        Args:
            x: the tensor.
            state: values of the variables that `shapes` names.
        """
        return _KINDS[self.kind](K.ops.convert_to_tensor(x), state, self.settings)

    def get_config(self) -> Settings:
        """JSON form."""
        return dataclasses.asdict(self)


def native_quantizer(
    quantizer: FormatQuantizer, state: Mapping[str, np.ndarray]
) -> TensorQuantizer | None:
    """The Keras 3 form of a quantizer; None if it has none.

    Args:
        quantizer: one of tfxp's quantizers.
        state: values of its variables.
    """
    shapes = {name: list(value.shape) for name, value in state.items()}
    make = _FORMS.get(type(quantizer))
    found = None if make is None else make(quantizer, state)
    if found is None or found[1].get("rounding", ROUNDINGS[0]) not in ROUNDINGS:
        return None
    return TensorQuantizer(*found, shapes)


def _nearest(x: Tensor, state: State, settings: Settings) -> Tensor:
    nudge = settings["nudge"]
    if settings.get("no_value"):
        x = K.ops.where(K.ops.isnan(x), state["qmin"] * state["scale"], x)
    moved = x + nudge * state["scale"] if nudge else x
    held = on_grid(rounded(moved / state["scale"], settings["rounding"]), state)
    passes = None if settings["saturation_gradient"] == "pass" else inside(x, state)
    return straight_through(x, held, passes)


def _bias(x: Tensor, state: State, settings: Settings) -> Tensor:
    return straight_through(x, rounded(x / state["scale"], "half_even") * state["scale"])


def _average_pool(x: Tensor, state: State, settings: Settings) -> Tensor:
    """Half away from zero on stored codes, as `tfxp.quantizers.AveragePoolQuantizer`."""
    counts = np.asarray(settings["counts"], np.float32)
    counts = K.ops.convert_to_tensor(counts[..., None] if counts.ndim else counts)
    total = rounded((x / state["scale"]) * counts, "half_even")
    stored = total / counts + state["zero_point"]
    nearest = K.ops.floor(K.ops.abs(stored) + 0.5 + 0.25 / counts)
    codes = K.ops.sign(stored) * nearest - state["zero_point"]
    return straight_through(x, on_grid(codes, state))


def _mean(x: Tensor, state: State, settings: Settings) -> Tensor:
    """Half up of exact sums, or MEAN in float32, as `tfxp.quantizers.MeanQuantizer`."""
    count = float(settings["count"])
    wide = {name: K.ops.cast(value, "float64") for name, value in state.items()}
    sums = rounded(K.ops.cast(x, "float64") / wide["input_scale"] * count, "half_even")
    ratio = wide["input_scale"] / wide["scale"]
    total = _once(sums + count * wide["input_zero_point"])
    multiplier = _once(ratio * float(np.float32(1.0 / np.float32(count))))
    offset = _once(wide["zero_point"] - _once(count * wide["input_zero_point"] * multiplier))
    stored = rounded(_once(_once(total * multiplier) + offset), "half_even")
    codes = K.ops.cast(stored - wide["zero_point"], "float32")
    if settings["portable"]:
        half_up = K.ops.floor((2.0 * sums * ratio + count) / (2.0 * count))
        codes = K.ops.where(state["half_up"] > 0, K.ops.cast(half_up, "float32"), codes)
    return straight_through(x, on_grid(codes, state))


def _once(x: Tensor) -> Tensor:
    """A float64 result rounded to float32, and back."""
    return K.ops.cast(K.ops.cast(x, "float32"), "float64")


_KINDS: dict[str, Callable[[Tensor, State, Settings], Tensor]] = {
    "kernel": _nearest,
    "bias": _bias,
    "activation": _nearest,
    "average_pool": _average_pool,
    "mean": _mean,
}


def _kernel_form(quantizer: WeightQuantizer, state: Mapping[str, Any]) -> tuple[str, Settings]:
    names = ("rounding", "saturation_gradient")
    return "kernel", {"nudge": 0.0, **{name: getattr(quantizer, name) for name in names}}


def _activation_form(
    quantizer: ActivationQuantizer, state: Mapping[str, Any]
) -> tuple[str, Settings]:
    rounding: str | None = quantizer.rounding
    gradient, nudge = quantizer.saturation_gradient, 0.0
    if "wide" in state and state["wide"] > 0:
        rounding = quantizer.wide_rounding
    elif rounding == "half_up" and rounding in FAST_ROUNDINGS and gradient == "zero":
        rounding, nudge = "half_even", HALF_UP_NUDGE
    settings = {"rounding": rounding, "nudge": nudge, "saturation_gradient": gradient}
    return "activation", {**settings, **({"no_value": True} if quantizer.no_value else {})}


def _pool_form(
    quantizer: AveragePoolQuantizer, state: Mapping[str, Any]
) -> tuple[str, Settings] | None:
    return None if quantizer.window else ("average_pool", {"counts": quantizer.counts})


def _mean_form(quantizer: MeanQuantizer, state: Mapping[str, Any]) -> tuple[str, Settings] | None:
    if not quantizer.count or not quantizer.zero_points:
        return None
    return "mean", {"count": quantizer.count, "portable": quantizer.portable}


_FORMS: dict[type, Callable[[Any, Any], tuple[str, Settings] | None]] = {
    WeightQuantizer: _kernel_form,
    BiasQuantizer: lambda quantizer, state: ("bias", {}),
    ActivationQuantizer: _activation_form,
    AveragePoolQuantizer: _pool_form,
    MeanQuantizer: _mean_form,
}
