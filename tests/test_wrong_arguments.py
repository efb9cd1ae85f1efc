"""An argument of another type: one sentence with its name, its type and what it may be."""

import numpy as np
import pytest

import tfxp
from tfxp.keras import keras, layers

X = np.linspace(-1, 1, 96, dtype=np.float32).reshape(16, 6)


@pytest.fixture(scope="module")
def models():
    """A model, its statistics, and the quantized model."""
    model = keras.Sequential([layers.Dense(3, activation="relu", input_shape=(6,))])
    stats = tfxp.measure_model(model, X)
    return model, stats, tfxp.quantize_model(model, "w8a8", stats)


WRONG = {
    "stats: got ndarray": lambda model, stats, qmodel: tfxp.quantize_model(model, "w8a8", X),
    "precision: got int": lambda model, stats, qmodel: tfxp.quantize_model(model, 8, stats),
    "precision: got dict": lambda model, stats, qmodel: tfxp.set_precision(qmodel, {}),
    "settings: got dict": lambda model, stats, qmodel: tfxp.fine_tune(qmodel, X, settings={}),
    "path: got NoneType": lambda model, stats, qmodel: tfxp.export_tflite(qmodel, None),
    "model: got NoneType": lambda model, stats, qmodel: tfxp.load_model(None),
    "model file: got Sequential": lambda model, stats, qmodel: tfxp.Interpreter(model),
    "model file: got int": lambda model, stats, qmodel: tfxp.read_tflite(3),
    "data: got ModelStats": lambda model, stats, qmodel: tfxp.calibrate_model(qmodel, stats),
}


@pytest.mark.parametrize("said", WRONG)
def test_an_argument_of_another_type_is_named(said, models):
    with pytest.raises(tfxp.TfxpError, match=f"{said}; expected "):
        WRONG[said](*models)
