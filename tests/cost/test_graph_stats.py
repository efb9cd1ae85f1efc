"""Sizes of `.tflite` graphs: built by hand, and every real file without a crash."""

import numpy as np
import pytest

from tfxp.cost import cost_report, graph_precision, graph_stats
from tfxp.errors import TfxpError
from tfxp.graph import IntegerGraph, Operator, Tensor, read_tflite

RESNET8 = (
    "models/mlcommons+tiny/benchmark/training/image_classification/trained_models/"
    "pretrainedResnet_quant.tflite"
)


def build(batch=1):
    graph = IntegerGraph()

    def add(name, shape, kind="INT8", constant=False):
        data = np.zeros(shape, np.int8 if kind != "INT32" else np.int32) if constant else None
        return graph.add_tensor(Tensor(name, shape, kind, data=data))

    x = add("x", (batch, 8, 8, 3))
    w = add("w", (4, 3, 3, 3), "INT4", constant=True)
    b = add("b", (4,), "INT32", constant=True)
    c = add("c", (batch, 4, 4, 4))
    dw = add("dw", (1, 3, 3, 8), "INT8", constant=True)
    d = add("d", (batch, 4, 4, 8), "INT16")
    shape = add("shape", (2,), "INT32", constant=True)
    r = add("r", (batch, 128), "INT16")
    fw = add("fw", (10, 128), "INT8", constant=True)
    y = add("", (batch, 10))
    graph.add_operator(Operator("CONV_2D", [x, w, b], [c]))
    graph.add_operator(Operator("DEPTHWISE_CONV_2D", [c, dw, -1], [d]))
    graph.add_operator(Operator("RESHAPE", [d, shape], [r]))
    graph.add_operator(Operator("FULLY_CONNECTED", [r, fw, -1], [y]))
    graph.inputs, graph.outputs = [x], [y]
    return graph


@pytest.mark.parametrize("batch", [1, 3])
def test_by_hand(batch):
    stats = graph_stats(build(batch))
    assert list(stats.layers) == ["x", "c", "d", "r", "tensor_9"]
    assert [layer.kind for layer in stats.layers.values()] == [
        "input", "conv", "depthwise_conv", "reshape", "dense",
    ]  # fmt: skip
    assert stats["x"].output_shape == (8, 8, 3)
    assert stats["c"].macs == 4 * 4 * 4 * 27
    assert stats["c"].weight_count == 108 and stats["c"].bias_count == 4
    assert stats["d"].macs == 4 * 4 * 8 * 9
    assert stats["r"].weight_count == 0  # its constant is a shape
    assert stats["tensor_9"].macs == 1280
    assert stats.outputs == ("tensor_9",)


def test_precision_is_what_the_file_stores():
    precision = graph_precision(build())
    assert (precision["c"].weights, precision["c"].activations, precision["c"].bias) == (4, 8, 32)
    assert precision["d"].activations == 16
    assert precision["x"].activations == 8


def test_a_graph_is_priced():
    graph = build()
    report = cost_report(graph_stats(graph), graph_precision(graph))
    assert report.layer("c")["model_size_bits"] == 108 * 4 + 4 * 32
    assert report.layer("tensor_9")["read_bits"] == 128 * 16
    assert report.total("read_bits") == 192 * 8 + 64 * 8 + 128 * 16


def test_resnet8_of_mlperf_tiny(shared):
    """12.5 million MACs, 78 thousand parameters: the published benchmark model."""
    graph = read_tflite(shared / RESNET8)
    stats = graph_stats(graph)
    assert stats.macs == 12_501_632
    convolutions = [layer for layer in stats.layers.values() if layer.kind == "conv"]
    assert len(convolutions) == 9
    expected = 16 * 27 + 2 * 16 * 144 + 32 * 144 + 32 * 288 + 32 * 16 + 64 * 288 + 64 * 576
    assert stats.weight_count == expected + 64 * 32 + 640
    report = cost_report(stats, graph_precision(graph))
    assert report.total("model_size_bits") == 8 * stats.weight_count + 32 * (16 * 3 + 96 + 192 + 10)


def test_every_integer_file_is_priced(shared):
    files = sorted((shared / "models").rglob("*.tflite"))
    priced = 0
    for path in files:
        try:
            graph = read_tflite(path)
        except TfxpError:  # what the reader refuses is its own tests' matter
            continue
        report = cost_report(graph_stats(graph), graph_precision(graph))
        assert report.total("traffic_bits") >= 0
        priced += 1
    assert priced > 100


def test_a_table_of_numbers_is_a_function():
    graph = IntegerGraph()
    table = graph.add_tensor(Tensor("table", (256,), "INT8", data=np.zeros(256, np.int8)))
    which = graph.add_tensor(Tensor("which", (1, 5), "INT32"))
    out = graph.add_tensor(Tensor("out", (1, 5), "INT8"))
    graph.add_operator(Operator("GATHER", [table, which], [out]))
    graph.inputs, graph.outputs = [which], [out]
    assert graph_stats(graph)["out"].kind == "lookup"


@pytest.mark.parametrize("table", [True, False])
def test_gather_is_a_table_or_a_slice(table):
    graph = IntegerGraph()
    rows = np.zeros((9, 4), np.int8) if table else None
    codes = None if table else np.zeros(5, np.int32)
    data = graph.add_tensor(Tensor("data", (9, 4), "INT8", data=rows))
    which = graph.add_tensor(Tensor("which", (1, 5), "INT32", data=codes))
    out = graph.add_tensor(Tensor("out", (1, 5, 4), "INT8"))
    graph.add_operator(Operator("GATHER", [data, which], [out]))
    graph.inputs, graph.outputs = [which if table else data], [out]
    stats = graph_stats(graph)
    assert stats["out"].kind == ("embedding" if table else "slice")
    assert stats["out"].weight_count == (36 if table else 0)
    assert stats.selected["@inputs"] == ([] if table else ["data"])
