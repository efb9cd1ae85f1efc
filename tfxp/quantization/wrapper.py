"""The Keras layers that carry quantizers: a wrapper around any layer, and one behind inputs."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.autograph import as_keras_calls
from tfxp.keras import keras
from tfxp.keras_types import KerasLayer, Training
from tfxp.quantization.float_backward import call_with_float_backward
from tfxp.quantization.live_formats import Surroundings
from tfxp.quantization.quantize_config import TensorQuantizeConfig
from tfxp.quantizers import (
    BiasQuantizer,
    FormatContext,
    FormatQuantizer,
    KernelQuantizer,
    Variables,
)
from tfxp.quantizers.format_quantizer import float_variable
from tfxp.tfmot import QuantizeWrapperV2
from tfxp.transforms.layer_graph import make_spec
from tfxp.transforms.normalize.normalize import is_relu

_register = keras.utils.register_keras_serializable(package="tfxp")


@_register
class FormatWrapper(QuantizeWrapperV2):
    """Runs a layer with its weights on their grids and quantizes its output.

    tfmot's wrapper moves the kernel out of the layer and lists it twice, which breaks the `.keras`
    format. This one leaves every variable where it is: the quantized tensors take the variables'
    places for the time of one call.

    Args:
        layer: the layer to run.
        quantize_config: which of its tensors are quantized, and how.
        owner: the layer whose rule in the precision map decides the output's format.
        aliases: layers of the original model that went into this one.
        treatment: "" as tfxp quantizes the layer's class, "own" as a QuantizeConfig of the user's
            own asks for, "output" the output alone.
    """

    def __init__(
        self,
        layer: KerasLayer,
        quantize_config: TensorQuantizeConfig,
        owner: str = "",
        aliases: list[str] | None = None,
        treatment: str = "",
        **kwargs: object,
    ) -> None:
        kwargs.setdefault("name", layer.name)
        # The wrapper's call goes past the layer's, which would regularize the output.
        kwargs.setdefault("activity_regularizer", layer._activity_regularizer)
        super().__init__(layer, quantize_config, **kwargs)
        self.owner = owner or layer.name
        self.aliases = list(aliases or [])
        self.treatment = treatment
        object.__setattr__(self, "_found", None)
        self.supports_masking = layer.supports_masking

    def build(self, input_shape: tf.TensorShape) -> None:
        """Build the layer, then the quantizers' variables."""
        keras.layers.Wrapper.build(self, input_shape)
        if isinstance(self.layer, keras.layers.MultiHeadAttention):
            _build_projections(self.layer)
        config = self.quantize_config
        weights = {}
        for path, quantizer in config.weight_quantizers.items():
            variable = _resolve(self.layer, path)
            weights[path] = quantizer.build(variable.shape, path.replace(".", "_"), self)
        output = None
        if config.output_quantizer is not None:
            output = config.output_quantizer.build(None, "output", self)  # one scale, any shape
        # Past Keras' attribute tracking, which would list these variables a second time.
        object.__setattr__(self, "weight_variables", weights)
        object.__setattr__(self, "output_variables", output)
        gradient = None
        if config.gradient_quantizer is not None:
            gradient = config.gradient_quantizer.build((), "gradient", self)
        object.__setattr__(self, "gradient_variables", gradient)
        half = float_variable(self, "half_step", 0.0, self._channels()) if config.portable else None
        object.__setattr__(self, "half_step", half)
        self.built = True

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FormatWrapper:
        """The wrapper and its layer; registered classes are found in .h5 files as well.

        Reading those, Keras looks for the layer's class by its short name, without the package
        that it was registered with, and takes no registered function as an activation.
        """
        layer = _with_registered_activation(config["layer"])
        config = {**config, "layer": layer}
        found = keras.utils.get_registered_object(layer.get("registered_name") or "")
        known = {} if found is None else {layer["class_name"]: found}
        with keras.utils.custom_object_scope(known):
            return super().from_config(config)

    def call(self, inputs: tf.Tensor, training: Training = None, **kwargs: object) -> Any:
        """Run the layer on quantized weights and quantize what comes out, and its gradient."""
        training = keras.backend.learning_phase() if training is None else training
        return self.call_with(self.quantized_weights(training), inputs, training, **kwargs)

    def quantized_weights(self, training: Training = False) -> dict[str, tf.Tensor]:
        """Attribute path -> weight on its grid, for every weight that has a quantizer."""
        weights = {
            path: quantizer(_resolve(self.layer, path), training, self.current_weight(path))
            for path, quantizer in self.quantize_config.weight_quantizers.items()
        }
        return self.carrying_half_steps(weights)

    def carrying_half_steps(self, weights: dict[str, Any]) -> dict[str, Any]:
        """Weights on their grids, half a step added to the bias where sums carry one."""
        if self.half_step is None or not self._bias:
            return weights
        return {**weights, self._bias: weights[self._bias] + self._current_half()}

    def call_with(self, weights: dict[str, Any], inputs: tf.Tensor, training: Training = False,
                  **kwargs: object) -> Any:  # fmt: skip
        """What `call` does, given the quantized weights: a search quantizes them once per map."""
        if self._closes_with_relu:
            return self._finish(inputs, inputs, training, relu=True)
        outputs = self._layer_call(weights, inputs, training, kwargs)
        if isinstance(outputs, list | tuple):  # states and attention scores stay float
            first, *others = outputs
            return [self._finish(inputs, first, training), *others]
        return self._finish(inputs, outputs, training)

    def _finish(self, inputs: tf.Tensor, outputs: tf.Tensor, training: Training,
                **closed: bool) -> Any:  # fmt: skip
        """The layer's output on its grid, through what quantizes its gradient."""
        quantizer, backward = (
            self.quantize_config.output_quantizer,
            self.quantize_config.gradient_quantizer,
        )
        if quantizer is not None:
            context = closed or {"inputs": inputs}
            outputs = quantizer(outputs, training, self.current_output(), **context)
        if backward is None:
            return outputs
        return backward(outputs, training, self.gradient_variables)

    def _layer_call(self, weights: dict[str, Any], inputs: tf.Tensor, training: Training,
                    kwargs: dict[str, Any]) -> Any:  # fmt: skip
        if self._takes("training"):
            kwargs["training"] = training
        if not self._takes("mask"):
            kwargs.pop("mask", None)
        call = functools.partial(self._call_on, kwargs=kwargs)
        if self.quantize_config.backward_weights == "float" and weights:
            return call_with_float_backward(call, inputs, weights, self._float_weights(weights))
        return call(inputs, weights)

    def _call_on(self, inputs: tf.Tensor, values: dict[str, Any], kwargs: dict[str, Any]) -> Any:
        """The layer's call with tensors in the places of its variables."""
        originals = {path: _resolve(self.layer, path) for path in values}
        try:
            for path, value in values.items():
                _assign(self.layer, path, value)
            quantizer = self.quantize_config.output_quantizer
            if quantizer is None:
                outputs = as_keras_calls(self.layer.call)(inputs, **kwargs)
            else:
                outputs = quantizer.run_layer(self.layer, inputs, self.current_output(), **kwargs)
            lacks_bias = self.half_step is not None and not self._bias
            return outputs + self._current_half() if lacks_bias else outputs
        finally:
            for path, variable in originals.items():
                _assign(self.layer, path, variable)

    def _float_weights(self, values: dict[str, Any]) -> dict[str, tf.Tensor]:
        """The layer's variables as they are; a bias without a quantizer joins the values."""
        if getattr(self.layer, "bias", None) is not None and "bias" not in values:
            values["bias"] = tf.convert_to_tensor(self.layer.bias)
        return {path: tf.convert_to_tensor(_resolve(self.layer, path)) for path in values}

    def assign(self, context: FormatContext) -> None:
        """Put formats into the variables of every quantizer."""
        config = self.quantize_config
        for path, quantizer in config.weight_quantizers.items():
            quantizer.assign(self.weight_variables[path], context)
        if config.output_quantizer is not None:
            config.output_quantizer.assign(self.output_variables, context)
        if config.gradient_quantizer is not None:
            config.gradient_quantizer.assign(self.gradient_variables, context)
        if self.half_step is not None:
            half = 0.0 if context.half_step is None else context.half_step
            self.half_step.assign(np.broadcast_to(half, self.half_step.shape))

    def variable(self, path: str) -> Any:
        """The float variable of a weight, by its attribute path in the wrapped layer."""
        return _resolve(self.layer, path)

    def current_weight(self, path: str) -> Variables:
        """The variables of a weight's quantizer, learned formats around as they are now."""
        quantizer = self.quantize_config.weight_quantizers[path]
        return self._surroundings.current(quantizer, self.weight_variables[path])

    def current_output(self) -> Variables:
        """The variables of the output's quantizer, learned formats around as they are now."""
        return self._surroundings.current(
            self.quantize_config.output_quantizer, self.output_variables
        )

    def _current_half(self) -> tf.Tensor:
        """What the sums carry, learned formats around as they are now."""
        return self._surroundings.half_step(self.half_step)

    @property
    def _surroundings(self) -> Surroundings:
        """Found once the graph has its edges, which Keras draws after it has traced a call."""
        calls = len(self.inbound_nodes)
        if self._found is None or self._found[0] != calls:
            object.__setattr__(self, "_found", (calls, Surroundings(self)))
        return self._found[1]

    def _takes(self, argument: str) -> bool:
        return argument in self._arguments

    @functools.cached_property
    def _bias(self) -> str:
        """Attribute path of a bias on its grid; empty without one."""
        quantizers = self.quantize_config.weight_quantizers.items()
        return next((path for path, q in quantizers if isinstance(q, BiasQuantizer)), "")

    def _channels(self) -> tuple[int]:
        """How many output channels the kernel has, as a shape."""
        kernels = self.quantize_config.weight_quantizers.items()
        path, quantizer = next((p, q) for p, q in kernels if isinstance(q, KernelQuantizer))
        shape = _resolve(self.layer, path).shape
        return (int(np.prod([shape[axis] for axis in quantizer.channels(len(shape))])),)

    @functools.cached_property
    def _arguments(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.layer.call).parameters)

    @functools.cached_property
    def _closes_with_relu(self) -> bool:
        """Whether the layer is a plain ReLU, which the quantizer's kernel does on its way."""
        quantizer = self.quantize_config.output_quantizer
        takes = quantizer is not None and quantizer.takes_relu
        return takes and is_relu(make_spec(self.layer)) == float("inf")

    def compute_output_shape(self, input_shape: tf.TensorShape) -> Any:
        """Shape of the wrapped layer's output."""
        return self.layer.compute_output_shape(input_shape)

    def compute_mask(self, inputs: tf.Tensor, mask: tf.Tensor = None) -> Any:
        """Mask of the wrapped layer's output."""
        return self.layer.compute_mask(inputs, mask)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, the layer's own included."""
        config = {**super().get_config(), "owner": self.owner, "aliases": list(self.aliases)}
        if self._activity_regularizer is not None:
            written = keras.regularizers.serialize(self._activity_regularizer)
            config["activity_regularizer"] = written
        return {**config, "treatment": self.treatment} if self.treatment else config


@_register
class QuantizeInput(keras.layers.Layer):
    """Quantizes a network input; it stands right behind the Input layer.

    Not a subclass of tfmot's QuantizeLayer, which `quantize_apply` insists on building anew.

    Args:
        quantizer: quantizer of the tensor.
        owner: the Input layer whose rule in the precision map decides.
    """

    def __init__(self, quantizer: FormatQuantizer, owner: str = "", **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.quantizer = quantizer
        self.owner = owner

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the quantizer's variables; marks the layer built, which tfmot forgets."""
        object.__setattr__(
            self, "output_variables", self.quantizer.build(input_shape, "output", self)
        )
        self.built = True

    def call(self, inputs: tf.Tensor, training: Training = None) -> tf.Tensor:
        """The input on its grid."""
        training = keras.backend.learning_phase() if training is None else training
        return self.quantizer(tf.cast(inputs, tf.float32), training, self.output_variables)

    def assign(self, context: FormatContext) -> None:
        """Put a format into the quantizer's variables."""
        self.quantizer.assign(self.output_variables, context)

    def compute_output_shape(self, input_shape: tf.TensorShape) -> Any:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        quantizer = keras.utils.legacy.serialize_keras_object(self.quantizer)
        return {**super().get_config(), "quantizer": quantizer, "owner": self.owner}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> QuantizeInput:
        """From its constructor arguments."""
        quantizer = config["quantizer"]
        if not isinstance(quantizer, FormatQuantizer):
            quantizer = keras.utils.legacy.deserialize_keras_object(quantizer)
        return cls(**{**config, "quantizer": quantizer})


def _with_registered_activation(layer: dict[str, Any]) -> dict[str, Any]:
    """A layer's saved form with the function itself where its registered name stands."""
    saved = layer.get("config", {})
    activation = saved.get("activation")
    if not isinstance(activation, dict) or activation.get("class_name") != "function":
        return layer
    function = keras.utils.get_registered_object(str(activation.get("config")))
    if function is None:
        return layer
    return {**layer, "config": {**saved, "activation": function}}


def _build_projections(attention: KerasLayer) -> None:
    """Create the kernels inside an attention layer, which Keras leaves to its first call."""
    query, key, value = attention._query_shape, attention._key_shape, attention._value_shape
    heads = (*query[:-1], attention._num_heads, attention._value_dim)
    for part, shape in (("query", query), ("key", key), ("value", value), ("output", heads)):
        inner = getattr(attention, f"_{part}_dense")
        if not inner.built:
            with tf.name_scope(inner.name):
                inner.build(tf.TensorShape(shape))


def _resolve(layer: KerasLayer, path: str) -> Any:
    """The object at an attribute path such as "cell.kernel"."""
    return functools.reduce(getattr, path.split("."), layer)


def _assign(layer: KerasLayer, path: str, value: tf.Tensor) -> None:
    """Put a tensor at an attribute path, past Keras' tracking of attributes."""
    *parents, name = path.split(".")
    object.__setattr__(functools.reduce(getattr, parents, layer), name, value)
