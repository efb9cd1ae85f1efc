"""The table of layers: float -> quantized -> exported -> interpreter and LiteRT."""

import pytest

import tfxp
from tests.layer_cases import LAYER_CASES, build, inputs_of
from tests.parity.compare import Trio
from tests.parity.test_keras_vs_integer import exact, uniform
from tfxp.errors import ExportError
from tfxp.export import integer_graph_of
from tfxp.keras import keras, layers, tf
from tfxp.precision import LayerPrecision, PrecisionMap

SAMPLES = 10
EXPORTED = [name for name, case in LAYER_CASES.items() if case.outcome != "keras"]


# These run always; the others with --slow.
COMMON = {
    "conv_1d", "conv_2d_transpose", "squeeze_and_excite", "prelu", "tensor_functions",
    "text_classifier", "attention", "lstm",
}  # fmt: skip


def sometimes(name):
    return name if name in COMMON else pytest.param(name, marks=pytest.mark.slow)


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


@pytest.mark.parametrize("name", [sometimes(name) for name in EXPORTED])
def test_layer_is_the_same_everywhere(name):
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
