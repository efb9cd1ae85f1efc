"""A run of a quantized Keras model as a trace, to be compared with runs of its integer file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.comparison.trace import Trace, TracedTensor, constants_of
from tfxp.export.check_exportable import check_exportable
from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.indices import INDICES, input_formats
from tfxp.export.write_layers import write_layers
from tfxp.formats import encode
from tfxp.graph import IntegerGraph, Tensor, index_limit
from tfxp.quantization.read_network import read_network
from tfxp.quantization.twin import TwinNetwork
from tfxp.transforms.layer_graph import Ref


class KerasTracer:
    """Runs a quantized model and names its tensors as its export does.

    Args:
        qmodel: what `quantize_model` returned.

    Raises:
        ExportError: something cannot be written as integers; everything is listed.
    """

    def __init__(self, qmodel: Any) -> None:
        self.network = read_network(qmodel)
        self._twin = TwinNetwork(self.network)
        check_exportable(self.network)
        builder = GraphBuilder(self.network)
        self.graph: IntegerGraph = write_layers(builder)
        self._inputs = input_formats(self.network)
        # The last tensor of several that the file holds as one: behind the ReLU that is fused.
        self._refs: dict[int, Ref] = {index: ref for ref, index in builder.indices().items()}
        self._run = tf.function(self._tensors, reduce_retracing=True)

    def random_inputs(self, samples: int, generator: np.random.Generator) -> list[np.ndarray]:
        """Inputs that use all codes of the input formats, real values."""
        results = []
        for fmt, index in zip(self._inputs, self.graph.inputs, strict=True):
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
        results = []
        for part, fmt, index in zip(inputs, self._inputs, self.graph.inputs, strict=True):
            tensor = self.graph.tensors[index]
            results.append((encode(part, fmt) + tensor.zero_point).astype(tensor.dtype))
        return results

    def trace(self, inputs: Sequence[np.ndarray], engine: str = "Keras") -> Trace:
        """Run the model on real inputs and keep every tensor that the file has too."""
        values = self._run([tf.constant(part, tf.float32) for part in inputs])
        producer = {index: op for op in self.graph.operators for index in op.outputs}
        order = [*self.graph.inputs, *(i for op in self.graph.operators for i in op.outputs)]
        found = dict(zip(self._refs, values, strict=True))
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
        return [tensors[ref] for ref in self._refs.values()]


def _codes(real: np.ndarray, tensor: Tensor) -> np.ndarray:
    if not tensor.scale:  # indices
        return real.astype(np.int64)
    return np.rint(real.astype(np.float64) / tensor.scale).astype(np.int64) + tensor.zero_point
