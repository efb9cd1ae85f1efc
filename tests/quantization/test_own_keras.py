"""Objects of Keras 3 handed to a quantized model get one sentence, not a missing attribute."""

import numpy as np
import pytest

import tfxp
from tfxp.errors import ConfigError, ModelError
from tfxp.keras import keras, keras3, layers
from tfxp.precision import PrecisionMap

K = keras3(load=True)
FORMATS = PrecisionMap.uniform("Q0.3", "Q2.5")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    model = keras.Sequential([layers.Dense(2, input_shape=(3,), name="d")])
    qmodel = tfxp.quantize_model(model, FORMATS)
    path = tmp_path_factory.mktemp("own") / "q.keras"
    qmodel.save(path)
    return {"made": qmodel, "loaded": tfxp.load_model(path)}


GIVEN = {
    "optimizer": (K.optimizers.Adam, "Adam"),
    "loss": (K.losses.MeanSquaredError, "MeanSquaredError"),
    "metrics": (lambda: [K.metrics.MeanAbsoluteError()], "MeanAbsoluteError"),
    "weighted_metrics": (lambda: {"d": [K.metrics.Mean]}, "Mean"),
}


@pytest.mark.parametrize("origin", ["made", "loaded"])
@pytest.mark.parametrize("name", GIVEN)
def test_compile_names_what_is_of_keras_3(quantized, origin, name):
    make, kind = GIVEN[name]
    with pytest.raises(ConfigError) as caught:
        quantized[origin].compile(**{"optimizer": "adam", "loss": "mse", name: make()})
    text = str(caught.value)
    assert text.startswith(f"{name} of compile: got {kind} of Keras 3; expected one of tf_keras")
    assert "\n" not in text


def test_positions_and_functions_count_as_well(quantized):
    with pytest.raises(ConfigError, match="loss of compile: got function of Keras 3"):
        quantized["made"].compile("adam", K.losses.mean_squared_error)


def test_callbacks(quantized):
    x, y = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
    model = quantized["made"]
    model.compile("adam", "mse", metrics=["mae", keras.metrics.MeanSquaredError()])
    with pytest.raises(ConfigError, match="callbacks of fit: got EarlyStopping of Keras 3"):
        model.fit(x, y, callbacks=[K.callbacks.EarlyStopping()])
    with pytest.raises(ConfigError, match="callbacks of evaluate: got Callback of Keras 3"):
        model.evaluate(x, y, callbacks=[K.callbacks.Callback()])
    assert model.fit(x, y, callbacks=[keras.callbacks.TerminateOnNaN()], verbose=0).epoch == [0]


def test_prepare_training_and_fine_tune(quantized):
    model = keras.Sequential([layers.Dense(2, input_shape=(3,), name="d")])
    with pytest.raises(ConfigError, match="loss of compile: got Huber of Keras 3"):
        tfxp.prepare_training(model, FORMATS, loss=K.losses.Huber())
    theirs = K.Sequential([K.Input((3,)), K.layers.Dense(2)], name="theirs")
    with pytest.raises(ModelError, match="model 'theirs' of fine_tune: got a model of Keras 3"):
        tfxp.fine_tune(theirs, np.ones((80, 3), np.float32))
