"""One quantized network three ways: Keras, tfxp's interpreter, LiteRT's default engine.

Shares nothing with `tfxp.export.verify`: inputs are encoded by the Keras model's own input
quantizers, and each engine runs through its own `set_tensor`, `invoke`, `get_tensor`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from ai_edge_litert.interpreter import Interpreter as LiteRT

from tfxp.export import integer_graph_of
from tfxp.export.exactness_notes import exactness_notes
from tfxp.export.litert_limits import litert_refusals, requantizing_notes
from tfxp.graph import write_tflite
from tfxp.interpreter import Interpreter
from tfxp.keras import keras, tf
from tfxp.quantization.read_network import read_network


@dataclasses.dataclass
class Difference:
    """Elements that differ, out of how many, by how many codes at most."""

    elements: int
    keras_interpreter: int
    keras_litert: int
    interpreter_litert: int
    lsb: int
    saturated: float
    zeros: float
    notes: list[str]


class Trio:
    """A quantized model and its probe, built once; precision may change between comparisons."""

    def __init__(self, qmodel):
        self.qmodel = qmodel
        outputs = [_before_softmax(t) for t in tf.nest.flatten(qmodel.outputs)]
        coded = [_coded_input(qmodel, t.name) for t in qmodel.inputs]
        probe = keras.Model(qmodel.inputs, [coded, outputs])
        self._run = tf.function(lambda x: probe(x, training=False))

    def compare(self, x, **options):
        """Export as the model is now and count what differs on `x`."""
        graph = integer_graph_of(self.qmodel, **options)
        content = write_tflite(graph)
        coded, wanted = self._run(tf.nest.map_structure(tf.constant, x))
        codes = [_codes(t, graph.tensors[i]) for t, i in zip(coded, graph.inputs, strict=True)]
        want = [_codes(t, graph.tensors[i]) for t, i in zip(wanted, graph.outputs, strict=True)]
        ours = run(Interpreter(content), codes)
        theirs = run(LiteRT(model_content=content), codes)
        a, b, c = (
            np.concatenate([part.astype(np.int64).ravel() for part in parts])
            for parts in (want, ours, theirs)
        )
        stored = np.concatenate([part.ravel() for part in want])
        return Difference(
            a.size,
            int((a != b).sum()),
            int((a != c).sum()),
            int((b != c).sum()),
            int(max(np.abs(a - b).max(), np.abs(a - c).max())),
            float(np.mean(stored == 127)),
            float(np.mean([np.mean(np.asarray(t) == 0) for t in wanted])),
            self.notes(options.get("pack_int4", False)),
        )

    def notes(self, pack_int4=False):
        """What the exporter says of the model as it is now."""
        notes = exactness_notes(read_network(self.qmodel), pack_int4)
        graph = integer_graph_of(self.qmodel, pack_int4=pack_int4)
        return [str(note) for note in (*notes, *requantizing_notes(graph))]

    def refusals(self):
        """Why LiteRT is expected to refuse the file."""
        return litert_refusals(integer_graph_of(self.qmodel))


def run(engine, codes):
    """Outputs of an interpreter with tf.lite's call names for whole batches of codes.

    A file that fixes its batch, as TRANSPOSE_CONV does, gets one sample at a time.
    """
    signatures = [detail["shape_signature"] for detail in engine.get_input_details()]
    if len(codes[0]) > 1 and all(signature[0] == 1 for signature in signatures):
        rows = [run(engine, [part[i : i + 1] for part in codes]) for i in range(len(codes[0]))]
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    for detail, part in zip(engine.get_input_details(), codes, strict=True):
        engine.resize_tensor_input(detail["index"], part.shape)
    engine.allocate_tensors()
    engine.reset_all_variables()  # an LSTM's state outlives a call
    for detail, part in zip(engine.get_input_details(), codes, strict=True):
        engine.set_tensor(detail["index"], part)
    engine.invoke()
    return [engine.get_tensor(detail["index"]) for detail in engine.get_output_details()]


def _codes(real, tensor):
    """On-grid values as stored integers; anything off the grid is an error."""
    exact = np.asarray(real, np.float64) / np.float64(tensor.scale or 1)
    codes = np.rint(exact)
    assert np.abs(exact - codes).max(initial=0) < 1e-3, f"{tensor.name}: off the grid"
    stored = codes.astype(np.int64) + tensor.zero_point
    limits = np.iinfo(tensor.dtype)
    assert limits.min <= stored.min() and stored.max() <= limits.max, tensor.name
    return stored.astype(tensor.dtype)


def _coded_input(qmodel, name):
    layer = next((x for x in qmodel.layers if x.name == f"{name}_quantized"), None)
    return qmodel.get_layer(name).output if layer is None else layer.output  # indices stay plain


def _before_softmax(tensor):
    layer, node_index = tensor._keras_history[:2]
    config = layer.get_config()
    if config.get("activation") == "softmax" or type(layer).__name__ == "Softmax":
        return layer.inbound_nodes[node_index].keras_inputs[0]
    return tensor
