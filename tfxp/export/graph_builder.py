"""A quantized network to an integer graph, operator by operator."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfxp.export.graph_parts import LIMITS, GraphParts, Value
from tfxp.export.mac_operators import absorb_batch_norm, finer_kernel, half_up_kernel
from tfxp.export.sixteen_bits import needs_room, write_half_up
from tfxp.formats import Format
from tfxp.graph import IntegerGraph, Signature
from tfxp.quantization.integer_layer import IntegerLayer
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref
from tfxp.transforms.normalize.normalize import is_relu

# Layers whose operator states the size of its whole output, or of a state, the batch included.
_ONE_SAMPLE = ("Conv1DTranspose", "Conv2DTranspose", "LSTM")
_RESHAPED = ("Reshape", "Flatten")


class GraphBuilder(GraphParts):
    """The integer graph of a network while its layers are written, one call after the other.

    It offers what writers of layers need, those of `tfxp.export.operators` and of users' own:
    `read` what a call reads, `emit` an operator into a new tensor (`output`, `like`,
    `activation`), `finish` it to its format, and `put` the result.

        def write(builder: GraphBuilder, number: int, call: Call, spec: LayerSpec) -> None:
            (source,) = builder.read(call)
            output = builder.activation(spec.name, call.output_shapes[0], source.fmt)
            builder.put(number, builder.emit("RELU", [source.index], output))

    Args:
        network: the network, `tfxp.quantization.read_network`.
        softmax: whether final Softmax layers are written; otherwise the file returns logits.
        pack_int4: whether kernels of up to 4 bits are stored two codes to a byte.
        fine_bias: whether kernels in front of an absorbed BatchNormalization are multiplied to
            fill their storage, which makes the steps of its offsets finer.
        portable: whether sums and changes of format go through 16 bits where runtimes would round
            otherwise than each other.

    Example:
        >>> from tfxp.keras import keras, layers
        >>> model = keras.Sequential([layers.Dense(2, input_shape=(3,), name="dense")])
        >>> stats = tfxp.measure_model(model, np.ones((4, 3), "float32"))
        >>> from tfxp.quantization import read_network
        >>> builder = GraphBuilder(read_network(tfxp.quantize_model(model, "w8a8", stats)))
        >>> builder.graph.operators
        []
    """

    def __init__(
        self,
        network: QuantizedNetwork,
        softmax: bool = False,
        pack_int4: bool = False,
        fine_bias: bool = True,
        portable: bool = True,
    ) -> None:
        plan = network.plan
        batch = 1 if _takes_one_sample(plan.graph) else None
        super().__init__(network, batch, portable and network.is_portable)
        self.plan, self.formats = plan, network.formats
        self.with_softmax, self.pack_int4, self.fine_bias = softmax, pack_int4, fine_bias
        self.values: dict[Ref, Value] = {}
        self._layers: dict[str, IntegerLayer] = {}

    def close(self) -> IntegerGraph:
        """The integer graph, once every layer is written."""
        graph = self.plan.graph
        self.graph.inputs = [self.values[ref].index for ref in graph.inputs]
        self.graph.outputs = [self.values[ref].index for ref in graph.outputs]
        self._remove_unread()
        self._add_signature()
        return self.graph

    def indices(self) -> dict[Ref, int]:
        """Tensor of the network -> index of the tensor that holds it in the file; a softmax that is
        left out has none, nor a sequence that is only ever read as an image."""
        graph = self.plan.graph
        return {
            ref: value.index
            for ref, value in self.values.items()
            if value.index >= 0
            if self.with_softmax or not self.plan.role(graph.calls[ref.call].layer).role.is_final
        }

    def _add_signature(self) -> None:
        graph = self.plan.graph
        names = [graph.calls[ref.call].layer for ref in graph.inputs]
        inputs = dict(zip(names, self.graph.inputs, strict=True))
        outputs = dict(zip(graph.result_names, self.graph.outputs, strict=True))
        self.graph.signatures = [Signature("serving_default", inputs, outputs)]

    def format_of(self, layer: str) -> Format:
        """The format of a layer's output, which every exported layer has."""
        fmt = self.formats[layer].activations
        assert fmt is not None  # checked before building
        return fmt

    def clamp(self, value: Value, low: int | None, high: int | None, name: str) -> Value:
        """Hold codes at limits that the storage type does not saturate at by itself."""
        zero = self.zero_point(value.fmt)
        least, most = LIMITS[self.storage]
        for limit, operator in ((low, "MAXIMUM"), (high, "MINIMUM")):
            if limit is None or limit + zero in (least, most):
                continue
            tensor = self.graph.tensors[value.index]
            data = np.array([limit + zero], tensor.dtype)
            scheme = tensor.quantization
            name_of_bound = f"{value.fmt}_{operator.lower()}_{limit}"
            bound = self.constant(name_of_bound, data, self.storage, scheme)
            value = self.emit(
                operator,
                [value.index, bound],
                self.like(value, f"{name}_{operator.lower()}"),
                {},
            )
        return value

    def finish(self, value: Value, relu: float | None, fused: bool, name: str) -> Value:
        """Clamp an operator's output to its format, the ReLU behind it included."""
        fmt = value.fmt
        low: int | None = fmt.qmin
        if relu is not None:
            low = None if fused else max(0, fmt.qmin)
        high = fmt.qmax
        if relu is not None and np.isfinite(relu):
            high = min(high, int(np.rint(np.float32(relu) * np.float32(fmt.inverse_scale))))
        least, most = LIMITS[self.storage]
        zero = self.zero_point(fmt)
        saturates = fmt.qmax + zero == most and high == fmt.qmax
        return self.clamp(value, low, None if saturates else high, name)

    def closing_relu(self, owner: str) -> float | None:
        """The limit of the ReLU that closes a layer, infinity for a plain one; None without."""
        point = self.plan.points[owner]
        if point.layer == owner:
            return None
        return is_relu(self.plan.graph.layers[point.layer])

    def output(self, number: int, spec: LayerSpec) -> Value:
        """A new tensor for a layer's output, in the layer's own format."""
        shape = self.plan.graph.calls[number].output_shapes[0]
        return self.activation(spec.name, shape, self.format_of(spec.name))

    def read(self, call: Call) -> list[Value]:
        """The tensors a call reads."""
        return [self.values[ref] for ref in call.refs()]

    def put(self, number: int, value: Value) -> None:
        """State which tensor holds the output of a call."""
        self.values[Ref(number)] = value

    def upper(self, fmt: Format) -> int | None:
        """The highest code, where the storage type does not stop there by itself."""
        saturates = fmt.qmax + self.zero_point(fmt) == LIMITS[self.storage][1]
        return None if saturates else fmt.qmax

    def requantized(self, value: Value, fmt: Format, name: str) -> Value:
        """The tensor in another format, ties up."""
        if value.fmt == fmt:
            return value
        result = self.activation(name, self.free_shape(value), fmt)
        if needs_room(self, [value], result):
            write_half_up(self, [value], result, name)
        else:
            self.emit("QUANTIZE", [value.index], result)
        low = None if value.fmt.qmin >= 0 else fmt.qmin
        return self.clamp(result, low, self.upper(fmt), name)

    def as_image(self, value: Value, name: str) -> Value:
        """A sequence as an image one row high, which LiteRT's operators for images take."""
        if value.image is not None:
            return Value(value.image, value.fmt)
        shape = (None, 1, *self.free_shape(value)[1:])
        axis = self.constant("row_axis", np.array([1], np.int32), "INT32")
        return self.emit(
            "EXPAND_DIMS", [value.index, axis], self.activation(f"{name}_row", shape, value.fmt)
        )

    def as_sequence(self, value: Value, name: str) -> Value:
        """An image one row high as a sequence."""
        result = self.activation(name, (None, *self.free_shape(value)[2:]), value.fmt)
        self.emit("SQUEEZE", [value.index], result, {"squeeze_dims": np.array([1], np.int32)})
        return dataclasses.replace(result, image=value.index)

    def integers(self, name: str) -> IntegerLayer:
        """The integers of a layer with weights, a kept BatchNormalization absorbed."""
        if name not in self._layers:
            layer = self.network.integers(name)
            bits = 4 if self.packs(layer) else 8 * layer.weights.dtype.itemsize
            layer = absorb_batch_norm(self.network, layer, bits, self.fine_bias)
            if self.network.role(name).role.adds_up and self.storage == "INT8":
                layer = layer if bits == 4 else half_up_kernel(self.network, layer)
                layer = finer_kernel(self.network, layer, 8 * layer.weights.dtype.itemsize)
            self._layers[name] = layer
        return self._layers[name]

    def packs(self, layer: IntegerLayer) -> bool:
        """Whether a kernel is stored two codes to a byte: asked for, and all codes fit.

        LiteRT's TRANSPOSE_CONV takes no packed kernels.
        """
        if not self.pack_int4 or self.plan.graph.layers[layer.name].kind.endswith("Transpose"):
            return False
        fit = int(layer.weights.min()) >= -8 and int(layer.weights.max()) <= 7
        return fit and layer.weight_formats[0].bits <= 4

    def _remove_unread(self) -> None:
        """Drop operators that nothing reads, such as the view back from an image to a sequence
        where the next layer takes the image."""
        read = set(self.graph.outputs)
        kept = []
        for operator in reversed(self.graph.operators):
            if read & set(operator.outputs):
                kept.append(operator)
                read |= {*operator.inputs, *operator.intermediates}
        if len(kept) < len(self.graph.operators):
            self.graph.operators = kept[::-1]
            self._keep_tensors(read | set(self.graph.inputs))

    def _keep_tensors(self, wanted: set[int]) -> None:
        graph = self.graph
        kept = [index for index in range(len(graph.tensors)) if index in wanted]
        place = {-1: -1, **{old: new for new, old in enumerate(kept)}}
        gone = {graph.tensors[i].name for i in range(len(graph.tensors)) if i not in wanted}
        self.tensor_formats = {n: f for n, f in self.tensor_formats.items() if n not in gone}
        graph.tensors = [graph.tensors[index] for index in kept]
        for operator in graph.operators:
            operator.inputs = [place[index] for index in operator.inputs]
            operator.outputs = [place[index] for index in operator.outputs]
            operator.intermediates = [place[index] for index in operator.intermediates]
        self.values = {
            ref: Value(place.get(value.index, -1), value.fmt) for ref, value in self.values.items()
        }
        graph.inputs = [place[index] for index in graph.inputs]
        graph.outputs = [place[index] for index in graph.outputs]


def _takes_one_sample(graph: LayerGraph) -> bool:
    """Whether an operator states the batch: its output's size, a state's, or the one size besides
    a free one that RESHAPE would have to leave open."""
    for call in graph.calls.values():
        kind = graph.layers[call.layer].kind
        if kind in _ONE_SAMPLE:
            return True
        if kind in _RESHAPED and None in call.output_shapes[0][1:]:
            return True
    return False
