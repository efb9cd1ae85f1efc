"""Every operator in C computes the interpreter's integers: hundreds of cases in one program.

The oracle is the interpreter in the arithmetic of LiteRT's default engine, which other tests hold
to LiteRT itself. The program is compiled with all warnings and both sanitizers.
"""

import itertools

import numpy as np
import pytest

from tests.csource.building import needs_cc, run_graph
from tfxp.csource import known_operators
from tfxp.csource.lowering import lower
from tfxp.errors import UnsupportedOpError
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor
from tfxp.interpreter import Interpreter

SAMPLES = 24
DRAWS = np.random.default_rng(11)


class Cases:
    """One graph that holds many operators side by side, each with inputs and outputs of its own."""

    def __init__(self):
        self.graph, self.names = IntegerGraph(), []

    def tensor(self, shape, scale=0.5, zero=0, data=None, kind="INT8", axis=0):
        quantization = None
        if kind == "INT8" or scale is not None:
            quantization = Quantization(np.float32(scale), np.atleast_1d(zero), axis)
        name = f"t{len(self.graph.tensors)}"
        return self.graph.add_tensor(Tensor(name, tuple(shape), kind, quantization, data))

    def input(self, shape, scale=0.5, zero=0):
        index = self.tensor(shape, scale, zero)
        self.graph.inputs.append(index)
        return index

    def whole(self, values):
        data = np.array(values, np.int32)
        return self.tensor(data.shape, None, data=data, kind="INT32")

    def hidden(self, name, inputs, output, **options):
        """An operator whose output is none of the graph's."""
        self.graph.add_operator(Operator(name, list(inputs), [output], options))

    def operator(self, name, inputs, *outputs, **options):
        self.graph.add_operator(Operator(name, list(inputs), list(outputs), options))
        self.graph.outputs += outputs
        self.names += [f"{len(self.graph.operators)} {name} {options}"] * len(outputs)

    def convolution(self, name, x, weights, bias, options, scales=(0.25, 0.5), zero=3, shape=()):
        """A multiplying operator with int8 weights of one or several scales."""
        weight_scale, output_scale = scales
        axis = 3 if name == "DEPTHWISE_CONV_2D" else 0
        units = weights.shape[axis]
        zeros = np.zeros(np.size(weight_scale), np.int64)
        w = self.tensor(weights.shape, weight_scale, zeros, weights.astype(np.int8), axis=axis)
        b = self.tensor((units,), np.float32(weight_scale) * 0.5, zeros,
                        bias.astype(np.int32), kind="INT32")  # fmt: skip
        y = self.tensor(shape, output_scale, zero)
        options = {"fused_activation_function": "NONE", **options}
        inputs = [self.whole(shape), w, x, b] if name == "TRANSPOSE_CONV" else [x, w, b]
        self.operator(name, inputs, y, **options)


def codes(shape, low=-128, high=128):
    return DRAWS.integers(low, high, shape).astype(np.int8)


def convolutions(cases):
    """Plain, strided, dilated, grouped, depthwise, transposed, dense; scales of every kind."""
    scales = [(0.25, 0.5), (2.0**-6, 2.0), (0.0173, 0.41), (3.0, 0.001),
              (np.array([0.5, 0.125, 2.0, 2.0**-9, 1.0, 0.25]), 4.0)]  # fmt: skip
    windows = [("SAME", 1, 1), ("SAME", 2, 1), ("VALID", 1, 2), ("VALID", 2, 1)]
    for (padding, stride, dilation), scale in itertools.product(windows, scales):
        x = cases.input((1, 7, 6, 4), zero=-5)
        sides = [(n - (0 if padding == "SAME" else (k - 1) * dilation) + stride - 1) // stride
                 for n, k in ((7, 3), (6, 2))]  # fmt: skip
        options = {"padding": padding, "stride_h": stride, "stride_w": stride,
                   "dilation_h_factor": dilation, "dilation_w_factor": dilation}  # fmt: skip
        shape = (1, *sides, 6)
        bias = DRAWS.integers(-2000, 2000, 6)
        cases.convolution("CONV_2D", x, codes((6, 3, 2, 4), -8, 8), bias, options, scale,
                          shape=shape)  # fmt: skip
        cases.convolution("CONV_2D", x, codes((6, 3, 2, 2)), bias, options, scale, shape=shape)
        y = cases.input((1, 7, 6, 3), zero=1)
        options["depth_multiplier"] = 2
        cases.convolution("DEPTHWISE_CONV_2D", y, codes((1, 3, 2, 6), -2, 2), bias, options, scale,
                          shape=shape)  # fmt: skip
    for padding, stride in itertools.product(("SAME", "VALID"), (1, 2, 3)):
        x = cases.input((1, 3, 4, 5), zero=7)
        shape = [n * stride + (max(k - stride, 0) if padding == "VALID" else 0)
                 for n, k in ((3, 3), (4, 2))]  # fmt: skip
        options = {"padding": padding, "stride_h": stride, "stride_w": stride}
        cases.convolution("TRANSPOSE_CONV", x, codes((6, 3, 2, 5)), DRAWS.integers(-99, 99, 6),
                          options, scales[stride], shape=(1, *shape, 6))  # fmt: skip
    for scale, fused in itertools.product(scales, ("NONE", "RELU", "RELU6")):
        x = cases.input((1, 10), zero=2)
        cases.convolution("FULLY_CONNECTED", x, codes((6, 10)), DRAWS.integers(-999, 999, 6),
                          {"fused_activation_function": fused}, scale, shape=(1, 6))  # fmt: skip


def odd_counts_of_few_bits(cases):
    """Rows of packed weights that begin and end inside a byte."""
    for bits, units in itertools.product((2, 3, 4, 5), (1, 5, 7)):
        limit = 1 << (bits - 1)
        weights = codes((units, 9), -limit, limit)
        weights.flat[:2] = -limit, limit - 1
        bias = DRAWS.integers(-99, 99, units)
        cases.convolution("FULLY_CONNECTED", cases.input((1, 9)), weights, bias, {}, (0.25, 0.5),
                          shape=(1, units))  # fmt: skip


def portable(cases):
    """Codes f w and biases f b + r, with and without channels that have no rest."""
    for factor, rest, output in itertools.product((2, 4), (0, 1, 2, 3, None), (0.5, 1.0, 8.0)):
        x = cases.input((1, 12), scale=0.5)
        bias = factor * DRAWS.integers(-50, 50, 8)
        bias += np.arange(8) % factor if rest is None else rest % factor
        weights = factor * codes((8, 12), -8, 8).astype(np.int64)
        cases.convolution("FULLY_CONNECTED", x, weights, bias, {}, (0.25, output), shape=(1, 8))
    nearly = float(np.nextafter(np.float32(1), np.float32(0)))
    for output, size in itertools.product((0.25, 0.5, 8.0, 2.0**11), (6, 63)):
        weights = 2 * codes((8, 12), -size, size + 1).astype(np.int64)
        bias = 2 * DRAWS.integers(-50, 50, 8) + 1
        cases.convolution("FULLY_CONNECTED", cases.input((1, 12), scale=0.5), weights, bias, {},
                          (0.25 * nearly, output), shape=(1, 8))  # fmt: skip
    image = cases.input((1, 4, 4, 5), scale=0.5, zero=-128)
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "depth_multiplier": 1,
               "dilation_h_factor": 1, "dilation_w_factor": 1}  # fmt: skip
    for scale in (2.0**-6, 1 / 48):
        for weight, bias in ((4, 2), (64, 33), (64, 64), (5, 2)):
            weights, biases = np.full((1, 4, 4, 5), weight), np.full(5, bias)
            cases.convolution("DEPTHWISE_CONV_2D", image, weights, biases, options, (scale, 0.5),
                              shape=(1, 1, 1, 5))  # fmt: skip


def sums_in_sixteen_bits(cases):
    """As portable files add: exact 16-bit sums with half a step, then a coarser 8-bit code."""
    scale, fused = 2.0**-4, {"fused_activation_function": "NONE", "pot_scale_int16": False}
    shapes = [(1, 3, 4, 2), (2,), (1, 3, 1, 1), None]
    for name, other, (a, b), out in itertools.product(
        ("ADD", "SUB"), shapes, ((4, 8), (16, 4)), (4 * 4, 8 * 4, 64 * 4)
    ):
        constant = other == (2,)
        left = cases.input((1, 3, 4, 2), a * scale, 5)
        wide = [cases.tensor((1, 3, 4, 2), scale, kind="INT16")]
        cases.hidden("QUANTIZE", [left], wide[0])
        half = cases.tensor((1,), scale, kind="INT16", data=np.array([2], np.int16))
        total = cases.tensor((1, 3, 4, 2), scale, kind="INT16")
        cases.hidden("ADD", [wide[0], half], total, **fused)
        if other is not None:
            data = (b * codes(other, -99, 99)).astype(np.int16) if constant else None
            second = cases.tensor(other, scale, kind="INT16", data=data)
            if not constant:
                cases.hidden("QUANTIZE", [cases.input(other, b * scale, -7)], second)
            sum_ = cases.tensor((1, 3, 4, 2), scale, kind="INT16")
            cases.hidden(name, [total, second], sum_, **fused)
            total = sum_
        cases.operator("QUANTIZE", [total], cases.tensor((1, 3, 4, 2), out * scale, 9))


def huge_sums(cases):
    """Sums beyond 2^24, which float32 rounds, and results far beyond the limits."""
    for scale in ((2.0**-9, 2.0**10), (1.0, 2.0**8), (64.0, 2.0**-8)):
        x = cases.input((1, 2000), scale=0.5, zero=-128)
        cases.convolution("FULLY_CONNECTED", x, codes((5, 2000), 64, 128), np.arange(5), {}, scale,
                          shape=(1, 5))  # fmt: skip


def matrices(cases):
    for turned, scale, zero in itertools.product((False, True), (0.125, 0.3), (0, 9)):
        a, b = cases.input((1, 2, 3, 5), zero=4), cases.input((1, 2, 5, 4), zero=zero)
        c = cases.input((1, 2, 4, 5), zero=zero)
        y = cases.tensor((1, 2, 3, 4), 64 * scale)
        cases.operator("BATCH_MATMUL", [a, c if turned else b], y, adj_x=False, adj_y=turned)
    constant = cases.tensor((5, 4), 0.25, 0, codes((5, 4)))
    y = cases.tensor((1, 2, 3, 4), 8.0)
    cases.operator("BATCH_MATMUL", [a, constant], y, adj_x=False, adj_y=False)


def joins(cases):
    """Sums, products and extremes: equal shapes, channels, one number, rows, both spread."""
    shapes = [((1, 3, 4, 2), (1, 3, 4, 2)), ((1, 3, 4, 2), (2,)), ((1, 1, 1, 2), (1, 3, 4, 2)),
              ((1, 3, 4, 2), (1, 3, 1, 1)), ((1, 3, 1, 2), (1, 1, 4, 1))]  # fmt: skip
    scales = [(0.5, 0.25, 1.0), (0.1, 0.73, 0.31), (4.0, 2.0**-5, 0.5), (0.5, 0.5, 0.5)]
    for (one, two), (a, b, y) in itertools.product(shapes, scales):
        whole = np.broadcast_shapes(one, two)
        for name in ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM"):
            constant = codes(two) if len(two) == 1 else None
            left = cases.input(one, a, 3)
            right = cases.tensor(two, b, -6, constant)
            cases.graph.inputs += [right] if constant is None else []
            output = cases.tensor(whole, y, 11)
            fused = {"fused_activation_function": "RELU"} if name == "ADD" else {}
            cases.operator(name, [left, right], output, **fused)
    for shape, scale in itertools.product(((2,), (3, 4, 2), (1, 1, 2)), (0.25, 0.013)):
        x, slopes = cases.input((1, 3, 4, 2), 0.5, -3), cases.tensor(shape, scale, 0, codes(shape))
        cases.operator("PRELU", [x, slopes], cases.tensor((1, 3, 4, 2), 0.5, 5))


def moves(cases):
    x = cases.input((1, 4, 6, 8))
    cases.operator("TRANSPOSE", [x, cases.whole([0, 3, 1, 2])], cases.tensor((1, 8, 4, 6)))
    cases.operator("TRANSPOSE", [x, cases.whole([0, 2, 1, 3])], cases.tensor((1, 6, 4, 8)))
    ends = [cases.whole(v) for v in ([0, 3, 1, 0], [1, -5, 6, 8], [1, -1, 2, 3])]
    masks = {"begin_mask": 0, "end_mask": 2, "ellipsis_mask": 0, "new_axis_mask": 0,
             "shrink_axis_mask": 0}  # fmt: skip
    cases.operator("STRIDED_SLICE", [x, *ends], cases.tensor((1, 4, 3, 3)), **masks)
    at = [cases.whole([0, 1, 2, 3]), cases.whole([1, 2, 3, 4])]
    cases.operator("SLICE", [x, *at], cases.tensor((1, 2, 3, 4)))
    cases.operator("TILE", [x, cases.whole([1, 2, 1, 3])], cases.tensor((1, 8, 6, 24)))
    cases.operator("SPACE_TO_DEPTH", [x], cases.tensor((1, 2, 3, 32)), block_size=2)
    cases.operator("DEPTH_TO_SPACE", [x], cases.tensor((1, 8, 12, 2)), block_size=2)
    pads = cases.whole([[0, 0], [2, 1], [0, 3], [1, 1]])
    cases.operator("PAD", [x, pads], cases.tensor((1, 7, 9, 10), zero=4))
    fill = cases.tensor((1,), data=codes((1,)))
    cases.operator("PADV2", [x, pads, fill], cases.tensor((1, 7, 9, 10)))
    for mode in ("REFLECT", "SYMMETRIC"):
        cases.operator("MIRROR_PAD", [x, pads], cases.tensor((1, 7, 9, 10)), mode=mode)
    for size in ((8, 12), (9, 7), (3, 11)):
        for half in (False, True):
            options = {"align_corners": False, "half_pixel_centers": half}
            for name in ("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"):
                cases.operator(name, [x, cases.whole(size)], cases.tensor((1, *size, 8)), **options)
    y = cases.input((1, 4, 6, 8))
    constant = cases.tensor((1, 4, 6, 8), data=codes((1, 4, 6, 8)))
    for axis in (1, 2, 3):
        shape = [1, 4, 6, 8]
        shape[axis] *= 3
        options = {"axis": axis, "fused_activation_function": "NONE"}
        cases.operator("CONCATENATION", [x, constant, y], cases.tensor(shape), **options)
        stacked = [1, 4, 6, 8]
        stacked.insert(axis, 2)
        cases.operator("PACK", [x, y], cases.tensor(stacked), axis=axis, values_count=2)
        parts = [1, 4, 6, 8]
        parts[axis] //= 2
        halves = [cases.tensor(parts) for _ in range(2)]
        cases.operator("SPLIT", [cases.whole(axis), x], *halves, num_splits=2)
        rest = [n for i, n in enumerate((1, 4, 6, 8)) if i != axis]
        rows = [cases.tensor(rest) for _ in range((1, 4, 6, 8)[axis])]
        cases.operator("UNPACK", [x], *rows, axis=axis, num=len(rows))
        picked = [1, 4, 6, 8]
        picked[axis] = 3
        cases.operator("GATHER", [x, cases.whole([3, 0, 2])], cases.tensor(picked), axis=axis)
    cases.operator("BROADCAST_TO", [cases.input((1, 4, 1, 2)), cases.whole([1, 4, 3, 2])],
                   cases.tensor((1, 4, 3, 2)))  # fmt: skip
    cases.operator(
        "RESHAPE", [x, cases.whole([1, 192])], cases.tensor((1, 192)), new_shape=[1, 192]
    )


def reductions(cases):
    axes = [(1, 2), (3,), (1,), (2, 3), (1, 3), (1, 2, 3)]
    for axis, (scale, out) in itertools.product(axes, ((0.5, 0.125), (0.3, 0.07), (1.0, 2.0))):
        x = cases.input((1, 4, 4, 5), scale, 6)
        shape = [1 if i in axis else n for i, n in enumerate((1, 4, 4, 5))]
        for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
            plain = name.startswith("REDUCE")
            y = cases.tensor(shape, scale if plain else out, 6)
            cases.operator(name, [x, cases.whole(axis)], y, keep_dims=True)
    for name, padding in itertools.product(("AVERAGE_POOL_2D", "MAX_POOL_2D"), ("SAME", "VALID")):
        x = cases.input((1, 5, 7, 3), zero=-20)
        y = cases.tensor((1, 3, 4, 3) if padding == "SAME" else (1, 2, 3, 3), zero=-20)
        options = {"padding": padding, "stride_h": 2, "stride_w": 2, "filter_height": 3,
                   "filter_width": 2, "fused_activation_function": "RELU"}  # fmt: skip
        cases.operator(name, [x], y, **options)


def functions(cases):
    fixed = {"LOGISTIC": (2.0**-8, -128), "TANH": (2.0**-7, 0)}
    names = "QUANTIZE RELU RELU6 LOGISTIC TANH ELU LEAKY_RELU HARD_SWISH GELU EXP LOG".split()
    for name, scale in itertools.product(names, (0.0625, 0.0371)):
        out, zero = fixed.get(name, (0.05, 10))
        options = {"alpha": 0.2} if name == "LEAKY_RELU" else {}
        y = cases.tensor((1, 256), out, zero)
        cases.operator(name, [cases.input((1, 256), scale, -7)], y, **options)
    for scale, depth in itertools.product((2.0**-6, 0.1, 0.5, 4.0, 0.001), (2, 7, 100)):
        x = cases.input((1, 3, depth), scale)
        cases.operator("SOFTMAX", [x], cases.tensor((1, 3, depth), 2.0**-8, -128), beta=1.0)
    for zero, depth in itertools.product((0, -128, 100), (1, 5, 300)):
        x = cases.input((1, 2, depth), 0.5, zero)
        cases.operator("L2_NORMALIZATION", [x], cases.tensor((1, 2, depth), 2.0**-7))


def tables(cases):
    """Functions that no operator computes: codes counted from 0 are indices."""
    for shape in ((1, 256), (1, 3, 5, 2)):
        x = cases.input(shape, 0.1, -7)
        whole, counted = (cases.tensor(shape, None, kind="INT32") for _ in range(2))
        cases.hidden("CAST", [x], whole, in_data_type="INT8", out_data_type="INT32")
        cases.hidden("ADD", [whole, cases.whole([128])], counted)
        table = cases.tensor((256,), 0.05, 10, codes((256,)))
        y = cases.tensor(shape, 0.05, 10)
        cases.operator("GATHER", [table, counted], y, axis=0, batch_dims=0)


FAMILIES = [
    convolutions,
    odd_counts_of_few_bits,
    portable,
    sums_in_sixteen_bits,
    huge_sums,
    matrices,
    joins,
    moves,
    reductions,
    functions,
    tables,
]


def rows(shape, samples=SAMPLES):
    """Random codes; some samples all low, all high, sparse, or nearly constant."""
    x = codes((samples, *shape))
    x[0], x[1] = -128, 127
    x[2] = np.where(DRAWS.random(shape) < 0.8, 0, x[2])
    x[3] = codes(shape, -2, 2)
    return x


@needs_cc
def test_every_operator(tmp_path):
    cases = Cases()
    for family in FAMILIES:
        family(cases)
    graph = cases.graph
    feeds = [rows(graph.tensors[index].shape[1:]) for index in graph.inputs]
    got = run_graph(graph, feeds, tmp_path / "c")
    want = Interpreter(graph, engine="reference").predict_codes(feeds)
    assert len(got) == len(cases.names)
    differ = {
        name: (int((ours != theirs).sum()), ours.size)
        for name, ours, theirs in zip(cases.names, got, want, strict=True)
        if not np.array_equal(ours, theirs)
    }
    assert not differ
    tested = {operator.name for operator in graph.operators}
    views = {"SQUEEZE", "EXPAND_DIMS"}
    rare = {"RELU_N1_TO_1", "ABS", "NEG", "SQUARE", "SQRT", "RSQRT", "SPLIT_V",
            "REVERSE_V2"}  # fmt: skip
    assert set(known_operators()) == tested | views | rare


@needs_cc
def test_embeddings(tmp_path):
    graph = IntegerGraph()
    scale = Quantization([0.5], [0])
    table = codes((9, 4))
    ids = graph.add_tensor(Tensor("ids", (1, 5), "INT32"))
    rows_ = graph.add_tensor(Tensor("table", (9, 4), "INT8", scale, table))
    y = graph.add_tensor(Tensor("y", (1, 5, 4), "INT8", scale))
    graph.add_operator(Operator("GATHER", [rows_, ids], [y], {"axis": 0}))
    graph.inputs, graph.outputs = [ids], [y]
    indices = np.array([[0, 8, 3, 3, 1], [-1, 9, 2**31 - 1, -(2**31), 4]], np.int32)
    (got,) = run_graph(graph, [indices], tmp_path / "c")
    np.testing.assert_array_equal(got, table[np.clip(indices, 0, 8)])


def refused(name, *tensors, **options):
    fed = [i for i, tensor in enumerate(tensors[:-1]) if tensor.data is None]
    graph = IntegerGraph(list(tensors), inputs=fed, outputs=[len(tensors) - 1])
    last = len(tensors) - 1
    graph.add_operator(Operator(name, list(range(last)), [last], options))
    with pytest.raises(UnsupportedOpError) as caught:
        lower(graph)
    return str(caught.value)


def test_indices_are_for_tables_only():
    scale = Quantization([0.5], [0])
    x, y = (Tensor(name, (1, 4), "INT8", scale) for name in "xy")
    graph = IntegerGraph([x, Tensor("i", (1, 4), "INT32", scale), y], inputs=[0], outputs=[2])
    graph.add_operator(Operator("CAST", [0], [1], {}))
    graph.add_operator(Operator("QUANTIZE", [1], [2], {}))
    with pytest.raises(UnsupportedOpError, match="y .QUANTIZE.*INT32"):
        lower(graph)


def test_refusals_say_why():
    low, high = (Tensor(n, (1, 4), "INT8", Quantization([0.5], [0])) for n in "xy")
    assert "y (RSQRT): not every code has a value" in refused("RSQRT", low, high)
    scale = Quantization([0.5], [0])
    tiny, wide = Quantization([2.0**-12], [0]), Quantization([0.5], [0])
    x = Tensor("x", (1, 4), "INT8", scale)
    y = Tensor("y", (1, 4), "INT8", scale)
    other = Tensor("z", (1, 4), "INT8", tiny)
    assert "y (ADD): input scales" in refused("ADD", x, other, y)
    long = Tensor("x", (1, 200000), "INT8", wide)
    weights = Tensor("w", (1, 200000), "INT8", scale, np.full((1, 200000), 127, np.int8))
    bias = Tensor("b", (1,), "INT32", Quantization([0.25], [0]), np.zeros(1, np.int32))
    out = Tensor("y", (1, 1), "INT8", scale)
    assert "sums of 33 bits; expected at most 32" in refused(
        "FULLY_CONNECTED", long, weights, bias, out, fused_activation_function="NONE"
    )
