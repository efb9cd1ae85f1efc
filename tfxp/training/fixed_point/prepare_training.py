"""A float Keras model and a training precision map to a model that trains in fixed point."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfxp.keras_types import KerasModel
from tfxp.precision import FLOAT, LayerPrecision, ModelStats, PrecisionMap
from tfxp.quantization import BackwardSettings, precision_of, quantize_model
from tfxp.quantization.read_network import is_quantized, plan_of_any, wrappers_of
from tfxp.training.fixed_point.fixed_point_sgd import FixedPointSGD
from tfxp.training.fixed_point.tensor_precision import UpdatePrecision


def prepare_training(
    model: KerasModel,
    precision: PrecisionMap | str,
    stats: ModelStats | None = None,
    *,
    loss: str | Callable[..., Any] | None = None,
    metrics: Sequence[str | Callable[..., Any]] | None = None,
    learning_rate: float | Callable[..., Any] = 0.01,
    momentum: float = 0.0,
    others: Mapping[str, str] | None = None,
    backward: BackwardSettings | None = None,
    weight_gradient_rounding: str | None = None,
) -> KerasModel:
    """The same network, compiled, with all five tensors of training in fixed point.

    Weights and activations are quantized forward, the gradient of every activation tensor backward,
    weight gradients, weights and accumulators in the optimizer, each by what the map says of it;
    what it leaves in float stays float. BatchNormalization stays and trains.

    Args:
        model: Sequential or functional tf_keras model, trained or not; it is not changed.
        precision: a training precision map, such as `assign_precision --method=sakr` writes, or
            its path.
        stats: what `tfxp.measure_model` returned; needed where the map gives numbers of bits for
            activations.
        loss: as for `compile`; None leaves the model with its optimizer attached, not compiled.
        metrics: as for `compile`.
        learning_rate: a number or a schedule of Keras.
        momentum: see `FixedPointSGD`.
        others: formats of biases and of BatchNormalization's parameters; float by default.
        backward: how gradients run (rounding of activation gradients, saturation, which weights
            the backward pass reads).
        weight_gradient_rounding: by default that of activation gradients.

    Returns:
        A tf_keras model ready for `fit`. `model.optimizer.saturation()` and
        `tfxp.training.saturation_of(model)` say what was clipped.

    Raises:
        UnsupportedLayerError: some layers are not supported; all are named.
        PrecisionError: the map does not fit the model, or gives numbers of bits for gradients.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> from tfxp.training import prepare_training
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,), name="d")])
        >>> pmap = PrecisionMap.from_dict({"schema": 1, "rounding": "half_away", "default":
        ...     {"weights": "Q0.7", "activations": "Q1.6", "weight_gradients": "Q1.6",
        ...      "activation_gradients": "Q0.7", "accumulators": "Q-8.16"}})
        >>> ready = prepare_training(model, pmap, loss="mse")
        >>> history = ready.fit(np.ones((8, 3)), np.ones((8, 2)), epochs=2, verbose=0)
        >>> str(tfxp.precision_of(ready).layers["d"].activation_gradients)
        'Q0.7'

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019. The gradient of an activation is quantized where the authors'
        script does it: at the quantized activation, so that behind a BatchNormalization the
        gradient of the convolution's own output is that times a float factor.
    """
    precision = with_float_biases(PrecisionMap.of(precision))
    backward = backward or BackwardSettings()
    ready = quantize_model(model, precision, stats, fold_batch_norm=False, backward=backward)
    optimizer = FixedPointSGD(
        learning_rate,
        update_precision(ready, precision),
        others,
        momentum,
        gradient_rounding=weight_gradient_rounding or backward.gradient_rounding,
        seed=backward.seed,
    )
    if loss is None:
        ready.optimizer = optimizer
    else:
        ready.compile(optimizer, loss, metrics=metrics)
    return ready


def update_precision(quantized: KerasModel, precision: PrecisionMap) -> dict[str, dict[str, str]]:
    """What `FixedPointSGD` needs of a map: layer -> names of formats, where kernels are trained.

    Args:
        quantized: what `quantize_model` made of the network; has the formats of weights that the
            map gives in bits.
        precision: the map.

    Raises:
        PrecisionError: a weight gradient or accumulator has no full format.
    """
    plan = plan_of_any(quantized)
    rules = precision.resolve(list(plan.points), plan.aliases, plan.selected())
    found = precision_of(quantized).layers if is_quantized(quantized) else {}
    result = {}
    for name in plan.macs:
        if not plan.graph.layers[name].is_trainable:  # frozen, or ones before a normalization
            continue
        rule = rules[name]
        if isinstance(rule.weights, int) and name in found:
            rule = rule.updated(LayerPrecision(weights=found[name].weights))
        formats = UpdatePrecision.of(rule, name).to_dict()
        if formats:
            result[name] = formats
    return result


def forward_precision(precision: PrecisionMap) -> PrecisionMap:
    """The part of a training map that inference needs: weights and activations.

    Args:
        precision: a map with gradients and accumulators.

    Example:
        >>> pmap = PrecisionMap(LayerPrecision("Q0.7", "UQ1.7", accumulators="Q-8.16"))
        >>> forward_precision(pmap).default.to_dict()
        {'weights': 'Q0.7', 'activations': 'UQ1.7'}
    """
    nothing = dict.fromkeys(("weight_gradients", "activation_gradients", "accumulators"))
    return dataclasses.replace(
        precision,
        default=dataclasses.replace(precision.default, **nothing),
        layers={
            key: dataclasses.replace(rule, **nothing) for key, rule in precision.layers.items()
        },
    )


def saturation_of(model: KerasModel) -> dict[str, float]:
    """Clipped share of every activation gradient that was counted so far, by layer.

    Args:
        model: what `prepare_training` returned.
    """
    from tfxp.quantizers import GradientCounts

    return {
        layer.owner: GradientCounts.read(layer.gradient_variables).share
        for layer in wrappers_of(model)
        if layer.gradient_variables is not None
    }


def with_float_biases(precision: PrecisionMap) -> PrecisionMap:
    """Biases float, as in the paper, where the map does not say otherwise."""
    if precision.default.bias is not None:
        return precision
    default = precision.default.updated(LayerPrecision(bias=FLOAT))
    return dataclasses.replace(precision, default=default)
