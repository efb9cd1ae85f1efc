"""Recipes of networks that answer otherwise than by one class a sample."""

import numpy as np
import pytest

import tfxp
from tfxp.data import Dataset
from tfxp.data.metrics import evaluate_metric
from tfxp.data.paired_test import unpack_hits
from tfxp.errors import ConfigError, TfxpError
from tfxp.keras import keras, layers
from tfxp.training import TrainingRecipe, train_recipe

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4, 4, 2)).astype(np.float32)
SIDE = X.mean((1, 2))[:, :1]
CASES = {
    "binary": ([layers.Flatten, (layers.Dense, 1, "sigmoid")], (SIDE > 0) * 1, "binary_accuracy"),
    "logit": ([layers.Flatten, (layers.Dense, 1)], (SIDE[:, 0] > 0), "binary_accuracy"),
    "real": ([layers.Flatten, (layers.Dense, 1)], 3 * SIDE[:, 0], "mae"),
    "pixels": ([(layers.Conv2D, 2, 1)], (X[..., 0] > 0) * 1, "accuracy"),
    "mask": ([(layers.Conv2D, 1, 1, 1, "same", None, 1, 1, "sigmoid")], X[..., :1] > 0,
             "binary_accuracy"),
}  # fmt: skip


def recipe_of(folder, steps, **changes):
    keras.utils.set_random_seed(1)
    made = [s[0](*s[1:]) if isinstance(s, tuple) else s() for s in steps]
    path = folder / "start.keras"
    keras.Sequential([keras.Input((4, 4, 2)), *made]).save(path)
    fields = {"batch_size": 16, "epochs": 2, "learning_rate": 0.05, "optimizer": "adam"}
    return TrainingRecipe(model={"file": str(path)}, **{**fields, **changes})


@pytest.mark.parametrize("name", CASES)
def test_answers_decide_about_loss_and_figure(name, tmp_path):
    steps, y, metric = CASES[name]
    data = Dataset(X, y)
    recipe = recipe_of(tmp_path, steps)
    result = train_recipe(recipe, data, data, tmp_path / "run", tensorboard=False)
    model = tfxp.load_model(tmp_path / "run" / "model.keras")
    outputs = model.predict(X, verbose=0)
    assert result["metric"] == metric
    assert np.isclose(result["score"], evaluate_metric(metric, outputs, data), atol=1e-5)
    first, last = (epoch["loss"] for epoch in result["epochs"])
    assert last < first
    if name in ("binary", "logit"):
        assert np.isclose(unpack_hits(result["hits"], len(y)).mean(), result["score"])
    else:
        assert result["hits"] is None and (result["accuracy"] is None) == (metric == "mae")


def test_smoothing_is_for_class_numbers(tmp_path):
    steps, y, _ = CASES["real"]
    recipe = recipe_of(tmp_path, steps, label_smoothing=0.1)
    with pytest.raises(ConfigError, match="label_smoothing: got 0.1 for answers that are no class"):
        train_recipe(recipe, Dataset(X, y), None, tmp_path / "run", tensorboard=False)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"precision": "w4b4"}, "w4b4"),
        ({"precision": {"schema": 1, "layers": {"a": {"wieghts": 4}}}}, "Did you mean 'weights'"),
        ({"precision": {"wrpn": {"wieghts": 2}}}, "Did you mean 'weights'"),
        ({"precision": "missing.json"}, "missing.json"),
        ({"model": {"name": "resnet8", "settings": {"width": "half"}}}, "width in the settings of"),
    ],
)
def test_maps_and_settings_are_checked_when_the_recipe_is_made(fields, words):
    with pytest.raises(TfxpError, match=words):
        TrainingRecipe(**{"model": {"name": "resnet8"}, **fields})
