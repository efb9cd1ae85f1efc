"""Which tensors of a float network fixed-point training will quantize, and where to find them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.data.named_inputs import InputSignature
from tfxp.errors import ModelError
from tfxp.keras_types import KerasLayer, KerasModel, Samples
from tfxp.quantization.plan import QuantizationPlan, prepare
from tfxp.transforms.fold_batch_norm import is_channel_scale
from tfxp.transforms.layer_graph import Ref
from tfxp.transforms.normalize.normalize import is_relu


@dataclasses.dataclass(frozen=True)
class ActivationTap:
    """A quantized activation tensor and its gradient.

    Args:
        owner: the layer whose rule in a precision map decides.
        layer: the layer of the normalised graph whose output it is.
        signed: whether it may be negative.
        limit: what its ReLU clips to; infinite without a limit.
        is_output: whether the network returns it; such a tensor stays float forward.
    """

    owner: str
    layer: str
    signed: bool
    limit: float
    is_output: bool


@dataclasses.dataclass(frozen=True)
class TrainingTaps:
    """The tensors of back-propagation by name.

    Args:
        plan: quantization points of the network, BatchNormalization kept.
        activations: owner -> tensor, in the order they are computed.
        gradient_tensor: layer with weights -> owner of the tensor whose gradient its weight
            gradient is computed from: its own output, or the sum that it is only added to.
    """

    plan: QuantizationPlan
    activations: dict[str, ActivationTap]
    gradient_tensor: dict[str, str]

    @property
    def macs(self) -> list[str]:
        """Layers with weights, in order."""
        return self.plan.macs

    def kernel_of(self, name: str, layer: KerasLayer) -> Any:
        """The kernel variable of a layer with weights."""
        return getattr(layer, self.plan.role(name).weights[0].attribute)

    def tensors(self, model: KerasModel) -> dict[str, Any]:
        """Owner -> the symbolic tensor in the user's own model.

        Raises:
            ModelError: a layer lies inside a nested model.
        """
        layers = {layer.name: layer for layer in model.layers}
        result = {}
        for owner, tap in self.activations.items():
            # An activation function inside a layer became a layer of its own.
            layer = layers.get(tap.layer, layers.get(owner))
            if layer is None:
                raise ModelError(
                    f"layer {owner!r} of {model.name!r}: got a layer inside a nested model; "
                    "expected all layers at the top. Build the network flat to probe it."
                )
            result[owner] = layer.output
        return result

    def evaluator(self) -> Any:
        """A copy of the network, activation functions apart, that returns all its tensors.

        Its outputs are one flat list, which `split` takes apart.
        """
        graph = self.plan.graph
        calls = {name: graph.uses(name)[0] for name in self.macs}
        inputs = [graph.calls[number].refs()[0] for number in calls.values()]
        sums = [Ref(number) for number in calls.values()]
        points = [Ref(graph.uses(tap.layer)[0]) for tap in self.activations.values()]
        return graph.to_model(outputs=[*inputs, *sums, *points])

    def split(self, outputs: Sequence[tf.Tensor]) -> tuple[list[Any], list[Any], list[Any]]:
        """An evaluator's outputs: what each layer with weights reads, what it computes before
        anything else happens to it, and the activation tensors.
        """
        flat, count = list(outputs), len(self.macs)
        return flat[:count], flat[count : 2 * count], flat[2 * count :]


def training_taps(model: KerasModel) -> TrainingTaps:
    """Find the tensors of back-propagation.

    Args:
        model: Sequential or functional float model.

    Raises:
        UnsupportedLayerError: some layers are not supported; all are named.
        ModelError: a layer with weights is called several times, or a BatchNormalization stands
            alone: no weight gradient bounds the noise of the gradient behind it.
    """
    plan = prepare(model, fold=False)
    layers = plan.graph.layers
    alone = [n for n in plan.macs if is_channel_scale(layers[n]) and not layers[n].is_trainable]
    if alone:
        raise ModelError(
            f"layers {', '.join(alone)}: got scales of channels that stand alone, such as "
            "BatchNormalization in front of a block; expected them behind layers with weights, "
            "whose gradients say how fine theirs must be. Give the formats by hand instead."
        )
    shared = [name for name in plan.macs if len(plan.graph.uses(name)) > 1]
    if shared:
        raise ModelError(
            f"layers {', '.join(shared)}: got layers that are called several times; expected one "
            "call each, since their gradients belong to several tensors."
        )
    targets = {name: _gradient_tensor(plan, name) for name in plan.macs}
    returned = plan.selected()["@outputs"]
    activations = {}
    for owner, point in plan.points.items():
        if owner not in targets.values():
            continue
        relu = is_relu(plan.graph.layers[point.layer])
        limit = float("inf") if relu is None else relu
        activations[owner] = ActivationTap(
            owner, point.layer, not point.nonnegative, limit, owner in returned
        )
    return TrainingTaps(plan, activations, targets)


def float_samples(model: KerasModel, x: Samples, what: str) -> list[tf.Tensor]:
    """Samples as float32, one tensor per input of a model.

    Raises:
        DataError: there are none, they do not fit the model, or some values are not finite.
    """
    return [tf.cast(part, tf.float32) for part in InputSignature.of(model).arrays(x, what)]


def _gradient_tensor(plan: QuantizationPlan, name: str) -> str:
    """Follow sums until something other than a sum reads the tensor."""
    while True:
        point = plan.points[name]
        if point.nonnegative:
            return name
        following = plan.graph.only_consumer(Ref(plan.graph.uses(point.layer)[0]))
        if following is None:
            return name
        reader = plan.graph.calls[following].layer
        if not plan.role(reader).role.sums:
            return name
        name = reader


def range_of(values: np.ndarray) -> float:
    """The smallest power of two that is at least as large as every magnitude; at least 2^-20.

    Example:
        >>> range_of(np.array([0.3, -1.5]))
        2.0
    """
    largest = float(np.max(np.abs(values), initial=0.0))
    return 2.0 ** float(np.ceil(np.log2(max(largest, 2.0**-20))))
