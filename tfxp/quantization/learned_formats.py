"""A quantized model whose binary points are trained, and back to one whose formats stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from tfxp.data.model_notes import keep_notes, notes_of
from tfxp.devices import scope_of
from tfxp.errors import PrecisionError
from tfxp.keras_types import KerasModel
from tfxp.quantization.backward_settings import BackwardSettings
from tfxp.quantization.own_keras import guard_training
from tfxp.quantization.quantize_config import TensorQuantizeConfig
from tfxp.quantization.quantize_model import wrap_layers
from tfxp.quantization.read_network import read_network, wrappers_of
from tfxp.quantization.set_precision import backward_of
from tfxp.quantizers import (
    ActivationQuantizer,
    FormatQuantizer,
    LearnedActivationQuantizer,
    LearnedFormat,
    LearnedStep,
    LearnedWeightQuantizer,
    WeightQuantizer,
)
from tfxp.quantizers.learned_step import check_rule


def learn_formats(qmodel: KerasModel, method: str = "tqt") -> KerasModel:
    """The same quantized network with binary points that train along with the weights.

    The numbers of bits stay. Every step is a power of two in the forward pass, so the model sits on
    exact formats at every moment: `precision_of`, `export_tflite` and `save` see those of the
    moment. Formats of inputs, of operators that are repeated integer by integer (means, tables),
    of constants beside a sum and of WRPN's grids, which have no step to choose, stay.

    Args:
        qmodel: what `quantize_model` returned; it is not changed.
        method: "tqt" (thresholds, trained in log2; default), "lsq" (steps) or "pact" (clipping
            points). Adam suits "tqt" at 1e-3 to 1e-2; the others are as large as the tensors.

    Returns:
        A tf_keras model: compile and fit it as any other, and end with `freeze_formats`.

    Raises:
        ConfigError: there is no such method.
        PrecisionError: no format of the model can be learned.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="d")])
        >>> qmodel = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.3", "Q2.1"))
        >>> learning = tfxp.learn_formats(qmodel)
        >>> sorted(variable.name.split("/")[-1] for variable in learning.trainable_weights)
        ['bias:0', 'kernel:0', 'kernel_tqt:0', 'output_tqt:0']
        >>> tfxp.precision_of(learning) == tfxp.precision_of(qmodel)
        True

    References:
        Jain et al., "Trained Quantization Thresholds for Accurate and Efficient Fixed-Point
        Inference of Deep Neural Networks", MLSys 2020; see `tfxp.quantizers.learned_step`.
    """
    rule = check_rule(method)
    learning = _rebuilt(qmodel, rule, lambda quantizer: learned(quantizer, rule))
    if not is_learning(learning):
        raise PrecisionError(
            f"model {qmodel.name!r}: got no fixed-point format that can be learned; expected "
            "kernels or activations in fixed point. Use the model as it is."
        )
    return learning


def freeze_formats(qmodel: KerasModel) -> KerasModel:
    """An ordinary quantized model with the formats that were learned; its outputs are the same.

    Args:
        qmodel: what `learn_formats` returned, trained or not.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,), name="dense")])
        >>> stats = tfxp.measure_model(model, np.ones((4, 3), "float32"))
        >>> learning = learn_formats(tfxp.quantize_model(model, "w4a4", stats))
        >>> tfxp.precision_of(freeze_formats(learning)).layers["dense"].weights.bits
        4
    """
    return _rebuilt(qmodel, None, fixed)


def is_learning(qmodel: KerasModel) -> bool:
    """Whether some format of a model is trained."""
    return bool(learned_steps(qmodel))


def learned(quantizer: FormatQuantizer, method: str) -> FormatQuantizer:
    """The quantizer with a trained step, where it has a fixed-point step of its own."""
    settings = quantizer.get_config()
    if type(quantizer) is WeightQuantizer:
        settings.pop("saturation_gradient")
        return LearnedWeightQuantizer(**settings, method=method, per_channel=True)
    if type(quantizer) is ActivationQuantizer:
        return LearnedActivationQuantizer(**settings, method=method)
    return quantizer


def fixed(quantizer: FormatQuantizer) -> FormatQuantizer:
    """The quantizer without a trained step."""
    if not isinstance(quantizer, LearnedFormat):
        return quantizer
    kind = WeightQuantizer if isinstance(quantizer, WeightQuantizer) else ActivationQuantizer
    names = [field.name for field in dataclasses.fields(kind)]
    settings = {name: getattr(quantizer, name) for name in names}
    if kind is WeightQuantizer:
        settings["saturation_gradient"] = BackwardSettings().weight_saturation
    return kind(**settings)


def _rebuilt(
    qmodel: KerasModel, rule: str | None, turn: Callable[[FormatQuantizer], FormatQuantizer]
) -> KerasModel:
    """A new model of the same network; quantizers of QuantizeConfigs of users' own are turned."""
    network = read_network(qmodel)
    own = {name: _turned(config, turn) for name, config in network.plan.own_configs.items()}
    network = dataclasses.replace(
        network, plan=dataclasses.replace(network.plan, own_configs=own), layers={}
    )
    backward = dataclasses.replace(backward_of(qmodel), learned_formats=rule)
    with scope_of(qmodel):
        rebuilt = wrap_layers(network, backward).to_model(qmodel.name)
        network.of_model(rebuilt).assign_formats()
    rebuilt._tfxp_stats = getattr(qmodel, "_tfxp_stats", None)
    return keep_notes(guard_training(rebuilt), notes_of(qmodel))


def _turned(
    config: TensorQuantizeConfig, turn: Callable[[FormatQuantizer], FormatQuantizer]
) -> TensorQuantizeConfig:
    weights = {path: turn(quantizer) for path, quantizer in config.weight_quantizers.items()}
    output = None if config.output_quantizer is None else turn(config.output_quantizer)
    return TensorQuantizeConfig(weights, output)


def freeze_next(qmodel: KerasModel, count: int = 1) -> int:
    """Hold the steps of a model that move least, where they are; the others train on.

    A threshold between two powers of two jumps from one to the other as long as it trains. It is
    held in the one that its running mean lies in, those with the smallest mean gradient first.

    Args:
        qmodel: what `learn_formats` returned.
        count: how many steps are held at most; a kernel may have one per channel.

    Returns:
        How many still train.

    References:
        Jain et al., MLSys 2020, sec. 5.2, as in the authors' code (Graffitist): the order is that
        of growing gradients, and a threshold waits while it is on the other side of its mean.
    """
    steps = learned_steps(qmodel)
    free = [step.variables["frozen"].numpy().ravel() == 0 for step in steps]
    ready = [
        (float(slope), number, index)
        for number, step in enumerate(steps)
        for index in np.flatnonzero(free[number] & (step.is_settled.numpy().ravel()))
        for slope in [np.abs(step.variables["slope"].numpy().ravel()[index])]
    ]
    chosen: dict[int, list[int]] = {}
    for _, number, index in sorted(ready)[:count]:
        chosen.setdefault(number, []).append(int(index))
    for number, indices in chosen.items():
        steps[number].hold(np.array(indices))
    return sum(int(mask.sum()) for mask in free) - sum(map(len, chosen.values()))


def learned_steps(qmodel: KerasModel) -> list[LearnedStep]:
    """The trained steps of a model, in the order of its layers."""
    found = []
    for layer in wrappers_of(qmodel):
        config = layer.quantize_config
        pairs = [(q, layer.weight_variables[path]) for path, q in config.weight_quantizers.items()]
        pairs.append((config.output_quantizer, layer.output_variables))
        found += [q.step(variables) for q, variables in pairs if isinstance(q, LearnedFormat)]
    return found
