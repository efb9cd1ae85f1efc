"""measure_model of a quantized model: its grids, and the noise against its float twin."""

import importlib

import numpy as np
import pytest

import tfxp
from tests.cases import built, inputs_of
from tfxp.formats import quantize
from tfxp.keras import keras, tf
from tfxp.precision import ModelStats
from tfxp.quantization.read_network import plan_of


@pytest.fixture(scope="module")
def net():
    """(float model, quantized model, inputs, statistics of both)."""
    model = built("conv_valid_relu")
    x = inputs_of(model, 30)
    before = tfxp.measure_model(model, x)
    qmodel = tfxp.quantize_model(model, "w5a6", before)
    return model, qmodel, x, before, tfxp.measure_model(qmodel, x, batch_size=8)


def db(wanted, have):
    wanted, have = (np.asarray(a, np.float64) for a in (wanted, have))
    return 10 * np.log10((wanted**2).sum() / ((have - wanted) ** 2).sum())


def test_distributions_are_those_of_the_grids(net):
    _, qmodel, x, _, after = net
    formats = tfxp.precision_of(qmodel).layers
    values = keras.Model(qmodel.inputs, qmodel.layers[-1].output).predict(x, verbose=0)
    name = qmodel.layers[-1].name
    seen = after[name].activations
    assert (seen.min, seen.max, seen.count) == (values.min(), values.max(), values.size)
    assert seen.zero_fraction == pytest.approx((values == 0).mean())
    for layer in ("conv2d", "conv2d_1"):
        codes = after[layer].weights.bin_values()[0] / formats[layer].weights.scale
        assert np.array_equal(codes, np.rint(codes)) and abs(codes).max() <= 16
    assert after.samples == 30


def test_sqnr_of_weights_activations_and_output(net):
    model, qmodel, x, before, after = net
    formats = tfxp.precision_of(qmodel).layers
    for layer in ("conv2d", "conv2d_1"):
        kernel = model.get_layer(layer).kernel.numpy()
        have = quantize(kernel, formats[layer].weights)
        assert after[layer].sqnr["weights"] == pytest.approx(db(kernel, have), abs=1e-3)
    wanted, have = model.predict(x, verbose=0), qmodel.predict(x, verbose=0)
    assert after.output_sqnr == {"conv2d_1": pytest.approx(db(wanted, have), abs=1e-3)}
    inner = keras.Model(model.inputs, model.get_layer("conv2d").output).predict(x, verbose=0)
    owner = next(item for item in qmodel.layers if getattr(item, "owner", "") == "conv2d" and
                 item.quantize_config.output_quantizer is not None)  # fmt: skip
    have = keras.Model(qmodel.inputs, owner.output).predict(x, verbose=0)
    assert after["conv2d"].sqnr["activations"] == pytest.approx(db(inner, have), abs=1e-3)
    assert before.output_sqnr == {}


def test_a_network_that_loses_nothing_has_infinite_sqnr(tmp_path):
    model = keras.Sequential([keras.layers.Dense(2, input_shape=(3,), name="d")])
    model.set_weights([np.array([[0.5, 0.25], [-0.5, 0.0], [0.125, 0.5]]), np.zeros(2)])
    pmap = tfxp.PrecisionMap.from_dict(
        {"schema": 1, "layers": {".*": {"weights": "Q0.7", "activations": "Q4.11"}}}
    )
    qmodel = tfxp.quantize_model(model, pmap)
    stats = tfxp.measure_model(qmodel, np.eye(3, dtype=np.float32))
    assert stats["d"].sqnr == {"activations": np.inf, "weights": np.inf}
    stats.save(tmp_path / "stats.json")
    assert ModelStats.load(tmp_path / "stats.json")["d"].sqnr["weights"] == np.inf


def test_large_activations_are_taken_in_parts(net, monkeypatch):
    _, qmodel, x, _, after = net
    module = importlib.import_module("tfxp.measure.measure_model")
    monkeypatch.setattr(module, "_MOST_ELEMENTS", 700)
    steps = []
    data = tf.data.Dataset.from_tensor_slices(x).batch(30)
    parts = tfxp.measure_model(qmodel, data, progress=lambda done, _: steps.append(done))
    assert len(steps) > 10 and steps[-1] == 30
    for layer in after.layers.values():
        if layer.activations is not None:
            assert parts[layer.name].activations.counts.sum() == layer.activations.counts.sum()
            assert parts[layer.name].sqnr == pytest.approx(dict(layer.sqnr))


def test_the_model_is_left_as_it_was(net):
    model, qmodel, x, _, _ = net
    weights = [w.copy() for w in qmodel.get_weights()]
    outputs = qmodel.predict(x, verbose=0)
    tfxp.measure_model(qmodel, x)
    assert all(np.array_equal(a, b) for a, b in zip(weights, qmodel.get_weights(), strict=True))
    assert np.array_equal(outputs, qmodel.predict(x, verbose=0))
    assert len(plan_of(qmodel).graph.calls) == len(plan_of(qmodel).graph.layers)
