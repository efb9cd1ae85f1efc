"""A run of a quantized Keras model as a trace, to be compared with runs of its integer file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfxp.comparison.trace import Trace, TracedTensor, constants_of
from tfxp.export.check_exportable import check_exportable
from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.indices import INDICES, input_formats
from tfxp.export.verify import stored_codes
from tfxp.export.write_layers import write_layers
from tfxp.graph import IntegerGraph, Tensor, index_limit
from tfxp.keras_types import KerasModel
from tfxp.quantization.read_network import read_network
from tfxp.quantization.twin import TwinNetwork
from tfxp.transforms.layer_graph import Ref

# A graph function pays from here on: making one takes longer than two small batches without.
_EAGER_RUNS, _EAGER_VALUES = 2, 2**17


class KerasTracer:
    """Runs a quantized model and names its tensors as its export does.

    Args:
        qmodel: what `quantize_model` returned.

    Raises:
        ExportError: something cannot be written as integers; everything is listed.
    """

    def __init__(self, qmodel: KerasModel) -> None:
        network = read_network(qmodel)
        check_exportable(network)
        builder = GraphBuilder(network)
        self._of(builder, write_layers(builder))

    @classmethod
    def of_export(cls, builder: GraphBuilder, graph: IntegerGraph) -> KerasTracer:
        """The tracer of a network whose graph a builder has written."""
        tracer = cls.__new__(cls)
        tracer._of(builder, graph)
        return tracer

    def _of(self, builder: GraphBuilder, graph: IntegerGraph) -> None:
        self.network, self.graph = builder.network, graph
        self._twin = TwinNetwork(self.network)
        self.input_formats = input_formats(self.network)
        calls, role = self.network.graph.calls, self.network.role
        # The last tensor of several that the file holds as one: behind the ReLU that is fused. A
        # final softmax is float in Keras.
        self.refs: dict[int, Ref] = {
            index: ref
            for ref, index in builder.indices().items()
            if not role(calls[ref.call].layer).role.is_final
        }
        self._output_function = tf.function(self._outputs, reduce_retracing=True)
        self._runs = 0

    def random_inputs(self, samples: int, generator: np.random.Generator) -> list[np.ndarray]:
        """Inputs that use all codes of the input formats, real values."""
        results = []
        for fmt, index in zip(self.input_formats, self.graph.inputs, strict=True):
            shape = (samples, *self.graph.tensors[index].shape[1:])
            if fmt == INDICES:
                limit = index_limit(self.graph, index)
                results.append(generator.integers(0, limit, shape).astype(np.int32))
                continue
            results.append(
                generator.integers(fmt.qmin, fmt.qmax + 1, shape) * np.float32(fmt.scale)
            )
        return results

    def codes(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Real inputs as the codes of the file's input tensors."""
        triples = zip(inputs, self.input_formats, self.graph.inputs, strict=True)
        return [stored_codes(part, fmt, self.graph, index) for part, fmt, index in triples]

    def outputs(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Outputs of the quantized model for real inputs, before final Softmax layers."""
        self._runs += 1
        few = self._runs <= _EAGER_RUNS and sum(part.size for part in inputs) <= _EAGER_VALUES
        run = self._outputs if few else self._output_function
        return [value.numpy() for value in run(_tensors_of(inputs))]

    def trace(self, inputs: Sequence[np.ndarray], engine: str = "Keras") -> Trace:
        """Run the model on real inputs and keep every tensor that the file has too."""
        values = self._tensors(_tensors_of(inputs))
        producer = {index: op for op in self.graph.operators for index in op.outputs}
        order = [*self.graph.inputs, *(i for op in self.graph.operators for i in op.outputs)]
        found = dict(zip(self.refs, values, strict=True))
        tensors = {}
        for index in order:
            tensor, operator = self.graph.tensors[index], producer.get(index)
            tensors[tensor.name] = TracedTensor(
                tensor.name,
                operator.name if operator else "INPUT",
                _codes(found[index].numpy(), tensor) if index in found else None,
                tensor.scale,
                tensor.zero_point,
                constants_of(self.graph, operator) if operator else {},
            )
        outputs = tuple(self.graph.tensors[index].name for index in self.graph.outputs)
        return Trace(engine, tensors, outputs)

    def _tensors(self, batch: list[tf.Tensor]) -> list[tf.Tensor]:
        tensors = self._twin.quantized(batch)
        return [tensors[ref] for ref in self.refs.values()]

    def _outputs(self, batch: list[tf.Tensor]) -> list[tf.Tensor]:
        tensors = self._twin.quantized(batch)
        return [tensors[self.refs[index]] for index in self.graph.outputs]


def _tensors_of(inputs: Sequence[np.ndarray]) -> list[tf.Tensor]:
    return [tf.constant(part, tf.float32) for part in inputs]


def _codes(real: np.ndarray, tensor: Tensor) -> np.ndarray:
    if not tensor.scale:  # indices
        return real.astype(np.int64)
    return np.rint(real.astype(np.float64) / tensor.scale).astype(np.int64) + tensor.zero_point
