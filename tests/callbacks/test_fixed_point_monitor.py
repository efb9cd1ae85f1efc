"""What the monitor says of accumulators that saturate, of clipped gradients and of NaN."""

import json
import warnings

import numpy as np
import pytest

from tfxp.callbacks import FixedPointMonitor, SaturationWarning
from tfxp.errors import ConfigError
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap
from tfxp.training import prepare_training


def ready(accumulators="Q-8.20", gradients="Q3.9", rate=0.05, loss="mse"):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            layers.Dense(4, activation="relu", input_shape=(3,), name="first"),
            layers.Dense(2, name="second"),
        ]
    )
    sound = LayerPrecision("Q0.7", "UQ2.6", weight_gradients="Q3.9",
                           activation_gradients="Q3.9", accumulators="Q-8.20")  # fmt: skip
    last = LayerPrecision("Q0.7", "float", weight_gradients=gradients,
                          activation_gradients="Q3.9", accumulators=accumulators)  # fmt: skip
    pmap = PrecisionMap(
        LayerPrecision("float", "float"), {"first": sound, "second": last}, "half_away"
    )
    return prepare_training(model, pmap, loss=loss, learning_rate=rate)


def data():
    random = np.random.default_rng(0)
    return random.normal(size=(64, 3)), random.normal(size=(64, 2))


def fit(model, monitor, epochs=2):
    x, y = data()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=[monitor])
    return [str(w.message) for w in caught if w.category is SaturationWarning]


def test_a_sound_training_is_quiet_and_logged(tmp_path):
    monitor = FixedPointMonitor(tmp_path, checkpoint=tmp_path / "weights.h5")
    model = ready()
    assert fit(model, monitor) == []
    assert monitor.alarms == {}
    lines = (tmp_path / "fixed_point.jsonl").read_text().splitlines()
    tensors = json.loads(lines[1])["tensors"]
    assert set(tensors) == {"first", "second"}
    assert tensors["first"]["accumulator_steps"] == 0
    assert "activation_gradients" in tensors["second"]
    weights = model.get_weights()
    model.load_weights(tmp_path / "weights.h5")
    pairs = zip(weights, model.get_weights(), strict=True)
    assert all((a == b).all() for a, b in pairs)


def test_accumulators_that_saturate_are_named():
    """A range of 1/512 where the weights leave up to 1/256."""
    monitor = FixedPointMonitor()
    (text,) = fit(ready(accumulators="Q-9.20"), monitor)
    assert text.startswith("epoch 1: accumulators of layer 'second' saturate on")
    assert list(monitor.alarms) == [("second", "accumulators")]


def test_clipped_gradients_are_named():
    (text,) = fit(ready(gradients="Q-5.12"), FixedPointMonitor(), epochs=1)
    assert text.startswith("epoch 1: weight_gradients of layer 'second':")
    assert "Give the tensor a wider range" in text


@pytest.mark.parametrize("how", ["nan", "explosion"])
def test_a_broken_loss_stops_and_keeps_the_checkpoint(how, tmp_path):
    path = tmp_path / "weights.h5"
    calls = keras.backend.variable(0.0)

    def loss(y, p):
        calls.assign_add(1.0)
        # Sound for an epoch of 8 steps, then not.
        factor = keras.backend.switch(calls > 8.0, np.nan if how == "nan" else 1e6, 1.0)
        return factor * keras.losses.mse(y, p)

    model, monitor = ready(loss=loss), FixedPointMonitor(checkpoint=path)
    x, y = data()
    model.fit(x, y, batch_size=8, epochs=1, verbose=0, callbacks=[monitor])
    kept = path.read_bytes()
    texts = fit(model, monitor, epochs=3)
    assert len(monitor.model.history.epoch) == 1
    assert path.read_bytes() == kept
    broken = next(text for text in texts if "the loss is" in text)
    assert str(path) in broken
    if how == "nan":
        assert "first in the weight gradient of layer 'second'" in broken
        assert np.isfinite(model.get_weights()[0]).all()


def test_limits():
    with pytest.raises(ConfigError, match="max_steps=2"):
        FixedPointMonitor(max_steps=2)
    with pytest.raises(ConfigError, match="explosion=1"):
        FixedPointMonitor(explosion=1)
