"""Calibration brings the output nearer to the float network's, and says by how much."""

import warnings

import numpy as np
import pytest

import tfxp
from tests.cases import built, inputs_of
from tfxp.errors import DataError, TrainingWarning
from tfxp.keras import keras, layers, tf
from tfxp.quantization.read_network import plan_of
from tfxp.training import calibrate_model
from tfxp.training.repair import calibrate, calibration_budget


@pytest.fixture(scope="module")
def net(request):
    """A case, its inputs and statistics: "everything" where all kinds of layers count."""
    model = built(getattr(request, "param", "residual"))
    x = inputs_of(model, 32)
    return model, x, tfxp.measure_model(model, x)


def error(qmodel, model, x):
    """Relative squared error of the outputs, computed apart from calibrate_model."""
    first = lambda value: value[0] if isinstance(value, list) else value  # noqa: E731
    want = first(model.predict(x, verbose=0)).astype(np.float64)
    have = first(qmodel.predict(x, verbose=0)).astype(np.float64)
    return ((have - want) ** 2).sum()


@pytest.mark.parametrize(
    ("net", "precision", "bits"),
    [("everything", "w4a4", 4), ("residual", "w6a6c", 6)],
    indirect=["net"],
)
def test_the_output_comes_nearer_and_all_else_stays(net, precision, bits, tmp_path):
    """Word lengths, and the agreement of every engine."""
    model, x, stats = net
    qmodel = tfxp.quantize_model(model, precision, stats)
    before = error(qmodel, model, x)
    result = calibrate_model(qmodel, x)
    assert result["after_bias"] <= result["after_formats"] <= result["before"]
    assert result["after_bias"] < 0.9 * result["before"]
    assert error(qmodel, model, x) < before
    selected = plan_of(qmodel).selected()
    for name, rule in tfxp.precision_of(qmodel).layers.items():
        kept = any(name in selected[key] for key in ("@inputs", "@outputs", "@means"))
        assert rule.activations.bits == (8 if kept else bits), name
        weights = rule.weights if isinstance(rule.weights, tuple) else (rule.weights,)
        assert {fmt.bits for fmt in weights if fmt is not None} <= {bits}, name
    report = tfxp.export_tflite(qmodel, tmp_path / "net.tflite", verify=x)
    assert report.verification.exact or report.notes


def test_steps_can_be_left_out(net):
    model, x, stats = net
    qmodel = tfxp.quantize_model(model, "w4a4", stats)
    weights = [w.copy() for w in qmodel.get_weights()]
    result = calibrate_model(qmodel, x, refine_formats=False, correct_bias=False)
    assert len(set(result.values())) == 1
    assert all(np.array_equal(a, b) for a, b in zip(weights, qmodel.get_weights(), strict=True))


def test_empty_data(net):
    model, x, stats = net
    qmodel = tfxp.quantize_model(model, "w8a8", stats)
    empty = [part[:0] for part in x] if isinstance(x, list) else x[:0]
    with pytest.raises(DataError, match="got no samples; expected at least one"):
        calibrate_model(qmodel, empty)


@pytest.mark.parametrize("net", ["depthwise"], indirect=True)
def test_a_step_that_harms_is_undone_and_said(net):
    """Four samples to move by say nothing of the 28 that are held back."""
    model, x, stats = net
    qmodel = tfxp.quantize_model(model, "w8a8", stats)
    before = qmodel.get_weights()
    worse = {"formats": 0, "biases": 0}
    for seed in range(4):
        qmodel.set_weights(before)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            result = calibrate_model(qmodel, x, held_back=0.95, seed=seed)
        assert result["after_bias"] <= result["before"] * 1.2
        if result["after_bias"] == result["before"]:
            same = zip(before, qmodel.get_weights(), strict=True)
            assert all(np.array_equal(a, b) for a, b in same)
            texts = [str(item.message) for item in said if item.category is TrainingWarning]
            assert len(texts) <= 1
            worse = {what: n + any(what in text for text in texts) for what, n in worse.items()}
    assert sum(worse.values()) > 0


def test_ctrl_c_leaves_no_trial_behind(net):
    model, x, stats = net
    qmodel = tfxp.quantize_model(model, "w4a4", stats)

    def stop(done, total):
        raise KeyboardInterrupt

    result = calibrate_model(qmodel, x, progress=stop)
    assert result["after_bias"] == result["after_formats"] <= result["before"]
    again = calibrate_model(qmodel, x, refine_formats=False, correct_bias=False)
    assert again["before"] == result["after_bias"]


def test_a_stream_is_held_by_its_cost(monkeypatch):
    """A network whose layers give more values has fewer samples held of a stream."""
    x = keras.Input((64, 64, 1))
    t = layers.Conv2D(2, 3, padding="same")(x)
    model = keras.Model(x, layers.GlobalAveragePooling2D()(t))
    images = np.random.default_rng(0).normal(size=(40, 64, 64, 1)).astype(np.float32)
    data = tfxp.open_data(tf.data.Dataset.from_tensor_slices(images), {"x": (64, 64, 1)})
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, data))
    held = []
    monkeypatch.setattr(calibration_budget, "_LEAST", 8)
    monkeypatch.setattr(
        calibration_budget, "_VALUES", 20 * 3 * 64 * 64
    )  # image and convolution, 20 times
    monkeypatch.setattr(
        calibrate, "_split", lambda n, *_: held.append(n) or (np.arange(n), np.arange(0))
    )
    steps = []
    calibrate_model(qmodel, data, progress=lambda done, total, note: steps.append((done, total)))
    assert 8 < held[0] <= 20  # neither the least nor all 40
    assert all(0 < done <= total for done, total in steps)
