"""A tf_keras model as a Keras 3 model that computes the same: the way back."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from tfxp.errors import ModelError
from tfxp.keras import keras3
from tfxp.keras_types import KerasLayer
from tfxp.transforms.activation_functions import GELU_TANH, ActivationConfig, function_name
from tfxp.transforms.conversion.functions import Tensors
from tfxp.transforms.conversion.functions_back import FUNCTIONS
from tfxp.transforms.conversion.layers import COMPOSED
from tfxp.transforms.data_types import float32_config
from tfxp.transforms.inner_model import model_inside
from tfxp.transforms.layer_graph import LayerGraph, LayerSpec, Ref
from tfxp.transforms.refusals import naming

_REFUSED = "Keras 3 cannot compute it"
_FUNCTION_KEYS = ("activation", "recurrent_activation")
_INNER = ("layer", "backward_layer", "cell")
# Names in tf_keras -> in Keras 3.
_RENAMED = {
    "LeakyReLU": {"alpha": "negative_slope"},
    "InputLayer": {"batch_input_shape": "batch_shape"},
}
# Settings that Keras 3 knows otherwise, or not at all, without a meaning for what is computed.
_WITHOUT_MEANING = {
    "batch_input_shape", "dtype", "implementation", "time_major", "trainable", "ragged",
    "sparse", "rng_type", "query_shape", "key_shape", "value_shape",
}  # fmt: skip
# Settings that Keras 3 lacks and that change nothing at these values.
_NEUTRAL = {
    "groups": (1,),
    "data_format": ("channels_last",),
    "fill_mode": ("constant",),
}
# Activations that Keras 3 has not, or defines otherwise (its hard_sigmoid is x/6 + 1/2): they are
# applied to the layer's output.
_BEHIND: dict[str, Callable[[Any, Any], Any]] = {
    "hard_sigmoid": lambda ops, x: ops.clip(ops.add(ops.multiply(x, 0.2), 0.5), 0.0, 1.0),
    f"tfxp>{GELU_TANH}": lambda ops, x: ops.gelu(x, approximate=True),
}
# A spec, and its new layer or None for an input -> the layer to call.
Around: TypeAlias = Callable[[LayerSpec, Any], Any]
_RECURRENT = ("SimpleRNN", "LSTM", "GRU", "Bidirectional", "ConvLSTM2D")


def as_keras3(model: Any) -> Any:
    """The Keras 3 twin of a tf_keras model: layers by configuration, weights by value.

    Layers keep their names, nested models are flattened, shared layers stay shared. Training state
    (optimizer, losses, regularizers of outputs) is not taken along. The twin runs on whatever
    backend Keras 3 is configured for.

    Args:
        model: Sequential or functional model of tf_keras, of standard layers and functions.

    Raises:
        ModelError: Keras 3 is not installed, or some layers have no twin in it; all are named.
    """
    return graph_as_keras3(LayerGraph.from_model(model))


def graph_as_keras3(graph: LayerGraph, around: Around | None = None) -> Any:
    """The Keras 3 model of a graph; see `as_keras3`.

    Args:
        graph: of standard layers and functions.
        around: what is put in the place of a new layer; given an input's spec and None, what is
            applied to the input, or None.

    Raises:
        ModelError: Keras 3 is not installed, or some layers have no twin in it; all are named.
    """
    if keras3(load=True) is None:
        raise ModelError(
            f"model {graph.name!r}: expected Keras 3 to convert to, which is not installed. "
            "Install it with pip install 'keras>=3'."
        )
    complaints = [text for spec in graph.layers.values() if (text := _complaint_of(spec))]
    if complaints:
        raise ModelError(
            f"model {graph.name!r}: {'; '.join(complaints)}. Expected layers that Keras 3 computes "
            "alike; save the model with tf_keras (.h5, .keras), which keeps them."
        )
    return _build(graph, around or (lambda spec, layer: layer))


def _build(graph: LayerGraph, around: Around) -> Any:
    """Layers, calls and weights of a graph in Keras 3."""
    module, made, tensors = keras3(), dict[str, Any](), dict[Ref, Any]()
    called, inputs = dict[str, Any](), dict[Ref, Any]()
    for number, call, spec in graph.in_order():
        with naming(spec.name, spec.kind, _REFUSED):
            if spec.kind == "InputLayer":
                config = float32_config(spec.config)
                value = module.Input(
                    batch_shape=config["batch_input_shape"], dtype=config["dtype"], name=spec.name
                )
                behind = around(spec, None)
                inputs[Ref(number)] = value
                tensors[Ref(number)] = value if behind is None else behind(value)
                continue
            args, kwargs = call.map_refs(tensors.__getitem__)
            if function := FUNCTIONS.get(spec.config.get("function", "")):
                result = function(module.ops, *args, **kwargs)
            else:
                if spec.name not in made:
                    made[spec.name] = _layer_of(spec)
                    called[spec.name] = around(spec, made[spec.name])
                args, kwargs = _with_states(spec, args, kwargs)
                result = _function_behind(spec)(called[spec.name](*args, **kwargs))
            _name_operations(result, (args, kwargs), f"{spec.name}_{number}")
            results = module.tree.flatten(result)
            tensors.update({Ref(number, index): value for index, value in enumerate(results)})
    for name, layer in made.items():
        with naming(name, type(layer).__name__, "its weights cannot be converted"):
            _take_weights(layer, graph.layers[name])
    sources = _one_or_all([inputs[ref] for ref in graph.inputs])
    return module.Model(sources, _outputs(graph, tensors), name=graph.name)


def _outputs(graph: LayerGraph, tensors: dict[Ref, Any]) -> Any:
    """Outputs in the model's structure."""
    found = [tensors[ref] for ref in graph.outputs]
    if graph.output_structure is None:
        return found[0]
    return tf.nest.pack_sequence_as(graph.output_structure, found)


def _one_or_all(inputs: list[Any]) -> Any:
    return inputs[0] if len(inputs) == 1 else inputs


def _with_states(spec: LayerSpec, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Arguments of a recurrent layer; tf_keras lists initial states behind the sequence, and hands
    on the sequence's mask, which Keras 3 does not where there are states."""
    if spec.kind not in _RECURRENT or not isinstance(args[0], list | tuple):
        return args, kwargs
    sequence, *states = args[0]
    mask = getattr(sequence, "_keras_mask", None)
    masked = {} if mask is None else {"mask": mask}
    return (sequence, *args[1:]), {**masked, **kwargs, "initial_state": states}


def _function_behind(spec: LayerSpec) -> Callable[[Any], Any]:
    """What is applied to a layer's output in place of its activation."""
    function = _BEHIND.get(_own_function(spec))
    return (lambda x: x) if function is None else functools.partial(function, keras3().ops)


def _own_function(spec: LayerSpec) -> str:
    """The activation that comes last in a layer."""
    inside = spec.kind in _RECURRENT
    return "" if inside else function_name(spec.config.get("activation"))


def _name_operations(result: Tensors, sources: Tensors, name: str) -> None:
    """Names after the layer for the operations between two sets of tensors; those that Keras 3
    gives them can be those of the user's layers."""
    module = keras3()
    known = {id(tensor) for tensor in module.tree.flatten(sources)}
    waiting, number = module.tree.flatten(result), 0
    while waiting:
        tensor = waiting.pop(0)
        history = getattr(tensor, "_keras_history", None)
        if id(tensor) in known or history is None:
            continue
        known.add(id(tensor))
        operation = history.operation
        if not isinstance(operation, module.layers.Layer):
            operation.name = name.replace(".", "_") + (f"_{number}" if number else "")
            number += 1
        node = operation._inbound_nodes[history.node_index]
        waiting += node.input_tensors


def _complaint_of(spec: LayerSpec) -> str | None:
    """Why a layer has no twin in Keras 3; None if it has one."""
    if spec.kind == "InputLayer" or spec.config.get("function") in FUNCTIONS:
        return None
    try:
        if _layer_of(spec) is not None:
            return None
        return f"{spec.name} ({spec.kind}): Keras 3 has no such layer"
    except Exception as error:  # noqa: BLE001  Keras raises nearly every type there is
        return f"{spec.name} ({spec.kind}): {' '.join(str(error).split())[:160]}"


def _layer_of(spec: LayerSpec) -> Any:
    """A new Keras 3 layer without weights; None if there is no such class."""
    if "function" in spec.config:
        raise ModelError(f"function {spec.config['function']!r} is unknown to tfxp in Keras 3")
    inner = model_inside(spec)
    if inner is not None:
        around = getattr(keras3().layers, spec.kind)(as_keras3(inner), name=spec.name)
        if not spec.is_trainable:  # True would thaw what is frozen inside
            around.trainable = False
        return around
    config = {**spec.config, "name": spec.name}
    if spec.kind == "Normalization":
        arrays = {k: v for k, v in spec.arrays().items() if k in ("mean", "variance")}
        config |= arrays
    if _own_function(spec) in _BEHIND:
        config["activation"] = "linear"
    return _made(spec.kind, config)


def _made(kind: str, config: dict[str, Any]) -> Any:
    module = keras3()
    cls = getattr(module.layers, kind, None)
    if cls is None or kind == "Lambda":
        return None
    known = _parameters(cls)
    renamed = _RENAMED.get(kind, {})
    result: dict[str, Any] = {}
    for key, value in float32_config(config).items():
        key = renamed.get(key, key)
        if key.endswith("_initializer") or key in _WITHOUT_MEANING - {"trainable"}:
            continue
        if key in _FUNCTION_KEYS:
            result[key] = _function(value)
        elif key in _INNER and value is not None:
            result[key] = _made(value["class_name"], value["config"])
        elif key in known:
            result[key] = _plain(value)
        elif value not in (None, False, 0, *_NEUTRAL.get(key, ())):
            raise ModelError(f"{key}={value!r} is unknown to Keras 3")
    if kind == "BatchNormalization" and isinstance(result["axis"], list | tuple):
        (result["axis"],) = result["axis"]
    return cls(**result)


def _parameters(cls: Any) -> set[str]:
    """Names that a Keras 3 layer's constructor takes, its parents' included."""
    names = {"name", "trainable"}
    for base in cls.__mro__:
        if base is keras3().layers.Layer:
            break
        if "__init__" in vars(base):
            names |= set(inspect.signature(base.__init__).parameters)
    return names - {"self", "args", "kwargs"}


def _function(value: ActivationConfig) -> Any:
    """An activation of the same definition: one that both have, or a function of ops."""
    if isinstance(value, dict) and hasattr(keras3().layers, value.get("class_name", "")):
        return _made(value["class_name"], value["config"])
    name = function_name(value)
    if name == "hard_sigmoid":  # x/5 + 1/2 in Keras 2, x/6 + 1/2 in Keras 3
        raise ModelError("hard_sigmoid is x/5 + 1/2 in tf_keras and x/6 + 1/2 in Keras 3")
    found = {"swish": "silu"}.get(name, name)
    if name in COMPOSED or getattr(keras3().activations, found, None) is None:
        raise ModelError(f"activation {name!r} is unknown to Keras 3, or defined otherwise there")
    return found


def _plain(value: object) -> Any:
    """Numbers and tuples of a configuration; regularizers and constraints in Keras 3's form."""
    if isinstance(value, dict) and "class_name" in value:
        module = value.get("module", "").replace("tf_keras", "keras")
        kind = value["class_name"]
        return {**value, "module": module or "keras", "class_name": kind}
    if isinstance(value, list | tuple) and type(value) is not tuple:
        return [_plain(part) for part in value]
    return value


def _take_weights(layer: KerasLayer, spec: LayerSpec) -> None:
    """Give a layer the spec's weights, in the order in which both frameworks create them."""
    if not spec.weights or spec.kind == "Normalization" or model_inside(spec) is not None:
        return
    values = [np.asarray(value) for value in spec.arrays().values()]
    own = [variable for variable in layer.weights if "seed" not in variable.name]
    shapes, wanted = [value.shape for value in values], [tuple(one.shape) for one in own]
    if shapes != wanted:
        raise ModelError(f"layer {layer.name!r}: got weights of shapes {shapes}; expected {wanted}")
    for variable, value in zip(own, values, strict=True):
        variable.assign(value)
