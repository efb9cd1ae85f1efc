"""A quantized Keras model to a `.tflite` file that computes the same integers."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxp.data.input_scaling import Scalings, scalings_of, scalings_to_dict
from tfxp.data.named_inputs import InputSignature
from tfxp.export.check_exportable import check_exportable
from tfxp.export.exactness_notes import exactness_notes
from tfxp.export.graph_builder import GraphBuilder
from tfxp.export.indices import input_formats
from tfxp.export.verify import Verification, verify_graph
from tfxp.export.write_layers import write_layers
from tfxp.files import check_writable, write_bytes
from tfxp.graph import IntegerGraph, write_tflite
from tfxp.keras import keras
from tfxp.keras_types import KerasModel, Samples
from tfxp.progress import Report
from tfxp.quantization.plan import QuantizationPlan, logit_tensors
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.read_network import read_network

METADATA = "tfxp"


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What was written, what may differ, and what the comparison found.

    Args:
        path: the file.
        tflite_bytes: its size.
        float_bytes: size of the network's weights in float32.
        storage: type of the activations in the file, "INT8" or "INT16".
        notes: which tensors may differ from Keras, and why.
        verification: element by element comparison, if data were given.
    """

    path: str
    tflite_bytes: int
    float_bytes: int
    storage: str
    notes: tuple[str, ...]
    verification: Verification | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form, the comparison's figures at the top level."""
        result = {
            "path": self.path,
            "tflite_bytes": self.tflite_bytes,
            "float_bytes": self.float_bytes,
            "storage": self.storage,
            "notes": list(self.notes),
        }
        return {**result, **(self.verification.to_dict() if self.verification else {})}


def export_tflite(
    qmodel: KerasModel,
    path: str | os.PathLike[str],
    *,
    verify: Samples | None = None,
    softmax: bool = False,
    pack_int4: bool = False,
    fine_bias: bool = True,
    progress: Report | None = None,
) -> ExportReport:
    """Write a quantized model as an integer `.tflite`, and compare it with Keras.

    Weights and activations of up to 8 bits are stored as int8; if any activation is wider, all are
    stored as int16. Biases are int32 (int64 beside int16) at the accumulator's scale. The formats
    travel in the file's metadata under "tfxp".

    Args:
        qmodel: what `quantize_model` returned, trained or not.
        path: file to write; whole or not at all.
        verify: real inputs; outputs of Keras, tfxp's interpreter and LiteRT are compared on them.
        softmax: write final Softmax layers too; without them the file returns logits, which are
            exact.
        pack_int4: store kernels of up to 4 bits two to a byte. LiteRT runs those through kernels
            that round twice, so its outputs may differ by 1 LSB.
        fine_bias: let kernels of few bits in front of a kept BatchNormalization fill their storage:
            codes are multiplied by the largest whole number that fits, so that the offset, a whole
            number of accumulator steps, is met more closely. Zeros stay zeros. False writes the
            codes as they are (-1, 0 and 1 for ternary weights).
        progress: called with (samples compared, samples in all).

    Raises:
        ExportError: something cannot be written as integers; everything is listed.
        OutputError: the path cannot be written.
        DataError: `verify` is empty.

    Example:
        >>> report = tfxp.export_tflite(qmodel, "model.tflite", verify=x)  # doctest: +SKIP
        >>> report.verification.mismatches_litert                          # doctest: +SKIP
        0
    """
    check_writable(path)
    network = read_network(qmodel)
    check_exportable(network)
    notes = exactness_notes(network, pack_int4)
    graph = logits = _integer_graph(network, softmax, pack_int4, fine_bias, scalings_of(qmodel))
    if softmax and verify is not None:
        logits = _integer_graph(network, False, pack_int4, fine_bias, scalings_of(qmodel))
    network.forget_integers()  # the graphs hold them in the file's order by now
    content = write_tflite(graph)
    checked = None
    if verify is not None:
        checked = verify_graph(
            logits_function(qmodel, network.plan),
            logits,
            input_formats(network),
            verify,
            progress=progress,
            inputs=InputSignature.of(qmodel),
        )
    write_bytes(path, content)
    specs = network.graph.layers.values()
    floats = sum(int(np.prod(weight.shape)) for spec in specs for weight in spec.weights) * 4
    storage = graph.tensors[graph.inputs[0]].type
    return ExportReport(os.fspath(path), len(content), floats, storage, tuple(notes), checked)


def integer_graph_of(
    qmodel: Any, *, softmax: bool = False, pack_int4: bool = False, fine_bias: bool = True
) -> IntegerGraph:
    """The integer graph of a quantized model, as `export_tflite` writes it.

    Raises:
        ExportError: something cannot be written as integers; everything is listed.
    """
    network = read_network(qmodel)
    check_exportable(network)
    return _integer_graph(network, softmax, pack_int4, fine_bias, scalings_of(qmodel))


def _integer_graph(
    network: QuantizedNetwork, softmax: bool, pack_int4: bool, fine_bias: bool, scalings: Scalings
) -> IntegerGraph:
    """The graph of a network that was checked; formats and input scaling in its metadata."""
    builder = GraphBuilder(network, softmax, pack_int4, fine_bias)
    graph = write_layers(builder)
    content = {
        "schema": 1,
        "tensors": builder.tensor_formats,
        "precision": network.precision.to_dict(),
        **scalings_to_dict(scalings),
    }
    graph.metadata[METADATA] = json.dumps(content).encode("utf-8")
    return graph


def logits_function(
    qmodel: Any, plan: QuantizationPlan
) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    """Real inputs -> the quantized network's outputs before final Softmax layers."""
    probe = keras.Model(qmodel.inputs, logit_tensors(plan, qmodel))
    run = tf.function(lambda batch: probe(batch, training=False), reduce_retracing=True)

    def logits(batch: list[np.ndarray]) -> list[np.ndarray]:
        tensors = [tf.constant(part, tf.float32) for part in batch]
        results = run(tensors if len(tensors) > 1 else tensors[0])
        return [np.asarray(value) for value in tf.nest.flatten(results)]

    return logits
