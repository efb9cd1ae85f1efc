"""The table of layers: float -> quantized -> exported -> interpreter and LiteRT."""

import shutil

import numpy as np
import pytest

import tfxp
from tests.csource.building import run_graph
from tests.layer_cases import LAYER_CASES, build, inputs_of
from tests.parity.compare import Trio
from tests.parity.test_keras_vs_integer import exact, uniform
from tests.slow_cases import sometimes
from tfxp.csource.lowering import lower
from tfxp.errors import ExportError, UnsupportedOpError
from tfxp.export import integer_graph_of
from tfxp.interpreter import Interpreter
from tfxp.keras import keras, layers, tf
from tfxp.precision import LayerPrecision, PrecisionMap

SAMPLES = 10
EXPORTED = [name for name, case in LAYER_CASES.items() if case.outcome != "keras"]


# These run always; the others with --slow.
COMMON = {
    "conv_1d", "conv_2d_transpose", "squeeze_and_excite", "prelu", "tensor_functions",
    "text_classifier", "attention", "lstm",
}  # fmt: skip


def quantized(name, precision="w8a8"):
    model = build(name)
    x = inputs_of(name, model, SAMPLES)
    stats = tfxp.measure_model(model, x)
    return model, tfxp.quantize_model(model, precision, stats), x


def test_activations_that_do_not_fit_their_operators_are_refused():
    x = inputs = keras.Input((4,))
    x = layers.Dense(3, activation="elu", name="d")(x)
    model = keras.Model(inputs, layers.PReLU(name="slopes")(x))
    wide = PrecisionMap(LayerPrecision(weights="Q0.11", activations="Q3.10"))
    with pytest.raises(ExportError) as caught:
        integer_graph_of(tfxp.quantize_model(model, wide))
    assert "d_elu: LiteRT's ELU takes 8 bits" in str(caught.value)
    assert "slopes: slopes are not of at most 8 bits" in str(caught.value)


def compare_with_c(graph, name, folder):
    """The C program computes the interpreter's codes, of any inputs."""
    if any("LSTM" in operator.name for operator in graph.operators):
        with pytest.raises(UnsupportedOpError, match="LSTM"):
            lower(graph)
        return
    draws, codes = np.random.default_rng(4), []
    for tensor in (graph.tensors[index] for index in graph.inputs):
        low, high = (-128, 128) if tensor.type == "INT8" else (0, LAYER_CASES[name].tokens)
        shape = (SAMPLES, *tensor.shape[1:])
        codes.append(draws.integers(low, high, shape).astype(tensor.dtype))
    want = Interpreter(graph).predict_codes(codes)
    want = want if isinstance(want, list) else [want]
    for ours, theirs in zip(run_graph(graph, codes, folder), want, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", sometimes(EXPORTED, COMMON))
def test_layer_is_the_same_everywhere(name, tmp_path):
    model, qmodel, x = quantized(name)
    forms = Trio(qmodel)
    factor = 1 if LAYER_CASES[name].tokens else 1.6  # real inputs go beyond their formats
    beyond = tf.nest.map_structure(lambda part: factor * part, x)
    for precision in (uniform(8, 8), uniform(3, 4, True)):
        tfxp.set_precision(qmodel, precision)
        found = forms.compare(beyond)
        assert found.interpreter_litert == 0, (precision, found)
        if LAYER_CASES[name].outcome == "exact":
            assert exact(found) and not found.notes, (precision, found)
        else:
            assert found.notes and found.lsb <= 1, (precision, found)
    if shutil.which("cc"):
        compare_with_c(integer_graph_of(qmodel), name, tmp_path / "c")
