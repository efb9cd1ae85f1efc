"""Node data of Model Explorer: its structure, and the package's own classes and graphs."""

import dataclasses
import json
import math

import numpy as np
import pytest

import tfxp
from tfxp.report import LayerFigures, layer_figures, node_data, write_node_data

LAYERS = [
    LayerFigures("image", "input", activation_bits=8, sqnr_db=math.inf, zeros=0.25),
    LayerFigures(
        "conv", "conv", weight_bits=4, activation_bits=6, sqnr_db=12.5, weight_sqnr_db=20.0,
        zeros=0.5, quantized_zeros=0.75, weight_zeros=0.0, quantized_weight_zeros=0.125,
        macs=9216, executed=0.375,
    ),
]  # fmt: skip


def test_every_figure_has_a_file():
    values = {
        name: {tensor: entry["value"] for tensor, entry in content["results"].items()}
        for name, content in node_data(LAYERS).items()
    }
    assert values == {
        "bits.json": {"image": 8, "conv": 6, "conv/kernel": 4},
        "sqnr.json": {"conv": 12.5, "conv/kernel": 20.0},
        "zeros.json": {"image": 25.0, "conv": 75.0, "conv/kernel": 12.5},
        "macs.json": {"conv": 9216},
        "executed.json": {"conv": 37.5},
    }


def test_structure_is_that_of_the_schema(tmp_path):
    for path in write_node_data(tmp_path / "made", LAYERS).values():
        content = json.loads(path.read_text(), parse_constant=pytest.fail)
        assert content.keys() == {"results", "name", "gradient"}
        assert [stop["stop"] for stop in content["gradient"]] == [0, 1]
        assert all(stop["bgColor"].startswith("#") for stop in content["gradient"])
        assert all(entry.keys() == {"value"} for entry in content["results"].values())


def test_the_packages_own_classes_write_the_same():
    builder = pytest.importorskip(
        "model_explorer.node_data_builder", reason="pip install 'tfxp[model-explorer]'"
    )
    for content in node_data(LAYERS).values():
        theirs = builder.GraphNodeData(
            results={
                name: builder.NodeDataResult(**entry) for name, entry in content["results"].items()
            },
            name=content["name"],
            gradient=[builder.GradientItem(**stop) for stop in content["gradient"]],
        )
        written = json.loads(theirs.to_json_string())
        default = dataclasses.asdict(builder.GraphNodeData(results={}))
        assert content == {k: v for k, v in written.items() if v != default[k]}


def _exported(folder):
    from tests.cases import randomize
    from tests.export.test_hardware import digits

    model = randomize(digits())
    x = np.random.default_rng(0).random((32, 8, 8, 1)).astype("float32")
    stats = tfxp.measure_model(model, x)
    qmodel = tfxp.quantize_model(model, "w4a4", stats)
    tfxp.export_tflite(qmodel, folder / "net.tflite", check=False)
    after = tfxp.measure_model(qmodel, x)
    return folder / "net.tflite", layer_figures(stats, tfxp.precision_of(qmodel), after)


def test_every_name_is_a_tensor_of_the_exported_file(tmp_path):
    path, layers = _exported(tmp_path)
    graph = tfxp.read_tflite(path)
    names = {tensor.name for tensor in graph.tensors}
    found = node_data(layers)
    assert all(content["results"].keys() <= names for content in found.values())
    kernels = {name for name in names if name.endswith("/kernel")}
    assert len(kernels) == 5 and kernels <= found["bits.json"]["results"].keys()


def test_model_explorer_finds_the_nodes(tmp_path):
    pytest.importorskip("model_explorer", reason="pip install 'tfxp[model-explorer]'")
    from model_explorer.builtin_tflite_flatbuffer_adapter import BuiltinTfliteFlatbufferAdapter

    path, layers = _exported(tmp_path)
    graphs = BuiltinTfliteFlatbufferAdapter().convert(str(path), {})["graphCollections"]
    (graph,) = (graph for collection in graphs for graph in collection.graphs)
    put_out = {
        attribute["value"]
        for node in graph["nodes"]
        for output in node["outputsMetadata"]
        for attribute in output["attrs"]
        if attribute["key"] == "tensor_name"
    }
    for content in node_data(layers).values():
        assert content["results"].keys() <= put_out
