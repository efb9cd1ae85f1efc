"""Zeros of activations: penalties by their formulas, and trainings that pay them."""

import numpy as np
import pytest

import tfxp
from tests.sparsity.test_pruning import network, quantized, zeros
from tfxp.errors import ConfigError
from tfxp.keras import keras, layers
from tfxp.sparsity import ActivationZeros, regularize_activations
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


@pytest.mark.parametrize("kind", ["l1", "hoyer"])
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
