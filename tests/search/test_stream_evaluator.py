"""Scores on a stream equal those of the fast evaluator; any figure can be searched by."""

import numpy as np
import pytest

import tfxp
from tfxp.data import Dataset
from tfxp.errors import DataError
from tfxp.keras import keras, layers, tf
from tfxp.search import FastEvaluator, StreamEvaluator


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    draws = np.random.default_rng(0)
    x = draws.normal(size=(200, 6)).astype(np.float32)
    inputs = keras.Input((6,), name="x")
    model = keras.Model(inputs, layers.Dense(3)(layers.Dense(8, activation="relu")(inputs)))
    return model, x, model.predict(x, verbose=0)


def stream(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y))


@pytest.mark.parametrize("metric", ["accuracy", "mse", "mae"])
def test_scores_equal_those_of_arrays(network, metric):
    model, x, outputs = network
    y = outputs.argmax(1) if metric == "accuracy" else outputs + 0.1 * np.sin(x[:, :3])
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    fast = FastEvaluator(qmodel, Dataset(x, y), metric=metric)
    scores = [fast.evaluate(bits) for bits in ("w8a8", "w3a3")]
    streamed = StreamEvaluator(qmodel, stream(x, y), metric=metric, batch_size=64)
    assert streamed.float_score.accuracy == pytest.approx(fast.float_score.accuracy, abs=1e-6)
    for bits, score in zip(("w8a8", "w3a3"), scores, strict=True):
        found = streamed.evaluate(bits)
        assert found.complete and found.accuracy == pytest.approx(score.accuracy, abs=1e-6)
    early = streamed.evaluate("w2a2", at_least=0.999)
    assert not early.complete and early.accuracy < 0.999


def test_no_bound_no_early_stop(network):
    model, x, outputs = network
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))

    def worst(found, wanted):
        return np.abs(found - wanted).max()

    evaluator = StreamEvaluator(
        qmodel, stream(x, outputs * 1.1), metric=worst, direction="min", batch_size=64
    )
    assert evaluator.float_score.accuracy == 1.0
    score = evaluator.evaluate("w2a2", at_least=0.999)
    assert score.complete and score.accuracy < 0.9
    with pytest.raises(DataError, match="got 0 for the float network"):
        StreamEvaluator(
            qmodel, stream(x, outputs), metric=lambda *_: 0.0, direction="min", batch_size=64
        )


def test_a_search_by_auc_on_a_stream(network, tmp_path):
    model, x, outputs = network
    search = tfxp.PrecisionSearch(
        model, stream(x, outputs.argmax(1)), metric=keras.metrics.AUC(), method="random",
        max_trials=4, weights=(3, 8), activations=(3, 8), tolerance=0.02, directory=tmp_path,
        progress=False,
    )  # fmt: skip
    result = search.run()
    assert len(result.trials) == 4 and all(trial.complete for trial in result.trials)
    assert 0.9 < search.goal.baseline <= 1
    again = tfxp.PrecisionSearch(
        model, stream(x, outputs.argmax(1)), metric=keras.metrics.AUC(), method="random",
        max_trials=4, weights=(3, 8), activations=(3, 8), tolerance=0.02, directory=tmp_path,
        progress=False,
    )  # fmt: skip
    assert again.run().new_trials == 0
