"""A quantized network to an integer graph, operator by operator."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfxp.errors import ExportError
from tfxp.export.integer_weights import IntegerLayer, integer_layer
from tfxp.export.mac_operators import (
    MAC_OPERATORS,
    absorb_batch_norm,
    mac_options,
    tflite_kernel,
)
from tfxp.formats import Format, int8_zero_point
from tfxp.graph import IntegerGraph, Operator, Quantization, Signature, Tensor
from tfxp.quantization.network_formats import NetworkFormats
from tfxp.quantization.plan import QuantizationPlan
from tfxp.transforms.layer_graph import Call, LayerSpec, Ref
from tfxp.transforms.normalize import is_relu

_LIMITS = {"INT8": (-128, 127), "INT16": (-32768, 32767)}
# Newest operator versions that int8 and int16 activations need.
_VERSIONS = {
    "CONV_2D": 5,
    "DEPTHWISE_CONV_2D": 6,
    "FULLY_CONNECTED": 5,
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "MAX_POOL_2D": 2,
    "MAXIMUM": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "PAD": 2,
    "QUANTIZE": 2,
    "REDUCE_MAX": 2,
    "RELU": 2,
    "RELU6": 2,
    "SOFTMAX": 2,
}


@dataclasses.dataclass(frozen=True)
class _Value:
    """A tensor of the integer graph and the format of its codes."""

    index: int
    fmt: Format


class GraphBuilder:
    """Walks a plan once and appends operators.

    Args:
        plan: quantization points of the network.
        formats: formats of its tensors.
        softmax: whether final Softmax layers are written; otherwise the file returns logits.
        pack_int4: whether kernels of up to 4 bits are stored two codes to a byte.
    """

    def __init__(
        self,
        plan: QuantizationPlan,
        formats: NetworkFormats,
        softmax: bool = False,
        pack_int4: bool = False,
    ) -> None:
        self._plan, self._formats = plan, formats
        self._with_softmax, self._pack_int4 = softmax, pack_int4
        self.storage = storage_type(formats)
        self.graph = IntegerGraph(name=plan.graph.name, description="written by tfxp")
        self._values: dict[Ref, _Value] = {}
        self._layers: dict[str, IntegerLayer] = {}
        self._constants: dict[tuple[Any, ...], int] = {}
        self.tensor_formats: dict[str, str] = {}

    def build(self) -> IntegerGraph:
        """The integer graph."""
        graph = self._plan.graph
        for number, call, spec in graph.in_order():
            role = self._plan.role(spec.name).role
            handler = getattr(self, f"_{role}", None)
            if handler is None:
                raise ExportError(f"layer {spec.name!r} ({spec.kind}): cannot be exported.")
            handler(number, call, spec)
        self.graph.inputs = [self._values[ref].index for ref in graph.inputs]
        self.graph.outputs = [self._values[ref].index for ref in graph.outputs]
        self._add_signature()
        return self.graph

    def indices(self) -> dict[Ref, int]:
        """Tensor of the network -> index of the tensor that holds it in the file; a softmax that is
        left out has none."""
        graph = self._plan.graph
        return {
            ref: value.index
            for ref, value in self._values.items()
            if self._with_softmax or self._plan.role(graph.calls[ref.call].layer).role != "softmax"
        }

    def _add_signature(self) -> None:
        graph = self._plan.graph
        names = [graph.calls[ref.call].layer for ref in graph.inputs]
        results = [graph.calls[ref.call].layer for ref in graph.outputs]
        inputs = dict(zip(names, self.graph.inputs, strict=True))
        outputs = dict(zip(results, self.graph.outputs, strict=True))
        self.graph.signatures = [Signature("serving_default", inputs, outputs)]

    # --- tensors ----------------------------------------------------------------------------

    def _zero_point(self, fmt: Format) -> int:
        return int8_zero_point(fmt) if self.storage == "INT8" else 0

    def _activation(self, name: str, shape: tuple[int | None, ...], fmt: Format) -> _Value:
        scheme = Quantization(np.float32(fmt.scale), self._zero_point(fmt))  # type: ignore[arg-type]
        sizes = (1, *(int(size or 1) for size in shape[1:]))
        free = tuple(-1 if size is None else int(size) for size in (None, *shape[1:]))
        taken = {tensor.name for tensor in self.graph.tensors}
        unique, count = name, 1
        while unique in taken:
            unique, count = f"{name}_{count}", count + 1
        tensor = Tensor(unique, sizes, self.storage, scheme, shape_signature=free)
        self.tensor_formats[unique] = str(fmt)
        return _Value(self.graph.add_tensor(tensor), fmt)

    def _constant(self, name: str, data: np.ndarray, kind: str, scheme: Any = None) -> int:
        key = (name, kind)
        if key not in self._constants:
            tensor = Tensor(name, data.shape, kind, scheme, data)
            self._constants[key] = self.graph.add_tensor(tensor)
        return self._constants[key]

    def _emit(
        self, name: str, inputs: list[int], output: _Value, options: dict[str, Any] | None = None
    ) -> _Value:
        version = _VERSIONS.get(name, 1)
        self.graph.add_operator(Operator(name, inputs, [output.index], options or {}, version))
        return output

    def _like(self, value: _Value, name: str) -> _Value:
        return self._activation(name, (None, *self.graph.tensors[value.index].shape[1:]), value.fmt)

    def _clamp(self, value: _Value, low: int | None, high: int | None, name: str) -> _Value:
        """Hold codes at limits that the storage type does not saturate at by itself."""
        zero = self._zero_point(value.fmt)
        least, most = _LIMITS[self.storage]
        for limit, operator in ((low, "MAXIMUM"), (high, "MINIMUM")):
            if limit is None or limit + zero in (least, most):
                continue
            tensor = self.graph.tensors[value.index]
            data = np.array([limit + zero], tensor.dtype)
            scheme = tensor.quantization
            name_of_bound = f"{value.fmt}_{operator.lower()}_{limit}"
            bound = self._constant(name_of_bound, data, self.storage, scheme)
            value = self._emit(
                operator,
                [value.index, bound],
                self._like(value, f"{name}_{operator.lower()}"),
                {},
            )
        return value

    def _finish(self, value: _Value, relu: float | None, fused: bool, name: str) -> _Value:
        """Clamp an operator's output to its format, the ReLU behind it included."""
        fmt = value.fmt
        low: int | None = fmt.qmin
        if relu is not None:
            low = None if fused else max(0, fmt.qmin)
        high = fmt.qmax
        if relu is not None and np.isfinite(relu):
            high = min(high, int(np.rint(np.float32(relu) * np.float32(fmt.inverse_scale))))
        least, most = _LIMITS[self.storage]
        zero = self._zero_point(fmt)
        saturates = fmt.qmax + zero == most and high == fmt.qmax
        return self._clamp(value, low, None if saturates else high, name)

    def _closing_relu(self, owner: str) -> float | None:
        point = self._plan.points[owner]
        if point.layer == owner:
            return None
        return is_relu(self._plan.graph.layers[point.layer])

    def _output(self, number: int, spec: LayerSpec) -> _Value:
        fmt = self._formats[spec.name].activations
        assert fmt is not None  # checked before building
        return self._activation(spec.name, self._plan.graph.calls[number].output_shapes[0], fmt)

    def _read(self, call: Call) -> list[_Value]:
        return [self._values[ref] for ref in call.refs()]

    # --- one method per role ----------------------------------------------------------------

    def _input(self, number: int, call: Call, spec: LayerSpec) -> None:
        self._values[Ref(number)] = self._output(number, spec)

    def _mac(self, number: int, call: Call, spec: LayerSpec) -> None:
        source = self._read(call)[0]
        layer = self._integers(spec.name)
        relu = self._closing_relu(spec.name)
        weights = self._kernel(spec, layer)
        inputs = [source.index, weights, self._bias(spec, layer, source)]
        options = {**mac_options(spec), "fused_activation_function": _fused(relu)}
        output = self._emit(MAC_OPERATORS[spec.kind], inputs, self._output(number, spec), options)
        self._values[Ref(number)] = self._finish(output, relu, True, spec.name)

    def _integers(self, name: str) -> IntegerLayer:
        if name not in self._layers:
            layer = integer_layer(self._plan, self._formats, name)
            self._layers[name] = absorb_batch_norm(self._plan, self._formats, layer)
        return self._layers[name]

    def _kernel(self, spec: LayerSpec, layer: IntegerLayer) -> int:
        codes, axis = tflite_kernel(spec, layer.weights)
        bits = layer.weight_formats[0].bits
        kind = {1: "INT8", 2: "INT16", 4: "INT32"}[codes.dtype.itemsize]
        if self._pack_int4 and bits <= 4:
            kind = "INT4"
        scheme = Quantization(
            layer.weight_scale.astype(np.float32),
            np.zeros(layer.weight_scale.size, np.int64),
            axis if layer.weight_scale.size > 1 else 0,
        )
        formats = dict.fromkeys(str(fmt) for fmt in layer.weight_formats)
        self.tensor_formats[f"{spec.name}/kernel"] = ", ".join(formats)
        return self._constant(f"{spec.name}/kernel", codes, kind, scheme)

    def _bias(self, spec: LayerSpec, layer: IntegerLayer, source: _Value) -> int:
        scale = source.fmt.scale * layer.weight_scale
        if layer.bias is None or layer.bias_scale is None:
            if spec.kind == "Dense":
                return -1
            # LiteRT's convolutions want a bias, whatever the schema says.
            codes, ratio = np.zeros(layer.channels, np.int64), np.ones(1)
        else:
            ratio = np.broadcast_to(layer.bias_scale / scale, layer.bias.shape)
            codes = np.rint(layer.bias * ratio).astype(np.int64)
        wide = self.storage == "INT16"
        key = f"{spec.name}/bias" if np.all(ratio == 1) else f"{spec.name}/bias_{source.fmt}"
        scheme = Quantization(scale.astype(np.float32), np.zeros(scale.size, np.int64), 0)
        return self._constant(
            key, codes if wide else codes.astype(np.int32), "INT64" if wide else "INT32", scheme
        )

    def _batch_norm(self, number: int, call: Call, spec: LayerSpec) -> None:
        self._values[Ref(number)] = self._read(call)[0]  # absorbed by the layer before

    def _add(self, number: int, call: Call, spec: LayerSpec) -> None:
        inputs = [value.index for value in self._read(call)]
        if len(inputs) == 1:
            inputs *= 2
        relu = self._closing_relu(spec.name)
        options = {"fused_activation_function": _fused(relu), "pot_scale_int16": False}
        output = self._emit("ADD", inputs, self._output(number, spec), options)
        self._values[Ref(number)] = self._finish(output, relu, True, spec.name)

    def _concatenate(self, number: int, call: Call, spec: LayerSpec) -> None:
        output = self._output(number, spec)
        parts = [self._requantized(value, output.fmt, spec.name) for value in self._read(call)]
        rank = len(self.graph.tensors[output.index].shape)
        options = {"axis": rank - 1, "fused_activation_function": "NONE"}
        self._emit("CONCATENATION", [part.index for part in parts], output, options)
        relu = self._closing_relu(spec.name)
        # Parts are inside the format already; only a ReLU is left to do.
        needed = relu is not None and output.fmt.qmin < 0
        limited = relu is not None and np.isfinite(relu)
        done = self._finish(output, relu, False, spec.name) if needed or limited else output
        self._values[Ref(number)] = done

    def _requantized(self, value: _Value, fmt: Format, name: str) -> _Value:
        if value.fmt == fmt:
            return value
        shape = (None, *self.graph.tensors[value.index].shape[1:])
        result = self._emit("QUANTIZE", [value.index], self._activation(f"{name}_part", shape, fmt))
        low = None if value.fmt.qmin >= 0 else fmt.qmin
        return self._clamp(result, low, self._upper(fmt), f"{name}_part")

    def _upper(self, fmt: Format) -> int | None:
        saturates = fmt.qmax + self._zero_point(fmt) == _LIMITS[self.storage][1]
        return None if saturates else fmt.qmax

    def _mean(self, number: int, call: Call, spec: LayerSpec) -> None:
        source = self._read(call)[0]
        axes = self._constant("spatial_axes", np.array([1, 2], np.int32), "INT32")
        options = {"keep_dims": bool(spec.config.get("keepdims"))}
        output = self._output(number, spec)
        self._emit("MEAN", [source.index, axes], output, options)
        relu = self._closing_relu(spec.name)
        low_is_free = source.fmt.qmin >= 0 and relu is None
        if low_is_free:
            done = self._clamp(output, None, self._upper(output.fmt), spec.name)
        else:
            done = self._finish(output, relu, False, spec.name)
        self._values[Ref(number)] = done

    def _average_pool(self, number: int, call: Call, spec: LayerSpec) -> None:
        self._pool("AVERAGE_POOL_2D", number, call, spec)

    def _pool(self, operator: str, number: int, call: Call, spec: LayerSpec) -> None:
        source = self._read(call)[0]
        config = spec.config
        options = {
            "padding": config["padding"].upper(),
            "stride_h": config["strides"][0],
            "stride_w": config["strides"][1],
            "filter_height": config["pool_size"][0],
            "filter_width": config["pool_size"][1],
            "fused_activation_function": "NONE",
        }
        output = self._activation(spec.name, call.output_shapes[0], source.fmt)
        self._values[Ref(number)] = self._emit(operator, [source.index], output, options)

    def _relu(self, number: int, call: Call, spec: LayerSpec) -> None:
        source = self._read(call)[0]
        owner = self._plan.aliases.get(spec.name)
        closes = owner is not None and self._plan.points[owner].layer == spec.name
        limit = is_relu(spec)
        unlimited = limit is not None and not np.isfinite(limit)
        if closes or (unlimited and source.fmt.qmin >= 0):
            self._values[Ref(number)] = source
            return
        high = None if unlimited else self._limit(source.fmt, float(limit or 0))
        low = 0 if source.fmt.qmin < 0 else None
        self._values[Ref(number)] = self._clamp(source, low, high, spec.name)

    @staticmethod
    def _limit(fmt: Format, limit: float) -> int | None:
        code = int(np.rint(np.float32(limit) * np.float32(fmt.inverse_scale)))
        return code if code < fmt.qmax else None

    def _softmax(self, number: int, call: Call, spec: LayerSpec) -> None:
        source = self._read(call)[0]
        if not self._with_softmax:
            self._values[Ref(number)] = source
            return
        shape = (1, *self.graph.tensors[source.index].shape[1:])
        int8 = self.storage == "INT8"
        scheme = Quantization(np.float32(2.0 ** (-8 if int8 else -15)), -128 if int8 else 0)  # type: ignore[arg-type]
        tensor = Tensor(spec.name, shape, self.storage, scheme, shape_signature=(-1, *shape[1:]))
        output = _Value(self.graph.add_tensor(tensor), source.fmt)
        self._values[Ref(number)] = self._emit("SOFTMAX", [source.index], output, {"beta": 1.0})

    def _keep(self, number: int, call: Call, spec: LayerSpec) -> None:
        source = self._read(call)[0]
        if spec.kind == "MaxPooling2D":
            self._pool("MAX_POOL_2D", number, call, spec)
        elif spec.kind == "GlobalMaxPooling2D":
            axes = self._constant("spatial_axes", np.array([1, 2], np.int32), "INT32")
            options = {"keep_dims": bool(spec.config.get("keepdims"))}
            self._same(number, call, spec, "REDUCE_MAX", [source.index, axes], options)
        elif spec.kind == "ZeroPadding2D":
            pads = np.array([(0, 0), *spec.config["padding"], (0, 0)], np.int32)
            paddings = self._constant(f"{spec.name}/paddings", pads, "INT32")
            self._same(number, call, spec, "PAD", [source.index, paddings], {})
        elif spec.kind in ("Flatten", "Reshape"):
            shape = np.array([-1, *(int(n or 1) for n in call.output_shapes[0][1:])], np.int32)
            target = self._constant(f"{spec.name}/shape", shape, "INT32")
            self._same(number, call, spec, "RESHAPE", [source.index, target], {"new_shape": shape})
        elif spec.kind in _NOTHING_AT_INFERENCE:
            self._values[Ref(number)] = source
        else:
            raise ExportError(f"layer {spec.name!r} ({spec.kind}): cannot be exported.")

    def _same(
        self, number: int, call: Call, spec: LayerSpec, name: str, inputs: list[int], options: Any
    ) -> None:
        fmt = self._read(call)[0].fmt
        output = self._activation(spec.name, call.output_shapes[0], fmt)
        self._values[Ref(number)] = self._emit(name, inputs, output, options)


_NOTHING_AT_INFERENCE = ("Dropout", "SpatialDropout2D", "GaussianNoise", "Activation")


def storage_type(formats: NetworkFormats) -> str:
    """INT8 if every activation fits, else INT16 for all: LiteRT's kernels do not mix the two."""
    bits = [layer.activations.bits for layer in formats.values() if layer.activations is not None]
    return "INT8" if max(bits, default=8) <= 8 else "INT16"


def _fused(relu: float | None) -> str:
    if relu is None:
        return "NONE"
    return "RELU6" if relu == 6.0 else "RELU"
