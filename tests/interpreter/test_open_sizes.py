"""Files whose sizes are open: what LiteRT runs after a resize, tfxp runs, with the same codes."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT
from ai_edge_litert.interpreter import OpResolverType

from tests.interpreter.litert_oracle import RESOLVERS
from tfxp.errors import ModelError
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, write_tflite
from tfxp.interpreter import Interpreter

WINDOW = {"stride_h": 1, "stride_w": 1}


class Builder:
    """A graph that states 1 for every open size, as converters do."""

    def __init__(self, *signature):
        self.rng = np.random.default_rng(3)
        self.graph = IntegerGraph()
        self.graph.inputs = [self.tensor(signature, scale=0.05, zero=3)]
        self.last = self.graph.inputs[0]

    def tensor(self, signature, kind="INT8", scale=0.1, zero=0, data=None):
        scheme = Quantization(scale, np.full(np.size(scale), zero)) if scale else None
        name, stated = f"t{len(self.graph.tensors)}", tuple(max(n, 1) for n in signature)
        open_sizes = signature if -1 in signature else None
        tensor = Tensor(name, stated, kind, scheme, data, shape_signature=open_sizes)
        return self.graph.add_tensor(tensor)

    def constant(self, values, kind="INT32"):
        data = np.asarray(values, {"INT32": np.int32, "INT8": np.int8}[kind])
        return self.tensor(data.shape, kind, 0.01 if kind == "INT8" else None, 0, data)

    def add(self, name, others, signature, options=None, kind="INT8", scale=0.1, first=None):
        y = self.tensor(signature, kind, scale, -4 if kind == "INT8" else 0)
        inputs = [self.last if first is None else first, *others]
        version = 2 if kind == "INT8" and name != "RESHAPE" else 1
        self.graph.add_operator(Operator(name, inputs, [y], options or {}, version))
        if kind == "INT8":
            self.last = y
        self.graph.outputs = [self.last]
        return y

    def weights(self, *shape):
        return self.constant(self.rng.integers(-127, 128, shape), "INT8")

    def convolution(self, channels, out, padding="VALID", operator="CONV_2D"):
        shape = (out, 3, 3, channels) if operator == "CONV_2D" else (1, 3, 3, out)
        bias = self.constant(self.rng.integers(-99, 99, out))
        options = {**WINDOW, "padding": padding, "depth_multiplier": 1}
        if operator == "CONV_2D":
            del options["depth_multiplier"]
        self.add(operator, [self.weights(*shape), bias], (-1, -1, -1, out), options)

    def size(self, begin, count, times):
        """Some sizes of the last tensor, times a number, as converters compute them."""
        none = {"kind": "INT32", "scale": None}
        shape = self.add("SHAPE", [], (4,), {"out_type": "INT32"}, **none)
        ends = [self.constant([begin]), self.constant([count])]
        part = self.add("SLICE", ends, (count,), first=shape, **none)
        return self.add("MUL", [self.constant([times])], (count,), first=part, **none)


def pooled():
    """Convolutions without padding do not fit the placeholders; a mean and a dense layer."""
    b = Builder(-1, -1, -1, 3)
    b.convolution(3, 8)
    b.convolution(8, 8, operator="DEPTHWISE_CONV_2D")
    pool = {**WINDOW, "padding": "VALID", "stride_h": 2, "filter_height": 2, "filter_width": 2}
    b.add("AVERAGE_POOL_2D", [], (-1, -1, -1, 8), pool)
    b.add("MEAN", [b.constant([1, 2])], (-1, 8), {"keep_dims": False})
    b.add("FULLY_CONNECTED", [b.weights(5, 8), b.constant([1, 2, 3, 4, 5])], (-1, 5))
    return b.graph


def enlarged(operator):
    """An image twice as large, by a size that the graph computes, joined with itself."""
    b = Builder(-1, -1, -1, 3)
    b.convolution(3, 4, "SAME")
    size = b.size(1, 2, 2)
    b.add(operator, [size], (-1, -1, -1, 4), {"half_pixel_centers": True})
    b.convolution(4, 5)
    return b.graph


def transposed():
    """TRANSPOSE_CONV to an output shape that the graph computes."""
    b = Builder(-1, -1, -1, 4)
    b.convolution(4, 4, "SAME")
    none = {"kind": "INT32", "scale": None}
    count, sizes = b.size(0, 1, 1), b.size(1, 2, 2)
    joined = b.add("CONCATENATION", [sizes, b.constant([11])], (4,), {"axis": 0},
                   first=count, **none)  # fmt: skip
    weights, x = b.weights(11, 3, 3, 4), b.last
    options = {"padding": "SAME", "stride_h": 2, "stride_w": 2}
    b.add("TRANSPOSE_CONV", [weights, x], (-1, -1, -1, 11), options, first=joined)
    return b.graph


def flattened():
    """All pixels as rows, by a product of sizes, then padded and cut."""
    b = Builder(-1, -1, -1, 3)
    b.convolution(3, 8, "SAME")
    none = {"kind": "INT32", "scale": None}
    sizes, count = b.size(1, 2, 1), b.size(0, 1, 1)
    pixels = b.add("REDUCE_PROD", [b.constant([0])], (1,), {"keep_dims": True},
                   first=sizes, **none)  # fmt: skip
    shape = b.add("CONCATENATION", [pixels, b.constant([8])], (3,), {"axis": 0},
                  first=count, **none)  # fmt: skip
    b.add("RESHAPE", [shape], (-1, -1, 8))
    b.add("SOFTMAX", [], (-1, -1, 8), {"beta": 1.0}, scale=1 / 256)
    b.graph.tensors[b.last].quantization.zero_point[:] = -128
    return b.graph


GRAPHS = {
    "pooled": pooled,
    "bilinear": lambda: enlarged("RESIZE_BILINEAR"),
    "nearest": lambda: enlarged("RESIZE_NEAREST_NEIGHBOR"),
    "transposed": transposed,
    "flattened": flattened,
}


def run(runner, x):
    index = runner.get_input_details()[0]["index"]
    runner.resize_tensor_input(index, x.shape)
    runner.allocate_tensors()
    runner.set_tensor(index, x)
    runner.invoke()
    return runner.get_tensor(runner.get_output_details()[0]["index"])


@pytest.mark.parametrize("arithmetic", RESOLVERS)
@pytest.mark.parametrize("name", GRAPHS)
def test_equals_litert_in_any_size(name, arithmetic, rng):
    graph = GRAPHS[name]()
    content = write_tflite(graph)
    channels = graph.tensors[graph.inputs[0]].shape[3]
    other = LiteRT(
        model_content=content, experimental_op_resolver_type=RESOLVERS[arithmetic], num_threads=1
    )
    runners = [Interpreter(graph, arithmetic, engine) for engine in ("fast", "reference")]
    for shape in ((2, 9, 8, channels), (1, 6, 11, channels)):
        x = rng.integers(-128, 128, shape).astype(np.int8)
        expected = run(other, x)
        for runner in runners:
            got = run(runner, x)
            np.testing.assert_array_equal(got, expected)
            details = runner.get_output_details()[0]["shape"]
            assert tuple(details) == expected.shape
            np.testing.assert_array_equal(runner.predict_codes(x), expected)
    assert graph.tensors[graph.inputs[0]].shape == (1, 1, 1, channels), "the graph is not changed"


def test_placeholders_that_do_not_fit_say_how_to_go_on():
    runner = Interpreter(pooled())
    with pytest.raises(ModelError, match=r"'t0' \[-1, -1, -1, 3\].*resize_tensor_input"):
        runner.allocate_tensors()
    runner.resize_tensor_input(0, (1, 9, 9, 3))
    runner.allocate_tensors()
    assert runner.get_output_details()[0]["shape"].tolist() == [1, 5]


def test_counters_go_on_in_another_size(rng):
    runner = Interpreter(pooled())
    for rows, columns in ((9, 8), (7, 7)):
        runner.predict_codes(rng.integers(-9, 9, (2, rows, columns, 3)).astype(np.int8))
    assert [row.counters.runs for row in runner.report().rows] == [4, 4, 4]


def test_fixed_files_may_be_resized_too(rng):
    """LiteRT lets any size of an input change unless `strict` is given."""
    b = Builder(1, 6, 6, 3)
    b.convolution(3, 8)
    b.add("SOFTMAX", [], (1, 4, 4, 8), {"beta": 1.0}, scale=1 / 256)
    b.graph.tensors[b.last].quantization.zero_point[:] = -128
    for tensor in b.graph.tensors:
        tensor.shape_signature = None
    b.graph.tensors[b.graph.operators[0].outputs[0]].shape = (1, 4, 4, 8)
    x = rng.integers(-128, 128, (2, 8, 5, 3)).astype(np.int8)
    got = run(Interpreter(b.graph), x)
    other = LiteRT(
        model_content=write_tflite(b.graph), experimental_op_resolver_type=OpResolverType.AUTO
    )
    np.testing.assert_array_equal(got, run(other, x))
