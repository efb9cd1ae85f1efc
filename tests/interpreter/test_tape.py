"""Repeated runs: the same integers and counts as operator by operator, whatever came before."""

import numpy as np
import pytest

from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor
from tfxp.interpreter import Interpreter

CONV = {"padding": "SAME", "stride_h": 1, "stride_w": 1, "fused_activation_function": "RELU"}
POOL = {"padding": "VALID", "stride_h": 2, "stride_w": 2, "filter_height": 2, "filter_width": 2}


def network(rng):
    """Convolution, a Python operator, addition, pooling, reshape, dense layer, softmax."""
    graph = IntegerGraph([], inputs=[0], outputs=[9])
    scheme = Quantization([0.1], [-3])

    def tensor(name, shape, kind="INT8", quantization=scheme, data=None):
        graph.tensors.append(Tensor(name, shape, kind, quantization, data))
        return len(graph.tensors) - 1

    def weights(name, shape):
        codes = rng.integers(-90, 91, shape).astype(np.int8)
        return tensor(name, shape, "INT8", Quantization([0.02], [0]), codes)

    image, pooled = (1, 6, 6, 8), (1, 3, 3, 8)
    x, w = tensor("x", image), weights("w", (8, 3, 3, 8))
    a, b, c = (tensor(name, image) for name in "abc")
    d, e, f = tensor("d", pooled), tensor("e", (1, 72)), weights("f", (10, 72))
    g = tensor("g", (1, 10))
    y = tensor("y", (1, 10), "INT8", Quantization([1 / 256], [-128]))
    for name, inputs, output, options in (
        ("CONV_2D", [x, w, -1], a, CONV),
        ("MAXIMUM", [a, x], b, {}),
        ("ADD", [a, b], c, {}),
        ("AVERAGE_POOL_2D", [c], d, POOL),
        ("RESHAPE", [d], e, {"new_shape": [1, 72]}),
        ("FULLY_CONNECTED", [e, f, -1], g, {}),
        ("SOFTMAX", [g], y, {"beta": 1.0}),
    ):
        graph.add_operator(Operator(name, inputs, [output], options))
    return graph


def images(rng, count):
    x = rng.integers(-128, 128, (count, 1, 6, 6, 8)).astype(np.int8)
    x[rng.random(x.shape) < 0.5] = -3
    return x


def all_tensors(runner, x):
    runner.set_tensor(runner.graph.inputs[0], x)
    runner.invoke()
    return [runner.get_tensor(i) for i in range(len(runner.graph.tensors))]


def test_every_tensor_of_every_run(rng):
    graph = network(rng)
    fast, slow = Interpreter(graph), Interpreter(graph, engine="reference")
    for runner in (fast, slow):
        runner.allocate_tensors()
    for x in images(rng, 5):
        for got, want in zip(all_tensors(fast, x), all_tensors(slow, x), strict=True):
            np.testing.assert_array_equal(got, want)
    assert fast.report().to_dict() == slow.report().to_dict()
    runs = [row.counters.runs for row in fast.report().rows]
    assert runs == [5, 5]


def test_counts_mix_with_batches_and_start_anew(rng):
    graph, x = network(rng), images(rng, 4)
    runner, batch = Interpreter(graph), Interpreter(graph)
    runner.allocate_tensors()
    for image in x[:2]:
        all_tensors(runner, image)
    runner.predict_codes(x[2:, 0], batch_size=2)
    batch.predict_codes(x[:, 0], batch_size=4)
    assert runner.report().to_dict() == batch.report().to_dict()
    runner.reset_counters()
    assert runner.report().macs_total == 0
    all_tensors(runner, x[0])
    assert runner.report().rows[0].counters.runs == 1


def test_results_given_out_stay_as_they_were(rng):
    runner, x = Interpreter(network(rng)), images(rng, 2)
    runner.allocate_tensors()
    first = all_tensors(runner, x[0])
    kept = [array.copy() for array in first]
    all_tensors(runner, x[1])
    for array, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_input_given_is_not_written(rng):
    runner, x = Interpreter(network(rng)), images(rng, 2)
    runner.allocate_tensors()
    mine = x[0].copy()
    all_tensors(runner, mine)
    all_tensors(runner, x[1])
    np.testing.assert_array_equal(mine, x[0])


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_shapes_that_depend_on_data(engine):
    """A slice whose size is computed: runs of another size are run anew."""
    graph = IntegerGraph(
        [
            Tensor("x", (1, 6), "FLOAT32"),
            Tensor("begin", (2,), "INT32", None, np.array([0, 0], np.int32)),
            Tensor("size", (2,), "INT32"),
            Tensor("y", (1, 6), "FLOAT32"),
            Tensor("z", (1, 6), "FLOAT32"),
        ],
        inputs=[0, 2],
        outputs=[4],
    )
    graph.add_operator(Operator("SLICE", [0, 1, 2], [3]))
    graph.add_operator(Operator("RELU", [3], [4]))
    runner = Interpreter(graph, engine=engine)
    runner.allocate_tensors()
    x = np.array([[-1, 2, 3, -4, 5, 6]], np.float32)
    for size in (4, 4, 6, 2, 6):
        runner.set_tensor(0, x)
        runner.set_tensor(2, np.array([1, size], np.int32))
        runner.invoke()
        np.testing.assert_array_equal(runner.get_tensor(4), np.maximum(x[:, :size], 0))


@pytest.mark.parametrize("arithmetic", ["litert", "builtin"])
@pytest.mark.parametrize(
    ("op", "inputs", "kind"), [("ELU", 1, "INT8"), ("MUL", 2, "INT8"), ("RSQRT", 1, "FLOAT32")]
)
def test_arrays_without_dimensions(op, inputs, kind, arithmetic):
    """NumPy's functions make numbers of them, which a run would not find again in memory."""
    scale = None if kind == "FLOAT32" else Quantization([0.05], [0])
    tensors = [Tensor(f"t{i}", (), kind, scale) for i in range(inputs + 1)]
    graph = IntegerGraph(tensors, inputs=list(range(inputs)), outputs=[inputs])
    options = {"fused_activation_function": "NONE"} if op == "MUL" else {}
    graph.add_operator(Operator(op, list(range(inputs)), [inputs], options))
    runner = Interpreter(graph, arithmetic=arithmetic)
    runner.allocate_tensors()
    for value in (9, 20, 31):  # computed, remembered, repeated
        for index in graph.inputs:
            runner.set_tensor(index, np.array(value, tensors[0].dtype))
        runner.invoke()
        alone = Interpreter(graph, arithmetic=arithmetic, engine="reference")
        alone.allocate_tensors()
        for index in graph.inputs:
            alone.set_tensor(index, np.array(value, tensors[0].dtype))
        alone.invoke()
        result = runner.get_tensor(inputs)
        assert result.shape == () and result == alone.get_tensor(inputs)


def test_images_of_zeros_between_others(rng):
    """The first one lets layers list activations; those behind it are multiplied whole again."""
    graph = network(rng)
    fast, slow = Interpreter(graph), Interpreter(graph, engine="reference")
    tensor = graph.tensors[0]
    for zeros in (1.0, 0.0, 0.5, 0.95, 0.0):
        x = rng.integers(-128, 128, tensor.shape).astype(np.int8)
        x[rng.random(x.shape) < zeros] = tensor.zero_point
        results = []
        for runner in (fast, slow):
            runner.set_tensor(0, x)
            runner.invoke()
            results.append(runner.get_tensor(graph.outputs[0]))
        np.testing.assert_array_equal(*results)
    assert fast.report().to_dict() == slow.report().to_dict()


def test_resized_inputs(rng):
    graph = network(rng)
    graph.operators = graph.operators[:3]
    graph.outputs = [4]
    fast, slow = Interpreter(graph), Interpreter(graph, engine="reference")
    for runner in (fast, slow):
        runner.allocate_tensors()
    for size in (6, 6, 9, 4, 6):
        x = rng.integers(-128, 128, (1, size, size, 8)).astype(np.int8)
        results = []
        for runner in (fast, slow):
            runner.resize_tensor_input(0, x.shape)
            runner.allocate_tensors()
            runner.set_tensor(0, x)
            runner.invoke()
            results.append(runner.get_tensor(4))
        np.testing.assert_array_equal(*results)
    assert fast.report().to_dict() == slow.report().to_dict()
