"""Quantizers of activation functions on every code, against the interpreter's operators.

The interpreter's are held against LiteRT in tests/interpreter; here both sides get all 256 codes.
"""

import numpy as np
import pytest

from tfxp.formats import FixedPointFormat, int8_zero_point
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor
from tfxp.interpreter import Interpreter
from tfxp.keras import keras, layers, tf
from tfxp.quantizers import LeakyReluQuantizer, PReluQuantizer, TableQuantizer
from tfxp.transforms.activation_functions import gelu_tanh

SIGNED = [FixedPointFormat.of_bits(8, f) for f in (1, 4, 6, 7)]


class Holder(layers.Layer):
    """Somebody to own the variables."""

    def __init__(self, quantizer, fmt, source, slopes=None):
        super().__init__()
        self.held = quantizer.build(None, "output", self)
        for key, value in (("scale", fmt.scale), ("qmin", fmt.qmin), ("qmax", fmt.qmax)):
            self.held[key].assign(value)
        self.held["input_scale"].assign(source.scale)
        if "zero_point" in self.held:
            self.held["zero_point"].assign(int8_zero_point(fmt))
        if slopes is not None:
            self.held["alpha_scale"].assign(slopes.scale)


def interpreted(operator, source, output, options=None, slopes=None):
    """Codes of one operator for all codes of its input, and these codes."""
    codes = np.arange(source.qmin, source.qmax + 1)
    stored = (codes + int8_zero_point(source)).astype(np.int8).reshape(1, -1)
    graph = IntegerGraph()
    indices = [graph.add_tensor(_tensor("x", stored.shape, source))]
    if slopes is not None:
        fmt, values = slopes
        scheme = Quantization(np.float32(fmt.scale), 0)
        indices.append(graph.add_tensor(Tensor("a", values.shape, "INT8", scheme, values)))
    indices.append(graph.add_tensor(_tensor("y", stored.shape, output)))
    graph.add_operator(Operator(operator, indices[:-1], indices[-1:], options or {}, 1))
    graph.inputs, graph.outputs = indices[:1], indices[-1:]
    result = Interpreter(graph).predict_codes(stored)
    return codes, result.astype(int).ravel() - int8_zero_point(output)


def _tensor(name, shape, fmt):
    return Tensor(name, shape, "INT8", Quantization(np.float32(fmt.scale), int8_zero_point(fmt)))


def emulated(quantizer, layer, codes, source, output, slopes=None):
    x = tf.constant((codes * source.scale).astype(np.float32)[None])
    held = Holder(quantizer, output, source, slopes).held
    run = tf.function(lambda v: quantizer(layer(v), False, held, inputs=v))
    return np.rint(run(x).numpy().ravel() / output.scale).astype(int)


@pytest.mark.parametrize("source", SIGNED, ids=str)
@pytest.mark.parametrize(
    ("function", "operator", "output"),
    [
        ("sigmoid", "LOGISTIC", FixedPointFormat.of_bits(8, 8, signed=False)),
        ("tanh", "TANH", FixedPointFormat.of_bits(8, 7)),
        ("elu", "ELU", FixedPointFormat.of_bits(8, 4)),
        ("elu", "ELU", FixedPointFormat.of_bits(8, 6)),
        ("gelu", "GELU", FixedPointFormat.of_bits(8, 3)),
        ("gelu", "GELU", FixedPointFormat.of_bits(8, 5)),
        ("gelu_tanh", "GELU", FixedPointFormat.of_bits(8, 3)),
        ("gelu_tanh", "GELU", FixedPointFormat.of_bits(8, 6)),
        ("exponential", "EXP", FixedPointFormat.of_bits(8, 2, signed=False)),
        ("log", "LOG", FixedPointFormat.of_bits(8, 4)),
    ],
)
def test_tables(function, operator, source, output):
    """Coarse outputs of GELU too: large x give ties."""
    options = {"approximate": True} if function == "gelu_tanh" else {}
    codes, wanted = interpreted(operator, source, output, options)
    named = {"gelu_tanh": gelu_tanh, "log": tf.math.log}
    layer = layers.Activation(named.get(function, function))
    have = emulated(TableQuantizer(function), layer, codes, source, output)
    assert np.array_equal(have, np.clip(wanted, output.qmin, output.qmax))


@pytest.mark.parametrize("source", SIGNED, ids=str)
@pytest.mark.parametrize("shift", [-2, 0, 1, 4])
@pytest.mark.parametrize("alpha", [0.3, 0.02])
def test_leaky_relu(source, shift, alpha):
    # Beyond 2^-8 <= ratio * alpha a builtin kernel rounds twice, which the export says.
    output = FixedPointFormat.of_bits(8, source.fractional_bits + shift)
    codes, wanted = interpreted("LEAKY_RELU", source, output, {"alpha": alpha})
    layer = layers.LeakyReLU(alpha)
    assert np.array_equal(emulated(LeakyReluQuantizer(alpha), layer, codes, source, output), wanted)


@pytest.mark.parametrize("source", SIGNED, ids=str)
@pytest.mark.parametrize("fractional", [0, 3, 5, 7])
def test_prelu(source, fractional, rng):
    output, fmt = FixedPointFormat.of_bits(8, fractional), FixedPointFormat.of_bits(8, 7)
    slopes = rng.integers(-127, 128, 256).astype(np.int8)
    codes, wanted = interpreted("PRELU", source, output, {}, (fmt, slopes))
    layer = layers.PReLU(alpha_initializer=keras.initializers.Constant(slopes * fmt.scale))
    have = emulated(PReluQuantizer(), layer, codes, source, output, fmt)
    assert np.array_equal(have, wanted)
