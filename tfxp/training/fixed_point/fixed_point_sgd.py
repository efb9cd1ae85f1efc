"""Gradient descent whose weights, weight gradients and accumulators are fixed point."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.errors import ConfigError, FormatError, PrecisionError, did_you_mean
from tfxp.formats import Rounding
from tfxp.keras import keras
from tfxp.quantizers import seed_of
from tfxp.training.fixed_point.tensor_precision import (
    UpdatePrecision,
    accumulate_exactly,
    quantize_exactly,
)

# A step counts as one with a saturated accumulator when more than this share of it was clipped.
NOTABLE_SHARE = 1e-3
_COUNTS = ("steps", "elements", "weight_gradients", "weights", "accumulators", "not_finite",
           "accumulator_steps")  # fmt: skip
_DRAWS = 3  # of gradient, weights and accumulator, in every step of a variable
_OTHERS = ("bias", "gamma", "beta")


@keras.utils.register_keras_serializable(package="tfxp")
class FixedPointSGD(keras.optimizers.Optimizer):
    """Plain gradient descent with every tensor of the update in fixed point.

        g   = Q(dL/dW; B_GW, r_GW)
        t   = W + acc - lr g
        W   = Q(t; B_W, r_W)
        acc = Q(t - W; B_acc, r_acc)

    The accumulator holds what the weights' format leaves over, so nothing is lost until its own
    step is too coarse. It is kept as int32 codes and t is formed in float64; in float32,
    W + acc is wrong after a few steps once D_acc is below 2^-24. t is exact as long as lr g is a
    multiple of 2^-52: always for a rate that is a power of two and |W| <= 1.

    A layer without `accumulators` keeps its variable in float, as the shadow copy that the forward
    pass rounds: dual-copy training (ADaPTION), or the stochastic baseline (after Gupta). Biases and
    the parameters of BatchNormalization are float unless `others` gives them formats. A gradient
    that is not finite is not applied; it is counted.

    Args:
        learning_rate: a number or any schedule of Keras.
        precision: layer name -> {"weights": "Q0.13", "weight_gradients": "Q-2.12",
            "accumulators": "Q-14.22"}; `prepare_training` fills it in from a precision map.
        others: formats of all other trainable variables, or None for float.
        momentum: 0 as in the paper. An extension: g becomes v = momentum * v + g with v in float32,
            a sixth tensor that stays float.
        rounding: of weights and accumulators.
        gradient_rounding: of weight gradients; "stochastic" is the baseline.
        seed: seed of stochastic rounding, whose draws follow from it and the step.
        variables: names of the trainable variables in order, "layer/kernel"; found out when the
            optimizer is built and saved with it, because a loaded model's variables have lost
            the names of their layers.
        name: the optimizer's.

    Raises:
        ConfigError: a setting is out of its range, or weight decay or averaging is asked for,
            which would move weights off their grid.
        PrecisionError: a format is impossible, or a layer has no kernel in the model.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> from tfxp.training import FixedPointSGD
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,), name="d")])
        >>> formats = {"weights": "Q0.7", "weight_gradients": "Q1.6", "accumulators": "Q-8.16"}
        >>> model.compile(FixedPointSGD(0.125, {"d": formats}), "mse")
        >>> _ = model.fit(np.ones((8, 3)), np.ones((8, 2)), verbose=0)
        >>> codes = model.get_layer("d").kernel.numpy() * 2**7
        >>> bool((codes == codes.round()).all())
        True

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019, and the authors' train_quantized.py, whose gradients and weights
        clip from above only; here both ends saturate.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        precision: Mapping[str, Mapping[str, str]] | None = None,
        others: Mapping[str, str] | None = None,
        momentum: float = 0.0,
        rounding: str = "half_away",
        gradient_rounding: str = "half_away",
        seed: int = 0,
        variables: Sequence[str] | None = None,
        name: str = "FixedPointSGD",
        **kwargs: object,
    ) -> None:
        _check(momentum, rounding, gradient_rounding, kwargs)
        kwargs["jit_compile"] = False
        super().__init__(name=name, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.precision = {
            layer: UpdatePrecision.from_dict(formats, layer)
            for layer, formats in (precision or {}).items()
        }
        self.others = None if others is None else UpdatePrecision.from_dict(others, "others")
        self.momentum, self.seed = float(momentum), int(seed)
        self.rounding, self.gradient_rounding = rounding, gradient_rounding
        self._names = None if variables is None else list(variables)

    def build(self, var_list: list[tf.Variable]) -> None:
        """Create accumulators (int32 codes), counters and, with momentum, velocities."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        if self._names is None or len(self._names) != len(var_list):
            self._names = [_full_name(variable, self.precision) for variable in var_list]
        pairs = zip(var_list, self._names, strict=True)
        self._slots = [self._slots_of(variable, name) for variable, name in pairs]
        known = {slots.layer for slots in self._slots if slots.is_kernel}
        missing = [layer for layer in self.precision if layer not in known]
        if missing:
            raise PrecisionError(
                f"layers of the optimizer's precision: got {', '.join(map(repr, missing))}, which "
                f"have no trainable kernel here; expected some of {', '.join(sorted(known))}."
                f"{did_you_mean(missing[0], known)}"
            )
        self._built = True

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """One update of one variable."""
        slots = self._slots[self._index_dict[self._var_key(variable)]]
        gradient = tf.convert_to_tensor(gradient)
        finite = tf.math.is_finite(gradient)
        not_finite = tf.math.count_nonzero(tf.logical_not(finite))
        # All or nothing: half an update of a tensor would be worse than none.
        gradient *= tf.cast(tf.equal(not_finite, 0), gradient.dtype)
        gradient = tf.where(finite, gradient, tf.zeros_like(gradient))
        if slots.precision is None:
            variable.assign_sub(self._step(gradient, slots))
            return
        formats = slots.precision
        clipped = dict.fromkeys(_COUNTS, tf.zeros((), tf.int64))
        gradient = tf.cast(gradient, tf.float64)
        if formats.weight_gradients is not None:
            gradient, clipped["weight_gradients"] = self._quantized_gradient(gradient, slots)
        step = self._step(gradient, slots)
        if formats.accumulators is None:
            variable.assign(tf.cast(tf.cast(variable, tf.float64) - step, variable.dtype))
        else:
            self._accumulate(step, variable, slots, clipped)
        self._count(clipped, not_finite, slots)

    def _quantized_gradient(self, gradient: tf.Tensor, slots: _Slots) -> tuple[Any, Any]:
        fmt = slots.precision.weight_gradients  # type: ignore[union-attr]
        assert fmt is not None
        seed = self._seed(slots, 0)
        codes, clipped = quantize_exactly(gradient, fmt, self.gradient_rounding, seed)
        return codes * fmt.scale, clipped

    def _step(self, gradient: tf.Tensor, slots: _Slots) -> Any:
        """lr g, or lr v with momentum."""
        if slots.velocity is not None:
            velocity = self.momentum * slots.velocity + tf.cast(gradient, tf.float32)
            slots.velocity.assign(velocity)
            gradient = tf.cast(velocity, gradient.dtype)
        return tf.cast(self.learning_rate, gradient.dtype) * gradient

    def _accumulate(
        self, step: tf.Tensor, variable: tf.Variable, slots: _Slots, clipped: dict[str, Any]
    ) -> None:
        formats = slots.precision
        assert formats is not None
        weights, rest, clipped["weights"], clipped["accumulators"] = accumulate_exactly(
            slots.accumulator, variable, step, formats, self.rounding, self._seed(slots, 1)
        )
        variable.assign(weights)
        slots.accumulator.assign(rest)

    def _seed(self, slots: _Slots, number: int) -> Any:
        """The seed of a draw: the same in all replicas, or their weights would drift apart."""
        draw = tf.cast(self.iterations, tf.int64) * _DRAWS + number
        return tf.stack([tf.constant(slots.seed, tf.int64), draw])

    def _count(self, clipped: dict[str, Any], not_finite: tf.Tensor, slots: _Slots) -> None:
        limit = int(NOTABLE_SHARE * slots.size)
        clipped["steps"] = tf.ones((), tf.int64)
        clipped["elements"] = tf.constant(slots.size, tf.int64)
        clipped["not_finite"] = not_finite
        clipped["accumulator_steps"] = tf.cast(clipped["accumulators"] > limit, tf.int64)
        slots.counts.assign_add(tf.stack([clipped[name] for name in _COUNTS]))

    def _slots_of(self, variable: tf.Variable, name: str) -> _Slots:
        layer, _, attribute = name.rpartition("/")
        is_kernel = attribute not in _OTHERS
        precision = self.precision.get(layer) if is_kernel else self.others
        slots = _Slots(layer, attribute, is_kernel, precision, int(np.prod(variable.shape)))
        slots.seed = seed_of(name) ^ self.seed
        if precision is not None:
            shape = (len(_COUNTS),)
            slots.counts = self.add_variable(shape, tf.int64, "zeros", f"{name}/counts")
        if precision is not None and precision.accumulators is not None:
            slots.accumulator = self.add_variable(
                variable.shape, tf.int32, "zeros", f"{name}/accumulator"
            )
        if self.momentum:
            slots.velocity = self.add_variable(
                variable.shape, tf.float32, "zeros", f"{name}/velocity"
            )
        return slots

    def saturation(self) -> dict[str, dict[str, float]]:
        """What was clipped since training began, by "layer/attribute".

        Returns:
            For every variable in fixed point: `steps`, the clipped share of its
            `weight_gradients`, `weights` and `accumulators` (these by more than one code, since
            a tie leaves r_acc itself), the number of gradient elements that were `not_finite`,
            and `accumulator_steps`, the share of steps on which more than 0.1 % of the
            accumulators were clipped.
        """
        result = {}
        for key, found in self.counts().items():
            shares = {name: float(count) for name, count in found.items()}
            elements, steps = max(shares.pop("elements"), 1), max(shares["steps"], 1)
            for name in ("weight_gradients", "weights", "accumulators"):
                shares[name] /= elements
            shares["accumulator_steps"] /= steps
            result[key] = shares
        return result

    def counts(self) -> dict[str, dict[str, int]]:
        """The numbers behind `saturation`: steps, elements, and how many of them were clipped."""
        return {
            f"{slots.layer}/{slots.attribute}": dict(
                zip(_COUNTS, map(int, slots.counts.numpy()), strict=True)
            )
            for slots in getattr(self, "_slots", [])
            if slots.counts is not None
        }

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = super().get_config()
        for name in ("weight_decay", "use_ema", "ema_momentum", "ema_overwrite_frequency"):
            config.pop(name, None)
        config.update(
            learning_rate=self._serialize_hyperparameter(self._learning_rate),
            precision={layer: p.to_dict() for layer, p in self.precision.items()},
            others=None if self.others is None else self.others.to_dict(),
            momentum=self.momentum,
            rounding=self.rounding,
            gradient_rounding=self.gradient_rounding,
            seed=self.seed,
            variables=self._names,
        )
        return config


@dataclasses.dataclass
class _Slots:
    """What the optimizer keeps for one variable."""

    layer: str
    attribute: str
    is_kernel: bool
    precision: UpdatePrecision | None
    size: int
    seed: int = 0
    counts: Any = None
    accumulator: Any = None
    velocity: Any = None


def _full_name(variable: tf.Variable, known: Iterable[str]) -> str:
    """Layer and attribute, such as "conv0/kernel", of a variable called "layer/kernel:0".

    Inside a wrapper the path is longer, and names of layers may hold slashes themselves, so layers
    that have a rule are looked for in it.
    """
    path, _, attribute = variable.name.split(":")[0].rpartition("/")
    inside = [layer for layer in known if f"/{layer}/" in f"/{path}/"]
    layer = max(inside, key=len, default=path.rpartition("/")[2])
    return f"{layer}/{attribute}"


def _check(momentum: float, rounding: str, gradient_rounding: str, kwargs: dict[str, Any]) -> None:
    if not 0 <= momentum < 1:
        raise ConfigError(f"momentum: got {momentum}; expected a number from 0 to below 1.")
    for name, mode in (("rounding", rounding), ("gradient_rounding", gradient_rounding)):
        try:
            Rounding.parse(mode)
        except FormatError as error:
            raise ConfigError(f"{name} of FixedPointSGD: {error}") from None
    for name in ("weight_decay", "use_ema"):
        if kwargs.get(name):
            raise ConfigError(
                f"{name} of FixedPointSGD: got {kwargs[name]}; expected none, because it would "
                "move weights off their grid. Use a regularizer of the layers instead."
            )
