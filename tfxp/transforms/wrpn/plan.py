"""Follow the channels of every tensor through a network."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tfxp.transforms.layer_graph import Call, LayerGraph, LayerSpec, Ref
from tfxp.transforms.wrpn import axes
from tfxp.transforms.wrpn.axes import Axis, Fixed
from tfxp.transforms.wrpn.layer_rules import WITH_WEIGHTS, ImpossibleError, LayerAxes, Shape

Trace = Callable[[LayerSpec, Call, list[Axis], list[Shape]], Axis]
OUTPUT = "tied to a model output"


class ChannelPlan:
    """The channels of every tensor and layer of a graph.

    Where they cannot be followed, they are fixed, and the reason is kept with them.

    Args:
        graph: the network.
        trace: gives the channels of a call's output; raises `ImpossibleError`.
        makers: kinds of layers that write channels of their own.

    Attributes:
        layers: layer -> the channels it reads and writes.
        tensors: tensor -> its channels.
    """

    def __init__(self, graph: LayerGraph, trace: Trace, makers: Collection[str]) -> None:
        self.graph = graph
        self.layers: dict[str, LayerAxes] = {}
        self.tensors: dict[Ref, Axis] = {}
        self._trace_call, self._makers = trace, makers
        for number, _, spec in graph.in_order():
            if spec.kind == "InputLayer":
                self._fix_outputs(number, f"tied to input {spec.name!r}")
            else:
                self._trace(number)
        for ref in graph.outputs:
            axes.freeze(self.tensors[ref], OUTPUT)
        for ref in graph.loss_refs():
            axes.freeze(self.tensors[ref], "read by a loss or metric that was added to the model")

    def _fix_outputs(self, number: int, reason: str) -> None:
        for index, shape in enumerate(self.graph.calls[number].output_shapes):
            width = int(shape[-1] or 0) if shape else 0
            self.tensors[Ref(number, index)] = Fixed(width, reason)

    def _trace(self, number: int) -> None:
        call = self.graph.calls[number]
        spec = self.graph.layers[call.layer]
        refs = call.refs()
        inputs = [self.tensors[ref] for ref in refs]
        shapes = [self.graph.shape_of(ref) for ref in refs]
        try:
            self.tensors[Ref(number)] = self._output(spec, call, inputs, shapes)
        except (ImpossibleError, axes.AxisMismatchError) as error:
            why = str(error) if isinstance(error, ImpossibleError) else f"which shares {error}"
            reason = f"tied to {spec.name!r} ({spec.kind}), {why}"
            layer = self.layers.get(spec.name, LayerAxes())
            for axis in (*inputs, layer.read, layer.written):
                if axis is not None:
                    axes.freeze(axis, reason)
            self._fix_outputs(number, reason)

    def _output(self, spec: LayerSpec, call: Call, inputs: list[Axis], shapes: list[Shape]) -> Axis:
        first = self.layers.get(spec.name)
        if first is None or first.read is None or first.written is None:
            output = self._trace_call(spec, call, inputs, shapes)
            self.layers[spec.name] = LayerAxes(inputs[0], output)
            return output
        if spec.kind in WITH_WEIGHTS:
            axes.unify(inputs[0], first.read)
        if spec.kind in self._makers:
            return first.written
        output = self._trace_call(spec, call, inputs, shapes)
        if spec.kind == "Reshape":
            axes.unify(output, first.written)
        return output


def before_outputs(graph: LayerGraph, stop: Collection[str]) -> set[str]:
    """The layers between the outputs and the last of the layers in `stop`, these included."""
    found: set[str] = set()
    waiting = [ref.call for ref in graph.outputs]
    seen: set[int] = set()
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        call = graph.calls[number]
        found.add(call.layer)
        if call.layer not in stop:
            waiting += [ref.call for ref in call.refs()]
    return found
