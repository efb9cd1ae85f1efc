"""Portable rounding in Keras: half up wherever the file can repeat it on every runtime."""

import numpy as np
import pytest

import tfxp
from tests.cases import built, inputs_of
from tfxp.errors import PrecisionError
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap
from tfxp.quantization import read_network

FORMATS = PrecisionMap(LayerPrecision("Q1.2", "Q3.2"), rounding="portable")


def dense(bias=True):
    model = keras.Sequential([layers.Dense(1, use_bias=bias, input_shape=(1,), name="d")])
    model.layers[0].set_weights([np.array([[0.25]], np.float32), *[np.zeros(1)] * bias])
    return model


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("rounding", "want"), [("portable", [-0.25, 0.25]), ("engine", [-0.5, 0])])
def test_ties(bias, rounding, want):
    """1/16 steps of the sum, 1/4 of the output: -6/16 and 2/16 are ties."""
    pmap = PrecisionMap(FORMATS.default, rounding=rounding)
    qmodel = tfxp.quantize_model(dense(bias), pmap)
    x = np.array([[-1.5], [0.5]], np.float32)
    assert qmodel.predict(x, verbose=0).ravel().tolist() == want


def test_it_is_the_default_and_the_argument_gives_way_to_the_map():
    model = dense()
    free = PrecisionMap(FORMATS.default)
    assert tfxp.precision_of(tfxp.quantize_model(model, free)).rounding == "portable"
    engine = tfxp.quantize_model(model, free, rounding="engine")
    assert tfxp.precision_of(engine).rounding == "engine"
    kept = tfxp.quantize_model(model, FORMATS, rounding="engine")
    assert tfxp.precision_of(kept).rounding == "portable"


def test_half_steps_follow_the_formats():
    """Half of 1/16 where the output is coarser, nothing where it is not or weights fill int8."""
    qmodel = tfxp.quantize_model(dense(), FORMATS)
    half = qmodel.get_layer("d").half_step
    assert half.numpy() == 2.0**-5
    cases = [("Q1.2", "Q1.4", 0), ("Q1.6s", "Q3.2", 0), ("Q-1.6s", "Q3.2", 2.0**-9)]
    for weights, outputs, want in cases:
        rules = {"d": LayerPrecision(weights, outputs)}
        tfxp.set_precision(qmodel, PrecisionMap(FORMATS.default, rules))
        assert half.numpy() == want, weights


def test_channels_have_half_steps_of_their_own():
    model = keras.Sequential([layers.Dense(3, input_shape=(2,), name="d")])
    rules = {"d": LayerPrecision(("Q1.2", "Q2.1", "Q3.0"), "Q3.2")}
    qmodel = tfxp.quantize_model(model, PrecisionMap(FORMATS.default, rules))
    assert qmodel.get_layer("d").half_step.numpy().tolist() == [2.0**-5, 2.0**-4, 0]


def test_sixteen_bits_take_it_away():
    qmodel = tfxp.quantize_model(dense(), FORMATS)
    tfxp.set_precision(qmodel, PrecisionMap(LayerPrecision("Q1.2", "Q7.8")))
    assert qmodel.get_layer("d").half_step.numpy() == 0


def test_strip_leaves_it_out():
    plain = tfxp.strip(tfxp.quantize_model(dense(), FORMATS))
    assert plain.layers[-1].bias.numpy() == 0


@pytest.mark.parametrize("rounding", ["portable", "engine"])
def test_saved_models_keep_their_rounding(rounding, tmp_path):
    pooled = [layers.GlobalAveragePooling2D(), layers.Dense(3)]
    model = keras.Sequential([layers.Conv2D(4, 3, input_shape=(6, 5, 2)), *pooled])
    x = inputs_of(model, 8)
    stats = tfxp.measure_model(model, x)
    qmodel = tfxp.quantize_model(model, "w4a4", stats, rounding=rounding)
    qmodel.save(tmp_path / "q.keras")
    again = tfxp.load_model(tmp_path / "q.keras")
    assert np.array_equal(again.predict(x, verbose=0), qmodel.predict(x, verbose=0))
    tfxp.set_precision(again, "w3a5", stats)
    read = tfxp.precision_of(again)
    assert read.rounding == rounding
    assert read.to_dict() == tfxp.precision_of(tfxp.quantize_model(model, read)).to_dict()


def test_models_of_version_0_1_round_as_the_engine():
    """Their configs do not know the field."""
    config = tfxp.quantize_model(dense(), FORMATS).get_layer("d").quantize_config.get_config()
    del config["portable"]
    from tfxp.quantization.quantize_config import TensorQuantizeConfig

    assert not TensorQuantizeConfig.from_config(config).portable


def test_another_rounding_needs_another_model():
    qmodel = tfxp.quantize_model(dense(), FORMATS)
    engine = PrecisionMap(FORMATS.default, rounding="engine")
    with pytest.raises(PrecisionError, match="layers d: .* how it is rounded"):
        tfxp.set_precision(qmodel, engine)


@pytest.mark.parametrize("bits", [6, 7])
def test_six_and_seven_bits_leave_out_the_lowest_code(bits):
    model = built("dense")
    stats = tfxp.measure_model(model, inputs_of(model, 8))
    for rounding, symmetric in (("portable", True), ("engine", False)):
        network = read_network(tfxp.quantize_model(model, f"w{bits}a6", stats, rounding=rounding))
        kernels = [layer.weights[0] for layer in network.formats.values() if layer.weights]
        assert {fmt.symmetric for fmt in kernels} == {symmetric}
