"""The graph of layers, as TensorBoard's own graph plugin reads it from the folder."""

import math

import pytest
from google.protobuf import text_format
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.graph.graphs_plugin import GraphsPlugin

from tfxp.errors import OutputError
from tfxp.report import LayerFigures
from tfxp.report.tensorboard_graph import write_tensorboard_graph

LAYERS = [
    LayerFigures("image", "input", output_shape=(8, 8, 1), activation_bits=8, sqnr_db=math.inf),
    LayerFigures(
        "block/conv", "conv", ("image",), output_shape=(8, 8, 16), weights=144, macs=9216,
        weight_format="Q0.3 (4 bits)", weight_bits=4, sqnr_db=12.34, zeros=0.5, executed=0.25,
    ),
    LayerFigures("sum", "add", ("block/conv", "image"), output_shape=(8, 8, 16)),
]  # fmt: skip


def test_tensorboard_reads_the_layers(tmp_path):
    write_tensorboard_graph(tmp_path / "board", LAYERS)
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path / "board"))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path / "board"))
    plugin, context = GraphsPlugin(TBContext(data_provider=provider)), RequestContext()
    ((run, info),) = plugin.info_impl(context, "").items()
    assert info["run_graph"]
    text, _ = plugin.graph_impl(context, run, None, False, experiment="")
    nodes = {node.name: node for node in text_format.Parse(text, GraphDef()).node}
    assert [(n, x.op, list(x.input)) for n, x in nodes.items()] == [
        ("image", "input", []),
        ("block/conv", "conv", ["image"]),
        ("sum", "add", ["block/conv", "image"]),
    ]
    attributes = {
        key: value.s.decode() for key, value in nodes["block/conv"].attr.items() if value.s
    }
    assert attributes == {
        "format of weights": "Q0.3 (4 bits)",
        "bits of weights": "4",
        "SQNR of activations": "12.3 dB",
        "zeros among activations, float": "50 %",
        "weights": "144",
        "MACs": "9,216",
        "MACs executed": "25 %",
    }
    assert nodes["image"].attr["SQNR of activations"].s == b"exact"
    shape = nodes["block/conv"].attr["_output_shapes"].list.shape[0]
    assert [size.size for size in shape.dim] == [-1, 8, 8, 16]


def test_a_folder_that_takes_no_files_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_tensorboard_graph(tmp_path / "file", LAYERS)
