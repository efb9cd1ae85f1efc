"""A Keras 3 model as a tf_keras model that computes the same."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.errors import ModelError
from tfxp.keras import is_keras3_model, keras, keras3, layers
from tfxp.keras_types import KerasLayer, KerasNode, Tensor
from tfxp.transforms.conversion.functions import name_steps
from tfxp.transforms.conversion.layers import complaint_of, twin_of
from tfxp.transforms.conversion.operations import OPERATIONS
from tfxp.transforms.conversion.weights import was_quantized, weights_of
from tfxp.transforms.data_types import (
    FLOAT32,
    float32_policy,
    float32_value,
    other_float,
    warn_of_types,
)
from tfxp.transforms.normalize.constant_layers import AddConstant, MultiplyConstant, constant_layer
from tfxp.transforms.refusals import naming

_REFUSED = "tf_keras cannot compute it"


def as_tf_keras(model: Any) -> Any:
    """The model itself, or its tf_keras twin if it was made with Keras 3.

    Layers keep their names and weights, nested and shared models stay what they are; outputs are
    equal up to the order of float32 sums. Training state (optimizer, losses) is not taken along.

    Args:
        model: any model; everything but Keras 3's is returned as it is.

    Raises:
        ModelError: some layers have no twin in tf_keras; all are named.
    """
    if not is_keras3_model(model):
        return model
    complaints = list(dict.fromkeys(_complaints(model)))
    if complaints:
        raise ModelError(
            f"Keras 3 model {model.name!r}: {'; '.join(complaints)}. tfxp works with tf_keras "
            "(Keras 2); replace these layers, or build the model with tf_keras."
        )
    warn_of_types(model.name, _types(model))
    _warn_of_integers(model)
    with float32_policy():
        return _Converter().convert(model)


def _complaints(model: KerasLayer) -> list[str]:
    """What cannot be converted, nested models included."""
    network = _network_of(model)
    if network is None:
        return [f"{model.name} ({type(model).__name__}) has no graph of layers with known shapes"]
    found = []
    for operation in dict.fromkeys(node.operation for node in _nodes(network)):
        if is_keras3_model(operation):
            found += _complaints(operation)
        elif (inner := _model_inside(operation)) is not None:
            found += _complaints(inner)
        elif isinstance(operation, keras3().layers.Layer):
            reason = complaint_of(operation)
            found += [f"{operation.name} ({type(operation).__name__}): {reason}"] if reason else []
        elif type(operation).__name__ not in OPERATIONS:
            kind = type(operation).__name__
            found.append(f"{operation.name} (operation {kind}): unknown to tfxp")
    return found


def _warn_of_integers(model: KerasLayer) -> None:
    layers = [layer for layer in model._flatten_layers() if not is_keras3_model(layer)]
    names = [layer.name for layer in layers if was_quantized(layer)]
    if names:
        warnings.warn(
            f"layers of model {model.name!r}: got {', '.join(names)} quantized by Keras; their "
            "kernels are taken as the real numbers they stand for, their inputs as they are.",
            stacklevel=2,
        )


def _types(model: KerasLayer) -> dict[str, str]:
    """Layer -> its floating-point type or policy, where that is not float32."""
    found: dict[str, str] = {}
    for operation in _network_of(model).operations:
        if is_keras3_model(operation):
            found |= _types(operation)
            continue
        dtype = other_float(getattr(operation, "dtype_policy", None))
        if dtype and not isinstance(operation, keras3().layers.InputLayer):
            found[operation.name] = dtype
    return found


def _network_of(model: KerasLayer) -> Any:
    """The functional model inside a Sequential; None for subclassed and unbuilt ones."""
    network = getattr(model, "_functional", None) if _is_sequential(model) else model
    return network if hasattr(network, "_nodes_by_depth") else None


def _nodes(network: KerasLayer) -> list[Any]:
    """The calls that outputs depend on, in order; masks that Keras passes on by itself, and what
    computes them, are left out, since tf_keras does the same."""
    every = [
        node
        for depth in sorted(network._nodes_by_depth, reverse=True)
        for node in network._nodes_by_depth[depth]
    ]
    wanted = {_key(tensor) for tensor in network.outputs}
    found = []
    for node in reversed(every):
        if any(_key(tensor) in wanted for tensor in node.outputs):
            found.append(node)
            read = keras3().tree.flatten(_arguments(node))
            wanted |= {_key(tensor) for tensor in read if _is_tensor(tensor)}
    return found[::-1]


def _arguments(node: KerasNode) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of a call without what tf_keras finds out by itself."""
    args, kwargs = tuple(node.arguments.args), dict(node.arguments.kwargs)
    tensors = [value for value in keras3().tree.flatten((args, kwargs)) if _is_tensor(value)]
    passed_on = [mask for mask in map(_mask_of, tensors) if mask is not None]
    return args, {
        key: value
        for key, value in kwargs.items()
        if key != "training" and value is not None
        if not (key.endswith("mask") and any(_equal(value, mask) for mask in passed_on))
    }


def _mask_of(tensor: Tensor) -> Any:
    return getattr(tensor, "_keras_mask", None)


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two arguments are the same value, or are computed alike. A model from a file
    computes a mask twice: where it was computed when saved, and where Keras finds it again."""
    if not (_is_tensor(a) and _is_tensor(b)):
        return isinstance(a, int | float | str | None) and a == b
    if _key(a) == _key(b):
        return True
    one, other = _node_of(a), _node_of(b)
    if isinstance(one.operation, keras3().layers.Layer):
        return False
    if type(one.operation) is not type(other.operation):
        return False
    if _settings(one.operation) != _settings(other.operation):
        return False
    parts, others = (
        keras3().tree.flatten((node.arguments.args, node.arguments.kwargs)) for node in (one, other)
    )
    return len(parts) == len(others) and all(map(_equal, parts, others))


def _node_of(tensor: Tensor) -> Any:
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def _settings(operation: KerasLayer) -> dict[str, Any]:
    """What an operation computes with besides its arguments, such as an axis."""
    public = {key: value for key, value in vars(operation).items() if not key.startswith("_")}
    return {key: value for key, value in public.items() if key != "name"}


def _is_sequential(model: KerasLayer) -> bool:
    return isinstance(model, keras3().Sequential)


class _Converter:
    """Builds twins; a layer or model that is used twice gets one twin."""

    def __init__(self) -> None:
        self._twins: dict[int, Any] = {}
        self._after: dict[int, Any] = {}

    def convert(self, model: KerasLayer) -> Any:
        network = _network_of(model)
        tensors: dict[Any, Any] = {}
        for tensor in network.inputs:
            source = tensor._keras_history.operation
            tensors[_key(tensor)] = keras.Input(
                batch_shape=tensor.shape,
                dtype=FLOAT32 if other_float(tensor.dtype) else tensor.dtype,
                name=source.name,
            )
        for node in _nodes(network):
            if _key(node.outputs[0]) not in tensors:
                operation = node.operation
                with naming(operation.name, type(operation).__name__, _REFUSED):
                    self._add(node, tensors)
        inputs = _like(network._inputs_struct, network.inputs, tensors)
        outputs = _like(network._outputs_struct, network.outputs, tensors)
        twin = keras.Model(inputs, outputs, name=model.name)
        for operation in network.operations:
            _copy_weights(operation, self._twins.get(id(operation)))
        return twin

    def _add(self, node: KerasNode, tensors: dict[Any, Any]) -> None:
        operation = node.operation
        _check_mask(node, tensors)
        if _merged_constants(node):
            tensors[_key(node.outputs[0])] = _with_constant(node, tensors)
            return
        args, kwargs = keras3().tree.map_structure(
            lambda value: tensors[_key(value)] if _is_tensor(value) else float32_value(value),
            _arguments(node),
        )
        if isinstance(operation, keras3().layers.Layer):
            twin = self._twin(operation)
            if twin._expects_mask_arg and _is_without_mask(node, args, kwargs):
                kwargs["mask"] = None
            result = twin(*args, **kwargs)
            after = self._after.get(id(operation))
            result = result if after is None else after(result)
        else:
            result = OPERATIONS[type(operation).__name__](operation, *args, **kwargs)
            name_steps(result, (args, kwargs), operation.name)
        for tensor, value in zip(node.outputs, tf.nest.flatten(result), strict=True):
            tensors[_key(tensor)] = value

    def _twin(self, operation: KerasLayer) -> Any:
        if id(operation) not in self._twins:
            if is_keras3_model(operation):
                self._twins[id(operation)] = self.convert(operation)
            elif (inner := _model_inside(operation)) is not None:
                around = layers.TimeDistributed(self._twin(inner), name=operation.name)
                if not operation.trainable:  # True would thaw what is frozen inside
                    around.trainable = False
                self._twins[id(operation)] = around
            else:
                self._twins[id(operation)], self._after[id(operation)] = twin_of(operation)
        return self._twins[id(operation)]


def _model_inside(operation: KerasLayer) -> Any:
    """The model that a TimeDistributed layer calls for every step; None for other layers."""
    inner = getattr(operation, "layer", None)
    around = type(operation).__name__ == "TimeDistributed" and inner is not None
    return inner if around and is_keras3_model(inner) else None


def _merged_constants(node: KerasNode) -> list[Any]:
    """Constants among the tensors that a merging layer such as Add is called with."""
    given = node.arguments.args[0] if node.arguments.args else None
    if not isinstance(node.operation, keras3().layers.Layer) or not isinstance(given, list | tuple):
        return []
    return [value for value in given if value is not None and not _is_tensor(value)]


def _with_constant(node: KerasNode, tensors: dict[Any, Any]) -> Any:
    """A tensor merged with a constant, which tf_keras' own layers do not take.

    Raises:
        ModelError: the layer is neither a sum nor a product of one tensor and one constant.
    """
    operation, given = node.operation, list(node.arguments.args[0])
    kind = {"Add": AddConstant, "Multiply": MultiplyConstant}.get(type(operation).__name__)
    read = [value for value in given if _is_tensor(value)]
    value = np.asarray(_merged_constants(node)[0], np.float32)
    if kind is None or len(given) != 2 or len(read) != 1 or value.shape[:1] != (1,):
        raise ModelError(
            f"Keras 3 layer {operation.name!r} ({type(operation).__name__}): got a constant of "
            f"shape {value.shape} among its tensors; expected tensors. Write x + constant, or the "
            "like, instead of the layer."
        )
    return constant_layer(kind, value[0], operation.name)(tensors[_key(read[0])])


def _is_without_mask(node: KerasNode, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether tf_keras would find a mask where Keras 3 gives none, as it does where a call has
    several tensors as arguments: that of a recurrent layer with initial states."""
    found = any(_mask_of(tensor) is not None for tensor in tf.nest.flatten((args, kwargs)))
    return found and node.arguments.kwargs.get("mask") is None


def _check_mask(node: KerasNode, tensors: dict[Any, Any]) -> None:
    """Refuses a layer that Keras 3 gives a mask which tf_keras does not know any more."""
    source = next(iter(node.arguments.keras_tensors), None)
    if source is None or node.arguments.kwargs.get("mask") is None:
        return
    if _mask_of(source) is not None and _mask_of(tensors[_key(source)]) is None:
        name, before = node.operation.name, source._keras_history.operation.name
        raise ModelError(
            f"Keras 3 layer {name!r}: got a mask through {before!r}; expected none, since in "
            "tf_keras the mask ends there. Set mask_zero=False, or build the model with tf_keras."
        )


def _like(structure: Any, tensors: list[Any], twins: dict[Any, Any]) -> Any:
    """Twins in the structure of a model's inputs or outputs."""
    found = [twins[_key(tensor)] for tensor in tensors]
    if len(found) == 1 and not isinstance(structure, dict):
        return found[0]
    return keras3().tree.pack_sequence_as(structure, found)


def _copy_weights(operation: KerasLayer, twin: Any) -> None:
    if twin is None or is_keras3_model(operation) or type(operation).__name__ == "Normalization":
        return
    if _model_inside(operation) is not None:  # which has its weights
        return
    with naming(operation.name, type(operation).__name__, "its weights cannot be converted"):
        weights = weights_of(operation)
        if weights:
            twin.set_weights(weights)


def _is_tensor(value: object) -> bool:
    return isinstance(value, keras3().KerasTensor)


def _key(tensor: Tensor) -> tuple[int, int, int]:
    operation, node_index, tensor_index = tensor._keras_history[:3]
    return id(operation), node_index, tensor_index
