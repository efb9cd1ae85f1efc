"""Weights as value tables: tflite-micro's own layout, and the same outputs in its runtime."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tfxp.errors import EngineError, ExportError
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, write_tflite
from tfxp.runtimes import open_runtime
from tfxp.tflm import arena_bytes, compress_weights, compression, write_compressed
from tfxp.tflm.operators import DECODE

DRAWS = np.random.default_rng(2)


def network(bits=4, per_channel=False):
    """A convolution, a depthwise, a transposed one and a dense layer of weights of a few bits."""
    graph = IntegerGraph()

    def tensor(name, shape, data=None, kind="INT8", scales=0.5, axis=0):
        scales = np.atleast_1d(np.float32(scales))
        codes = Quantization(scales, np.zeros(scales.size, np.int64), axis)
        return graph.add_tensor(Tensor(name, shape, kind, codes, data))

    def layer(operator, x, weights, units, axis, shape, **options):
        limit = 1 << (bits - 1)
        codes = DRAWS.integers(-limit, limit, weights).astype(np.int8)
        codes.flat[: 2 * limit] = np.arange(-limit, limit)[: codes.size]
        scales = 2.0 ** -(np.arange(units) % 3) if per_channel else 1.0
        number = len(graph.operators)
        w = tensor(f"w{number}", weights, codes, scales=scales / 16, axis=axis)
        bias = DRAWS.integers(-999, 999, units).astype(np.int32)
        b = tensor(f"b{number}", (units,), bias, "INT32", scales / 32)
        y = tensor(f"y{number}", shape)
        inputs = [x, w, b]
        if operator == "TRANSPOSE_CONV":
            size = graph.add_tensor(Tensor("size", (4,), "INT32", None, np.array(shape, np.int32)))
            inputs = [size, w, x, b]
        graph.add_operator(Operator(operator, inputs, [y], options))
        return y

    step = {"padding": "SAME", "stride_h": 1, "stride_w": 1}
    dilation = {"dilation_h_factor": 1, "dilation_w_factor": 1}
    x = tensor("x", (1, 5, 5, 16))
    y = layer("CONV_2D", x, (16, 3, 3, 16), 16, 0, (1, 5, 5, 16), **step, **dilation)
    y = layer("DEPTHWISE_CONV_2D", y, (1, 5, 5, 16), 16, 3, (1, 5, 5, 16), depth_multiplier=1,
              **step, **dilation)  # fmt: skip
    y = layer("TRANSPOSE_CONV", y, (16, 3, 3, 16), 16, 0, (1, 5, 5, 16), **step)
    flat = tensor("flat", (1, 400))
    shape = graph.add_tensor(Tensor("s", (2,), "INT32", None, np.array([1, 400], np.int32)))
    graph.add_operator(Operator("RESHAPE", [y, shape], [flat], {"new_shape": [1, 400]}))
    z = layer("FULLY_CONNECTED", flat, (6, 400), 6, 0, (1, 6))
    graph.inputs, graph.outputs = [x], [z]
    return graph


def decoders(graph):
    return [operator for operator in graph.operators if operator.custom_code == DECODE]


def decoded_constants(content):
    """Buffers of indices and tables in the order of their decoders, by the schema alone."""
    model = schema.Model.GetRootAs(content)
    subgraph, found = model.Subgraphs(0), []
    for number in range(subgraph.OperatorsLength()):
        operator = subgraph.Operators(number)
        if model.OperatorCodes(operator.OpcodeIndex()).CustomCode() == DECODE.encode():
            for index in operator.InputsAsNumpy():
                buffer = model.Buffers(subgraph.Tensors(index).Buffer())
                found.append(buffer.DataAsNumpy().tobytes())
    return found


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("per_channel", [False, True])
def test_layout_is_that_of_tflite_micro(bits, per_channel):
    """The oracle is the compressor that comes with the package."""
    pytest.importorskip("tflite_micro")
    from tflite_micro.tensorflow.lite.micro.compression import compress, spec

    graph = network(bits, per_channel)
    ours, done = compress_weights(graph)
    if (bits, per_channel) == (7, True):
        assert not done  # 16 tables of 128 values save nothing
        return
    assert {weights.name for weights in done} <= {"w0", "w1", "w2", "w4"} and done
    names = {weights.name: weights.bits for weights in done}
    specs = []
    for index, tensor in enumerate(graph.tensors):
        if tensor.name in names:
            axis = 3 if tensor.name == "w1" else 0
            mode = spec.PerChannel(axis) if per_channel else spec.PerTensor()
            method = spec.LookUpTableCompression(names[tensor.name], mode)
            specs.append(spec.Tensor(0, index, [method]))
    theirs = decoded_constants(bytes(compress(write_tflite(graph), specs)))
    assert decoded_constants(write_tflite(ours)) == theirs
    assert len(theirs) == 2 * len(done)


@pytest.mark.parametrize("per_channel", [False, True])
def test_tflm_computes_the_same(per_channel, tmp_path):
    pytest.importorskip("tflite_micro")
    content = write_tflite(network(4, per_channel))
    done = write_compressed(tmp_path / "small.tflite", content)
    assert done.samples == 8 and not done.note
    written = (tmp_path / "small.tflite").read_bytes()
    assert len(written) == done.compressed_bytes < done.plain_bytes == len(content)
    assert done.arena_bytes == arena_bytes(written) > done.plain_arena_bytes
    # what it compares is what each file computes
    x = DRAWS.integers(-128, 128, (5, 5, 5, 16)).astype(np.int8)
    outputs = []
    for file in (content, written):
        with open_runtime("tflm", file) as engine:
            outputs.append(engine.run([x])[0])
    np.testing.assert_array_equal(*outputs)
    assert len(np.unique(outputs[0])) > 4


def test_readers_that_share_weights_and_other_uses():
    """Each reader has a decoder of its own; weights that something else reads stay as they are."""
    graph = network()
    dense = next(op for op in graph.operators if op.name == "FULLY_CONNECTED")
    again = graph.add_tensor(Tensor("again", (1, 6), "INT8", Quantization([0.5], [0])))
    graph.add_operator(Operator("FULLY_CONNECTED", dense.inputs, [again]))
    shared, done = compress_weights(graph)
    assert len(decoders(shared)) == 5 and len(done) == 4
    copied = graph.add_tensor(Tensor("copy", (6, 400), "INT8", Quantization([0.5], [0])))
    graph.add_operator(Operator("RELU", [dense.inputs[1]], [copied]))
    kept, done = compress_weights(graph)
    assert len(decoders(kept)) == 3 and "w4" not in {weights.name for weights in done}


def test_what_is_not_written(tmp_path, monkeypatch):
    path = tmp_path / "small.tflite"
    with pytest.raises(ExportError, match="none of at most 128 different codes"):
        write_compressed(path, write_tflite(network(8)))
    outputs = iter([[np.zeros(6)], [np.ones(6)]])
    monkeypatch.setattr(compression, "_outputs", lambda content, feeds: next(outputs))
    monkeypatch.setattr(compression, "arena_bytes", lambda content: 1)
    with pytest.raises(ExportError, match="got 6 outputs that differ"):
        write_compressed(path, write_tflite(network()))
    assert not path.exists()


def test_without_tflite_micro_the_file_is_written_and_says_so(tmp_path, monkeypatch):
    def missing(content, feeds):
        raise EngineError("runtime 'tflm': package tflite-micro is not installed", "missing")

    monkeypatch.setattr(compression, "_outputs", missing)
    done = write_compressed(tmp_path / "small.tflite", write_tflite(network()))
    assert done.samples == 0 and "not compared" in done.sentence()
    assert (tmp_path / "small.tflite").stat().st_size == done.compressed_bytes
