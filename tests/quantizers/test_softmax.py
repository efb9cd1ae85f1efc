"""The softmax quantizer against LiteRT's operator, on random rows of codes."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

from tfxp.formats import FixedPointFormat, int8_zero_point
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, write_tflite
from tfxp.interpreter import Interpreter
from tfxp.keras import keras, layers, tf
from tfxp.quantizers import SoftmaxQuantizer

UNIT = FixedPointFormat.of_bits(8, 8, signed=False)
ROWS = 64


class Holder(layers.Layer):
    """Somebody to own the variables."""

    def __init__(self, quantizer, fmt):
        super().__init__()
        self.held = quantizer.build(None, "output", self)
        for key, value in (("scale", fmt.scale), ("qmin", fmt.qmin), ("qmax", fmt.qmax)):
            self.held[key].assign(value)


def tensor(name, shape, fmt):
    return Tensor(name, shape, "INT8", Quantization(np.float32(fmt.scale), int8_zero_point(fmt)))


def file_of(size, source, wanted):
    """SOFTMAX over rows of `size` codes, and QUANTIZE where another format is wanted."""
    graph = IntegerGraph()
    shape = (ROWS, size)
    x, y = (graph.add_tensor(tensor(n, shape, f)) for n, f in (("x", source), ("y", UNIT)))
    graph.add_operator(Operator("SOFTMAX", [x], [y], {"beta": 1.0}, 2))
    graph.inputs, graph.outputs = [x], [y]
    if wanted != UNIT:
        graph.outputs = [graph.add_tensor(tensor("z", shape, wanted))]
        graph.add_operator(Operator("QUANTIZE", [y], graph.outputs, {}, 2))
    return write_tflite(graph)


def run(engine, stored):
    engine.allocate_tensors()
    engine.set_tensor(engine.get_input_details()[0]["index"], stored)
    engine.invoke()
    return engine.get_tensor(engine.get_output_details()[0]["index"])


def emulated(codes, source, wanted):
    quantizer = SoftmaxQuantizer()
    held = Holder(quantizer, wanted).held
    x = tf.constant((codes * source.scale).astype(np.float32))
    compiled = tf.function(lambda v: quantizer(tf.nn.softmax(v), False, held, inputs=v))
    return np.rint(compiled(x).numpy() / wanted.scale).astype(int)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 64, 200, 1001])
def test_same_codes_as_the_operator(size, rng):
    for fractional in (0, 3, 5, 7):
        source = FixedPointFormat.of_bits(8, fractional)
        for wanted in (UNIT, FixedPointFormat.of_bits(4, 4, signed=False)):
            codes = rng.integers(-128, 128, (ROWS, size))
            codes[: ROWS // 2] //= 8  # rows whose probabilities are near each other
            content = file_of(size, source, wanted)
            zero = int8_zero_point(wanted)
            least, most = wanted.qmin, wanted.qmax
            theirs = run(LiteRT(model_content=content), codes.astype(np.int8)).astype(int) - zero
            ours = emulated(codes, source, wanted)
            assert np.array_equal(ours, np.clip(theirs, least, most)), (fractional, wanted)


def test_fixed_point_softmax_is_one_step_away(rng):
    """What docs/layers.md says of runtimes that compute SOFTMAX in fixed point."""
    worst = 0
    for size in (3, 17, 64):
        for fractional in (2, 4, 6):
            source = FixedPointFormat.of_bits(8, fractional)
            codes = rng.integers(-128, 128, (ROWS, size))
            engine = Interpreter(file_of(size, source, UNIT), arithmetic="builtin")
            stored = run(engine, codes.astype(np.int8)).astype(int)
            ours = emulated(codes, source, UNIT)
            worst = max(worst, int(np.abs(stored - int8_zero_point(UNIT) - ours).max()))
    assert worst <= 1


def test_gradient_and_file_form():
    quantizer = SoftmaxQuantizer()
    held = Holder(quantizer, UNIT).held
    x = tf.constant([[0.5, -0.25, 1.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        real = tf.nn.softmax(x)
        coded = quantizer(real, True, held, inputs=x)
    weights = tf.constant([[1.0, 2.0, -1.0]])
    wanted = tape.gradient(real, x, weights)
    assert np.allclose(tape.gradient(coded, x, weights), wanted)
    form = keras.utils.legacy.serialize_keras_object(quantizer)
    assert keras.utils.legacy.deserialize_keras_object(form) == quantizer
