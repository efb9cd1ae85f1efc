"""Counts of a run on the layers of a network; word lengths that exported files note."""

import json

import numpy as np
import pytest

from tfxp.cost import executed_macs, graph_precision, graph_stats
from tfxp.errors import ConfigError, ModelError
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor
from tfxp.interpreter import Interpreter
from tfxp.precision import LayerStats, ModelStats


def network(*macs):
    layers = {"x": LayerStats("x", "input", (), (4,))}
    for index, count in enumerate(macs):
        name = f"d{index}"
        layers[name] = LayerStats(name, "dense", (), (2,), (count,), count)
    return ModelStats(layers, (list(layers)[-1],))


def row(name, total, done):
    return {"name": name, "macs_total": total, "macs_executed": done}


def test_rows_by_name_and_by_order():
    model = network(10, 20)
    by_name = {"samples": 4, "layers": [row("d1", 80, 8), row("d0", 40, 30)]}
    assert executed_macs(by_name, model) == {"d1": 2.0, "d0": 7.5}
    by_order = {"samples": 4, "layers": [row("a", 40, 30), row("pad", 0, 0), row("b", 80, 8)]}
    assert executed_macs(by_order, model) == {"d0": 7.5, "d1": 2.0}


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"layers": []}, "'samples'"),
        ({"samples": 0, "layers": []}, "samples of the measured run: got 0"),
        ({"samples": 1, "layers": [row("a", 10, 1)]}, "got 1 layers that multiply; expected 2"),
        ({"samples": 1, "layers": [row("d0", 11, 1)]}, "got 11 multiply-accumulates"),
    ],
)
def test_runs_of_something_else(run, message):
    with pytest.raises(ConfigError, match=message):
        executed_macs(run, network(10, 20))


def dense_graph():
    graph = IntegerGraph()
    scheme = Quantization(np.float32([0.125]), np.int64([0]))
    kernel = np.array([[1, 0, 2, 3], [0, 0, 1, 1]], np.int8)
    graph.add_tensor(Tensor("x", (1, 4), "INT8", scheme))
    graph.add_tensor(Tensor("w", (2, 4), "INT8", scheme, kernel))
    graph.add_tensor(Tensor("b", (2,), "INT32", None, np.zeros(2, np.int32)))
    graph.add_tensor(Tensor("y", (1, 2), "INT8", scheme))
    graph.add_operator(Operator("FULLY_CONNECTED", [0, 1, 2], [3]))
    graph.inputs, graph.outputs = [0], [3]
    return graph


def test_a_real_run_of_the_interpreter():
    """Five weights are not zero; the input [1, 1, 0, 1] leaves three of the eight products."""
    graph = dense_graph()
    runner = Interpreter(graph)
    runner.allocate_tensors()
    runner.predict_codes(np.array([[1, 1, 0, 1]], np.int8))
    run = {"samples": 1, **runner.report().to_dict()}
    assert executed_macs(run, graph_stats(graph)) == {"y": 3.0}


def test_word_lengths_noted_in_the_file():
    graph = dense_graph()
    note = {"tensors": {"x": "UQ1.5", "w": "Q0.2, Q-1.3", "y": "Q2.5"}}
    graph.metadata["tfxp"] = json.dumps(note).encode()
    stored, noted = graph_precision(graph), graph_precision(graph, containers=False)
    assert (stored["y"].weights, stored["x"].activations) == (8, 8)
    assert (noted["y"].weights, noted["x"].activations, noted["y"].activations) == (3, 6, 8)
    graph.metadata["tfxp"] = b"no json"
    with pytest.raises(ModelError, match="metadata 'tfxp'"):
        graph_precision(graph, containers=False)
