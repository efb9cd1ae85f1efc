"""Any figure of merit: NumPy's and scikit-learn's answers are the oracle."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

import tfxp
from tfxp.data import Batch
from tfxp.errors import ConfigError, DataError
from tfxp.keras import keras, layers, tf
from tfxp.measure import evaluate_model, make_scorer


def added(scorer, outputs, y, inputs=None, size=7):
    scorer.reset()
    for start in range(0, len(y), size):
        rows = slice(start, start + size)
        x = np.zeros((len(y), 1)) if inputs is None else inputs
        scorer.add([outputs[rows]], Batch([x[rows]], y[rows]))
    return scorer.value()


@pytest.fixture
def decisions(rng):
    y = rng.integers(0, 2, 50)
    return np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0, 1)[:, None].astype(np.float32), y


def test_figures_of_keras(decisions):
    outputs, y = decisions
    wanted = roc_auc_score(y, outputs[:, 0])
    scorer = make_scorer(keras.metrics.AUC(num_thresholds=2000))
    assert abs(added(scorer, outputs, y) - wanted) < 5e-3 and scorer.higher_is_better
    logits = np.log(outputs / (1 - outputs + 1e-6) + 1e-6)
    assert abs(added(make_scorer("auc"), logits, y) - wanted) < 0.02
    error = added(make_scorer("MeanAbsoluteError"), outputs, y)
    np.testing.assert_allclose(error, np.abs(outputs[:, 0] - y).mean(), rtol=1e-5)
    assert not make_scorer("root_mean_squared_error").higher_is_better


def test_class_numbers_become_rows(rng):
    y, outputs = rng.integers(0, 3, 40), rng.normal(size=(40, 3)).astype(np.float32)
    wanted = f1_score(y, outputs.argmax(1), average="macro")
    assert added(make_scorer("F1Score"), outputs, y) == pytest.approx(wanted, abs=1e-6)
    sparse = added(make_scorer("sparse_categorical_accuracy"), outputs, y)
    assert sparse == pytest.approx(np.mean(outputs.argmax(1) == y))


def test_functions_see_everything(rng):
    y, outputs = rng.normal(size=20), rng.normal(size=(20, 1))
    scorer = make_scorer(lambda found, wanted: np.median(found[:, 0] - wanted), direction="min")
    assert added(scorer, outputs, y) == np.median(outputs[:, 0] - y)
    inputs, marks = rng.normal(size=(20, 4)), np.arange(20) % 2
    rebuilt = inputs + marks[:, None] * rng.normal(size=(20, 4))
    wanted = roc_auc_score(marks, ((rebuilt - inputs) ** 2).mean(1))
    assert added(make_scorer("anomaly_auc"), rebuilt, marks, inputs) == wanted


def test_several_outputs(rng):
    outputs = [rng.normal(size=(6, 3)), rng.normal(size=(6, 1))]
    y = {"kind": rng.integers(0, 3, 6), "size": rng.normal(size=6)}
    scorer = make_scorer({"size": "mse"}, ["kind", "size"])
    scorer.add(outputs, Batch([np.zeros((6, 1))], y))
    assert scorer.value() == pytest.approx(np.mean((outputs[1][:, 0] - y["size"]) ** 2))
    both = make_scorer(lambda found, wanted: len(found) + len(wanted), ["kind", "size"], "max")
    both.add(outputs, Batch([np.zeros((6, 1))], y))
    assert both.value() == 4
    with pytest.raises(ConfigError, match="some are better high and some low"):
        make_scorer({"kind": "accuracy", "size": "mse"}, ["kind", "size"]).add(
            outputs, Batch([np.zeros((6, 1))], y)
        )


def test_bad_figures(decisions):
    outputs, y = decisions
    for arguments, message in (
        (("acuracy",), "Did you mean 'accuracy'"),
        ((3,), "expected a name, a Keras metric or a function"),
        ((len,), "without a direction"),
        ((keras.metrics.Mean(),), "without a direction"),
        (("auc", ["y"], "up"), "expected max or min"),
        (({"z": "auc"}, ["y"]), "expected outputs among y"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_scorer(*arguments)
    with pytest.raises(DataError, match="got nan; expected a finite number"):
        added(make_scorer(lambda a, b: float("nan"), direction="max"), outputs, y)
    with pytest.raises(DataError, match=r"got \[0\]; expected 0 and 1"):
        added(make_scorer("anomaly_auc"), outputs, y * 0, outputs)


def test_models_on_streams(rng):
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(3)(x))
    inputs, y = rng.normal(size=(300, 4)).astype(np.float32), rng.integers(0, 3, 300)
    wanted = np.mean(model.predict(inputs, verbose=0).argmax(1) == y)
    stream = tf.data.Dataset.from_tensor_slices((inputs, y))
    assert evaluate_model(model, (inputs, y)) == evaluate_model(model, stream) == wanted
    y[7] = 3
    with pytest.raises(DataError, match=r"sample 7 .*got class 3; expected 0 … 2"):
        evaluate_model(model, tfxp.open_data(stream_of(inputs, y), {x.name: (4,)}))


def stream_of(inputs, y):
    return tf.data.Dataset.from_tensor_slices((inputs, y))
