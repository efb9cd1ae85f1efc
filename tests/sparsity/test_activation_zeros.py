"""Zeros of activations: penalties by their formulas, and trainings that pay them."""

import numpy as np
import pytest

import tfxp
from tests.cases import inputs_of, randomize
from tests.slow_cases import slow
from tests.sparsity.test_pruning import network, quantized, zeros
from tfxp.errors import ConfigError
from tfxp.keras import keras, layers
from tfxp.sparsity import ActivationZeros, regularize_activations, threshold_activations
from tfxp.training import FineTuneSettings, fine_tune


def test_penalties_by_their_formulas(rng):
    a = np.maximum(rng.normal(size=(3, 4, 5)), 0).astype(np.float32)
    a[1] = 0
    l1 = sum(np.abs(sample).sum() / 20 for sample in a)
    hoyer = sum(sample.sum() ** 2 / (20 * (sample**2).sum()) for sample in a[[0, 2]])
    assert float(ActivationZeros(0.5)(a)) == pytest.approx(0.5 * l1, rel=1e-5)
    assert float(ActivationZeros(2.0, "hoyer")(a)) == pytest.approx(2 * hoyer, rel=1e-5)
    assert float(ActivationZeros(2.0, "hoyer")(100 * a)) == pytest.approx(2 * hoyer, rel=1e-5)


def share_of_zeros(qmodel, x):
    """Over the outputs of all layers that end in a ReLU."""
    names = ["relu", "branch_relu", "up_relu"]
    tensors = [layer.output for layer in qmodel.layers if layer.name in names]
    assert tensors
    return np.mean(
        [(value == 0).mean() for value in keras.Model(qmodel.inputs, tensors).predict(x, verbose=0)]
    )


@pytest.mark.parametrize("kind", ["l1", slow("hoyer")])
def test_fine_tuning_makes_zeros_and_the_judge_lets_it(kind):
    shares = []
    for strength in (0.0, 5.0):
        qmodel, x, y = quantized("w6a6", None)
        settings = FineTuneSettings(
            3, 2e-2, batch_size=8, held_back=0, **{f"activation_{kind}": strength}
        )
        losses = fine_tune(qmodel, x, y, settings, teacher=network())
        shares.append(share_of_zeros(qmodel, x))
    assert losses.kept > 0 and shares[1] > shares[0] + 0.01


@pytest.mark.slow
def test_fine_tuning_prunes_along_the_schedule_and_keeps_no_dense_epoch():
    qmodel, x, y = quantized("w6a6", None)
    settings = FineTuneSettings(2, batch_size=8, sparsity="0.75")
    assert fine_tune(qmodel, x, y, settings, teacher=network()).kept > 0
    assert all(places.mean() >= 0.74 for places in zeros(qmodel).values())
    before = zeros(qmodel)
    fine_tune(qmodel, x, y, FineTuneSettings(1, batch_size=8), teacher=network())
    assert all(np.all(zeros(qmodel)[name][places]) for name, places in before.items())


def test_users_own_fit_pays_too_and_files_keep_it(tmp_path):
    qmodel, x, y = quantized("w6a6", None)
    assert regularize_activations(qmodel, 0.5, "l1") == ["relu", "branch_relu", "up_relu"]
    qmodel.compile("adam", "sparse_categorical_crossentropy")
    paid = qmodel.evaluate(x, y, verbose=0)
    outputs = keras.Model(
        qmodel.inputs, [qmodel.get_layer(n).output for n in ("relu", "branch_relu", "up_relu")]
    )(x)
    wanted = keras.losses.sparse_categorical_crossentropy(y, qmodel(x)).numpy().mean()
    wanted += 0.5 * sum(np.abs(a).mean() for a in outputs)
    assert paid == pytest.approx(wanted, rel=1e-4)
    qmodel.save(tmp_path / "net.keras")
    loaded = tfxp.load_model(tmp_path / "net.keras")
    loaded.compile("adam", "sparse_categorical_crossentropy")
    assert loaded.evaluate(x, y, verbose=0) == pytest.approx(paid, rel=1e-5)


def test_impossible_settings_are_named():
    with pytest.raises(ConfigError, match="Did you mean 'hoyer'"):
        ActivationZeros(1.0, "hoyr")
    with pytest.raises(ConfigError, match="strength of l1: got -1"):
        ActivationZeros(-1.0)
    with pytest.raises(ConfigError, match="activation_l1: got nan"):
        FineTuneSettings(activation_l1=float("nan"))
    with pytest.raises(ConfigError, match="expected a share"):
        FineTuneSettings(sparsity="half")
    linear = keras.Sequential([layers.Dense(2, input_shape=(3,))])
    with pytest.raises(ConfigError, match="got no ReLU"):
        regularize_activations(linear, 0.1)


def without_softmax():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="a")(x)
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="b")(x)
    y = layers.Conv2D(8, 3, padding="same", name="c")(y)
    x = layers.ReLU(name="r")(layers.Add(name="add")([x, y]))
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    return randomize(keras.Model(inputs, layers.Dense(3, name="head")(x)))


@pytest.mark.parametrize("precision", ["w8a8", "w5a5"])
def test_thresholds_keep_the_budget_and_export_exactly(precision, tmp_path):
    model = without_softmax()
    x = inputs_of(model, 64)
    qmodel = tfxp.quantize_model(model, precision, tfxp.measure_model(model, x))
    plain = [op.name for op in tfxp.export.KerasTracer(qmodel).graph.operators]
    before, formats = qmodel.predict(x, verbose=0), tfxp.precision_of(qmodel).to_dict()
    found = threshold_activations(qmodel, x, budget=0.05)
    after = qmodel.predict(x, verbose=0)
    assert list(found) == ["a_relu", "b_relu", "r"]
    assert any(each.value > 0 for each in found.values())
    for each in found.values():
        assert each.value == 0 or each.zeros_after > each.zeros_before
    error = np.mean((after - before) ** 2) / np.mean(before**2)
    assert 0 < error <= 0.05
    assert error == pytest.approx([e.error for e in found.values() if e.value][-1], rel=1e-3)
    relu = keras.Model(qmodel.inputs, qmodel.get_layer("a_relu").output).predict(x, verbose=0)
    assert found["a_relu"].zeros_after == pytest.approx((relu == 0).mean(), abs=1e-6)
    assert tfxp.precision_of(qmodel).to_dict() == formats
    report = tfxp.export_tflite(qmodel, tmp_path / "net.tflite", verify=x[:8])
    assert report.verification.exact
    assert [op.name for op in tfxp.read_tflite(tmp_path / "net.tflite").operators] == plain


def test_thresholds_by_hand():
    """One convolution, one reader: biases move by T, and by the mean that is lost."""
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 1, activation="relu", name="a"),
            layers.Conv2D(3, 1, name="b"),
        ]
    )
    x = inputs_of(randomize(model), 32)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    tap = keras.Model(qmodel.inputs, qmodel.get_layer("b").output)
    means = tap.predict(x, verbose=0).mean((0, 1, 2))
    first = [qmodel.get_layer(name).layer.bias.numpy() for name in "ab"]
    (found,) = threshold_activations(qmodel, x, budget=0.02).values()
    step = tfxp.precision_of(qmodel).layers["a"].activations.scale
    assert found.value > 0 and found.value % step == 0
    last = [qmodel.get_layer(name).layer.bias.numpy() for name in "ab"]
    np.testing.assert_allclose(last[0], first[0] - found.value, rtol=1e-6)
    np.testing.assert_allclose(tap.predict(x, verbose=0).mean((0, 1, 2)), means, atol=0.02)


def test_thresholds_refuse_what_has_none():
    linear = keras.Sequential([layers.Dense(2, input_shape=(3,))])
    x = np.ones((8, 3), np.float32)
    qmodel = tfxp.quantize_model(linear, "w8a8", tfxp.measure_model(linear, x))
    with pytest.raises(ConfigError, match="got no ReLU between layers with biases"):
        threshold_activations(qmodel, x)
    with pytest.raises(ConfigError, match="budget of thresholds: got nan"):
        threshold_activations(qmodel, x, budget=float("nan"))
