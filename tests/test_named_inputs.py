"""A dict of arrays means the same as the list in the model's order, wherever data are taken.

The inputs do not stand in alphabetical order, have one shape and unlike ranges: whoever swaps them
gets other figures without any error.
"""

import os
import tempfile
from unittest import mock

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tests.slow_cases import slow
from tfxp.callbacks.tensor_taps import first_samples
from tfxp.data import ModelData
from tfxp.errors import DataError
from tfxp.export.verify import stored_codes
from tfxp.keras import keras, layers, tf
from tfxp.measure import jacobian_singular_values, noise_gains
from tfxp.training import FineTuneSettings, TrainingRecipe, fine_tune, train_recipe


def network():
    zeta, alpha = keras.Input((6,), name="zeta"), keras.Input((6,), name="alpha")
    parts = layers.Dense(6, "relu", name="z")(zeta), layers.Dense(6, "relu", name="a")(alpha)
    answer = layers.Dense(3, name="answer")(layers.Concatenate()(parts))
    return randomize(keras.Model([zeta, alpha], answer))


@pytest.fixture(scope="module")
def made():
    rng, model = np.random.default_rng(3), network()
    zeta, alpha = rng.normal(0.1, 0.2, (40, 6)), rng.normal(5, 20, (40, 6))
    arrays = {"alpha": alpha.astype(np.float32), "zeta": zeta.astype(np.float32)}
    stats = tfxp.measure_model(model, arrays)
    return model, arrays, stats, tfxp.quantize_model(model, "w6a6", stats)


def calibrated(model, qmodel, data):
    before = qmodel.get_weights()
    found = tfxp.calibrate_model(qmodel, data)
    qmodel.set_weights(before)
    return found


def verified(model, qmodel, data):
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.tflite")
        with mock.patch("tfxp.export.verify.stored_codes", spied(stored_codes, seen)):
            assert tfxp.export_tflite(qmodel, path, verify=data).verification.exact
    return seen


def spied(function, seen):
    def call(real, *rest):
        seen.append(real.tolist())
        return function(real, *rest)

    return call


def tuned(model, qmodel, data):
    before = qmodel.get_weights()
    fine_tune(qmodel, data, None, FineTuneSettings(8, batch_size=10), teacher=model)
    after = qmodel.get_weights()
    qmodel.set_weights(before)
    return after


CALLS = {
    "measure": lambda model, qmodel, data: tfxp.measure_model(model, data).to_dict(),
    "measure_quantized": lambda model, qmodel, data: tfxp.measure_model(qmodel, data).to_dict(),
    "sqnr": lambda model, qmodel, data: tfxp.measure_sqnr(model, qmodel, data),
    "calibrate": calibrated,
    "fine_tune": tuned,
    "verify": verified,
    "rescale": lambda model, qmodel, data: tfxp.rescale_for_wrpn(model, data).get_weights(),
    "gains": lambda model, qmodel, data: noise_gains(model, data),
    "jacobian": lambda model, qmodel, data: jacobian_singular_values(model, data),
    "callbacks": lambda model, qmodel, data: first_samples(model, data, 5),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_dict_goes_by_name(made, name):
    model, arrays, _, qmodel = made
    call = CALLS[name]
    wanted = repr(call(model, qmodel, [arrays["zeta"], arrays["alpha"]]))
    assert wanted != repr(call(model, qmodel, [arrays["alpha"], arrays["zeta"]]))
    assert repr(call(model, qmodel, arrays)) == wanted
    stream = tf.data.Dataset.from_tensor_slices((arrays, np.zeros(40))).batch(40)
    if name == "fine_tune":  # labels in the batches would count
        stream = tf.data.Dataset.from_tensor_slices(arrays).batch(7)
    assert repr(call(model, qmodel, stream)) == wanted
    for wrong in ({**arrays, "beta": arrays["zeta"]}, {"zeta": arrays["zeta"]}):
        with pytest.raises(DataError, match="expected zeta, alpha. (Unknown: beta|Missing: alpha)"):
            call(model, qmodel, wrong)


@pytest.mark.slow
def test_fine_tuning_takes_batches_with_labels(made):
    _, arrays, _, qmodel = made
    y, before, found = np.arange(40) % 3, qmodel.get_weights(), []
    pairs = tf.data.Dataset.from_tensor_slices((arrays, y))
    named = pairs.map(lambda x, y: (x, {"answer": y}))
    for x, labels in ((arrays, y), (pairs.batch(16), None), (named.batch(40), None)):
        found.append(fine_tune(qmodel, x, labels, FineTuneSettings(8, batch_size=10)))
        qmodel.set_weights(before)
    assert found[0] == found[1] == found[2]
    plain = tf.data.Dataset.from_tensor_slices(arrays).batch(8)
    for data, labels, words in (
        (pairs.batch(8), y, "labels in the batches and as y"),
        (pairs.map(lambda x, y: (x, {"a": y, "b": y})).batch(8), None, "answers .*one for each of"),
        (pairs.batch(8).map(lambda x, y: (x, y[1:])), None, r"shape \(7,\) for 8 samples"),
        (pairs.batch(8).take(0), None, "got no samples"),
        (pairs.batch(8).repeat(), None, "without an end"),
        (plain, None, "neither labels nor a float model"),
        ((item for item in plain), None, "expected arrays or a tf.data.Dataset"),
    ):
        with pytest.raises(DataError, match=words):
            fine_tune(qmodel, data, labels, FineTuneSettings(8, batch_size=10))


def test_batches_whose_samples_differ_in_shape(rng):
    x = keras.Input((None, 3), name="x")
    model = keras.Model(x, layers.Conv1D(2, 3, name="c")(x))
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, np.ones((4, 5, 3))))
    parts = [rng.normal(size=(4, size, 3)).astype(np.float32) for size in (5, 6)]
    stream = tf.data.Dataset.from_generator(
        lambda: iter(parts), output_signature=tf.TensorSpec((None, None, 3))
    )
    settings = FineTuneSettings(1, batch_size=4)
    for call in (tfxp.calibrate_model, lambda q, d: fine_tune(q, d, None, settings, teacher=model)):
        with pytest.raises(DataError, match=r"got shapes \(6, 3\); expected \(5, 3\)"):
            call(qmodel, stream)


def test_noise_gains_of_a_fixed_batch(rng):
    x = rng.normal(size=(8, 6)).astype(np.float32)
    found = []
    for batch in (None, 4):
        inputs = keras.Input(batch_shape=(batch, 6), name="x")
        hidden = layers.Dense(5, "relu", name="h")(inputs)
        model = randomize(keras.Model(inputs, layers.Dense(3, name="d")(hidden)))
        found.append(noise_gains(model, x))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    with pytest.raises(DataError, match="fewer than 4 samples"):
        noise_gains(model, x[:3])


def test_a_dict_goes_by_name_in_recipes(made, tmp_path):
    model, arrays, _, _ = made
    model.save(tmp_path / "net.keras")
    recipe = TrainingRecipe(
        model={"file": str(tmp_path / "net.keras")}, epochs=1, batch_size=20, precision="w6a6"
    )
    y, found = np.arange(40) % 3, []
    forms = (arrays, [arrays["zeta"], arrays["alpha"]])
    for number, data in enumerate(forms):
        result = train_recipe(recipe, (data, y), (data, y), tmp_path / str(number))
        found.append(result["epochs"][0]["loss"])
    assert found[0] == found[1]
    with pytest.raises(DataError, match="expected zeta, alpha. Missing: alpha"):
        train_recipe(recipe, ({"zeta": arrays["zeta"]}, y), None, tmp_path / "wrong")


def test_a_model_built_with_a_dict_takes_its_keys(made):
    _, arrays, _, _ = made
    z, a = keras.Input((6,), name="zeta"), keras.Input((6,), name="alpha")
    model = randomize(keras.Model({"x1": z, "x0": a}, layers.Dense(2)(layers.Add()([z, a]))))
    by_key = tfxp.measure_model(model, {"x0": arrays["alpha"], "x1": arrays["zeta"]})
    by_name = tfxp.measure_model(model, arrays)
    assert by_key.to_dict() == by_name.to_dict()
    assert by_name["zeta"].activations.max == arrays["zeta"].max()


def test_searches_take_dicts(made):
    model, arrays, _, _ = made
    data = ModelData.of((arrays, np.arange(40) % 3), model.input_names)
    assert np.array_equal(data.x[0], arrays["zeta"])


@pytest.mark.parametrize("layer", [slow(layers.LSTM), layers.SimpleRNN])
def test_stateful_layers_of_a_fixed_batch(layer, rng):
    """Whole batches only, each from fresh state, whatever ran before."""
    inputs = keras.Input(batch_shape=(4, 5, 3), name="x")
    y = layers.Dense(2, name="d")(layer(6, stateful=True, name="r")(inputs))
    model = randomize(keras.Model(inputs, y))
    x = rng.normal(size=(10, 5, 3)).astype(np.float32)
    model.reset_states()
    first = model.predict(x[:4], verbose=0)
    model.reset_states()
    second = model.predict(x[4:8], verbose=0)
    stats = tfxp.measure_model(model, x)
    assert stats.samples == 8
    assert stats["d"].activations.max == max(first.max(), second.max())
    stream = tf.data.Dataset.from_tensor_slices(x).batch(3)
    assert tfxp.measure_model(model, stream).to_dict() == stats.to_dict()
    qmodel = tfxp.quantize_model(model, "w8a8", stats)
    found = [tfxp.measure_sqnr(model, qmodel, x)["d"].output_db for _ in range(2)]
    assert found[0] == found[1] == tfxp.measure_model(qmodel, x)["d"].sqnr["activations"] > 20
    report = tfxp.calibrate_model(qmodel, stream)
    assert report["before"] >= report["after_formats"] >= report["after_bias"]
    with pytest.raises(DataError, match="fewer than 4 samples"):
        tfxp.measure_model(model, x[:3])


def test_retracing_is_not_the_users_business(made, caplog):
    """Many functions of tfxp are traced; a user's own that is traced often still says so."""
    import logging

    _, arrays, _, qmodel = made
    logger = logging.getLogger("tensorflow")
    caplog.set_level(logging.WARNING, "tensorflow")  # tools silence it in this process
    logger.addHandler(caplog.handler)
    for size in range(20, 26):
        tfxp.calibrate_model(
            qmodel,
            {name: value[:size] for name, value in arrays.items()},
            refine_formats=False, correct_bias=False,
        )  # fmt: skip
    assert not [r for r in caplog.records if "retracing" in r.getMessage()]
    own = tf.function(lambda x: x + 1)
    for size in range(1, 12):
        own(tf.zeros([size]))
    logger.removeHandler(caplog.handler)
    assert [r for r in caplog.records if "retracing" in r.getMessage()]
