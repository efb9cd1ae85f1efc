"""The quantizer of matrix products against LiteRT's operator, on random codes."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

from tfxp.formats import FixedPointFormat, int8_zero_point
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, write_tflite
from tfxp.keras import layers, tf
from tfxp.quantizers import ProductQuantizer

LEFT, RIGHT, OUT = (1, 3, 40, 16), (1, 3, 16, 50), (1, 3, 40, 50)
# Zero points of right sides: 0, -128 and 120.
SIDES = [
    FixedPointFormat.of_bits(8, 6),
    FixedPointFormat.of_bits(8, 7, signed=False),
    FixedPointFormat.of_bits(4, 3),
]


def tensor(name, shape, fmt):
    return Tensor(name, shape, "INT8", Quantization(np.float32(fmt.scale), int8_zero_point(fmt)))


def litert(left, right, formats):
    graph = IntegerGraph()
    a, b, y = (
        graph.add_tensor(tensor(name, shape, fmt))
        for name, shape, fmt in zip("aby", (LEFT, RIGHT, OUT), formats, strict=True)
    )
    options = {"adj_x": False, "adj_y": False, "asymmetric_quantize_inputs": False}
    graph.add_operator(Operator("BATCH_MATMUL", [a, b], [y], options, 4))
    graph.inputs, graph.outputs = [a, b], [y]
    engine = LiteRT(model_content=write_tflite(graph))
    engine.allocate_tensors()
    stored = [(c + int8_zero_point(f)).astype(np.int8)
              for c, f in zip((left, right), formats, strict=False)]  # fmt: skip
    for detail, codes in zip(engine.get_input_details(), stored, strict=True):
        engine.set_tensor(detail["index"], codes)
    engine.invoke()
    found = engine.get_tensor(engine.get_output_details()[0]["index"])
    return np.clip(found.astype(int) - int8_zero_point(formats[2]), formats[2].qmin, None)


@pytest.mark.parametrize("right", SIDES, ids=str)
@pytest.mark.parametrize("fractional", [12, 5, 2, -1])
def test_same_codes_as_the_operator(right, fractional, rng):
    source = FixedPointFormat.of_bits(8, 5)
    wanted = FixedPointFormat.of_bits(8 if fractional % 2 else 5, fractional)
    a = rng.integers(source.qmin, source.qmax + 1, LEFT)
    b = rng.integers(right.qmin, right.qmax + 1, RIGHT)
    owner = layers.Layer()
    held = ProductQuantizer().build(None, "output", owner)
    scales = {"scale": wanted.scale, "qmin": wanted.qmin, "qmax": wanted.qmax}
    scales |= {"product_scale": source.scale * right.scale}
    scales |= {"right_zero_point": int8_zero_point(right)}
    for key, value in scales.items():
        held[key].assign(value)
    product = tf.matmul((a * source.scale).astype(np.float32), (b * right.scale).astype(np.float32))
    real = tf.function(lambda x: ProductQuantizer()(x, False, held))(product).numpy()
    theirs = litert(a, b, (source, right, wanted))
    assert np.array_equal(np.rint(real / wanted.scale), theirs)
    assert np.ptp(theirs) > 4
