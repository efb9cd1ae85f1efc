"""The length quantizer against LiteRT's operator, on random rows of codes."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

from tests.quantizers.test_softmax import Holder, run, tensor
from tfxp.formats import FixedPointFormat, int8_zero_point
from tfxp.graph import IntegerGraph, Operator, write_tflite
from tfxp.keras import tf
from tfxp.quantizers import LengthQuantizer

UNIT = FixedPointFormat.of_bits(8, 7)
ROWS = 64


def file_of(size, source, wanted):
    """L2_NORMALIZATION of rows of `size` codes, and QUANTIZE where another format is wanted."""
    graph = IntegerGraph()
    shape = (ROWS, size)
    x, y = (graph.add_tensor(tensor(n, shape, f)) for n, f in (("x", source), ("y", UNIT)))
    options = {"fused_activation_function": "NONE"}
    graph.add_operator(Operator("L2_NORMALIZATION", [x], [y], options, 2))
    graph.inputs, graph.outputs = [x], [y]
    if wanted != UNIT:
        graph.outputs = [graph.add_tensor(tensor("z", shape, wanted))]
        graph.add_operator(Operator("QUANTIZE", [y], graph.outputs, {}, 2))
    return write_tflite(graph)


def emulated(codes, source, wanted):
    quantizer = LengthQuantizer()
    held = Holder(quantizer, wanted).held
    held["input_scale"].assign(source.scale)
    x = tf.constant((codes * source.scale).astype(np.float32))
    real = tf.math.l2_normalize(x, -1)
    compiled = tf.function(lambda v: quantizer(real, False, held, inputs=v))
    return np.rint(compiled(x).numpy() / wanted.scale).astype(int)


@pytest.mark.parametrize("size", [1, 5, 64, 1024])
def test_same_codes_as_the_operator(size, rng):
    for bits in (2, 4, 8):
        source = FixedPointFormat.of_bits(bits, int(rng.integers(-2, 9)))
        codes = rng.integers(source.qmin, source.qmax + 1, (ROWS, size))
        codes[:4] = [[0], [1], [-1], [source.qmin]]
        codes[4:8, 1:] = 0
        for wanted in (UNIT, FixedPointFormat.of_bits(8, 8), FixedPointFormat.of_bits(6, 5)):
            stored = (codes + int8_zero_point(source)).astype(np.int8)
            theirs = run(LiteRT(model_content=file_of(size, source, wanted)), stored)
            wanted_codes = np.clip(theirs.astype(int) - int8_zero_point(wanted), wanted.qmin, None)
            assert np.array_equal(emulated(codes, source, wanted), wanted_codes), (bits, wanted)


def test_the_gradient_is_the_real_functions(rng):
    source = FixedPointFormat.of_bits(8, 5)
    quantizer = LengthQuantizer()
    held = Holder(quantizer, UNIT).held
    held["input_scale"].assign(source.scale)
    x = tf.constant(rng.integers(-128, 128, (3, 6)).astype(np.float32) * np.float32(source.scale))
    weights = tf.constant(rng.normal(size=(3, 6)).astype(np.float32))
    found = []
    for through in (lambda y: quantizer(y, True, held, inputs=x), tf.identity):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(weights * through(tf.math.l2_normalize(x, -1)))
        found.append(tape.gradient(loss, x).numpy())
    assert np.abs(found[0]).max() > 1e-3 and np.allclose(*found)


def test_wide_tensors_are_rounded_to_their_own_grid(rng):
    wide = FixedPointFormat.of_bits(16, 14)
    codes = rng.integers(-3000, 3000, (ROWS, 6))
    real = codes / np.sqrt((codes**2).sum(-1, keepdims=True))
    found = emulated(codes, FixedPointFormat.of_bits(16, 10), wide)
    assert np.abs(found - real / wide.scale).max() < 0.51
