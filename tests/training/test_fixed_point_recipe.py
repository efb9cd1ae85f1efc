"""Recipes whose precision is a training map: what is built, trained, resumed and refused."""

import dataclasses
import json

import numpy as np
import pytest

import tfxp
from tfxp.data import Dataset
from tfxp.errors import ConfigError
from tfxp.keras import keras
from tfxp.precision import LayerPrecision, PrecisionMap
from tfxp.training import FixedPointSGD, TrainingGrid, TrainingRecipe, build_network, train_recipe
from tfxp.training.recipes.recipe_precision import is_training_map, training_variant

RULE = LayerPrecision("Q0.9", "UQ1.7", weight_gradients="Q0.12",
                      activation_gradients="Q-2.14", accumulators="Q-10.20")  # fmt: skip
MAP = PrecisionMap(
    RULE,
    {
        "@inputs": LayerPrecision(activations="UQ0.8"),
        "dense1": dataclasses.replace(RULE, activations="float"),
    },
    "half_away",
)
SETTINGS = {"width": 0.1, "relu_max": 2.0, "classes": 3}


@pytest.fixture
def path(tmp_path):
    MAP.save(tmp_path / "map.json")
    return str(tmp_path / "map.json")


def recipe(precision, **changes):
    fields = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.0625, "schedule": "constant",
              "epochs": 2, "batch_size": 8, **changes}  # fmt: skip
    return TrainingRecipe({"name": "lenet", "settings": SETTINGS}, precision=precision, **fields)


def data():
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (24, 28, 28, 1)).astype(np.uint8)
    return Dataset(images, np.arange(24) % 3, "noise")


@pytest.mark.slow
def test_trained_in_fixed_point_and_resumed_exactly(path, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    asked = recipe(path, input_scale=2.0**-8, batch_size=8)
    first = train_recipe(asked, data(), data(), whole, tensorboard=False)
    assert (whole / "fixed_point.jsonl").exists()
    stop = _StopAfter(1)
    with pytest.raises(KeyboardInterrupt):
        train_recipe(asked, data(), data(), parts, tensorboard=False, callbacks=[stop])
    second = train_recipe(asked, data(), data(), parts, tensorboard=False)
    losses = [[row["loss"] for row in result["epochs"]] for result in (first, second)]
    assert losses[0] == losses[1]
    models = [keras.models.load_model(folder / "model.keras") for folder in (whole, parts)]
    pairs = zip(*(model.get_weights() for model in models), strict=True)
    assert all((a == b).all() for a, b in pairs)
    assert isinstance(models[0].optimizer, FixedPointSGD)
    kernel = models[0].get_layer("dense1").layer.kernel.numpy() * 2**9
    assert (kernel == np.round(kernel)).all()
    assert str(tfxp.precision_of(models[0]).layers["conv0"].activation_gradients) == "Q-2.14"


class _StopAfter(keras.callbacks.Callback):
    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epochs:
            raise KeyboardInterrupt


def test_float_kernels_are_clipped_where_it_is_asked_for(path):
    """The reference of a training in fixed point has weights of the same range."""
    held = build_network(recipe(None, clip_weights="all"), data().x)
    free = build_network(recipe(None, clip_weights=True), data().x)
    for model, bound in ((held, 1.0), (free, 9.0)):
        model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
        for layer in model.layers:
            if hasattr(layer, "kernel"):
                layer.kernel.assign(9 * np.ones_like(layer.kernel))
        model.train_on_batch(np.zeros((2, 28, 28, 1), np.float32), np.array([0, 1]))
        largest = [np.abs(v).max() for v in model.trainable_variables if "kernel" in v.name]
        assert max(largest) == bound
    fixed = build_network(recipe(path, clip_weights="all", input_scale=2.0**-8), data().x)
    assert np.abs(fixed.get_layer("conv0").layer.kernel).max() <= 1
    with pytest.raises(ConfigError, match="clip_weights: got 'some'; expected true, false or"):
        recipe(None, clip_weights="some")


def test_variants_of_a_map(path):
    assert is_training_map(MAP)
    assert not is_training_map(PrecisionMap.uniform(4, 4))
    assert training_variant({"training_map": path}) == MAP
    fewer = training_variant({"training_map": path, "perturb": -1, "tensors": ["weights"]})
    assert str(fewer.default.weights) == "Q0.8"
    assert str(fewer.default.accumulators) == "Q-9.20"
    assert training_variant({"training_map": path, "bits": 8}).default.activations.bits == 8
    shadow = training_variant({"training_map": path, "float": ["accumulators"]})
    assert shadow.default.accumulators == "float"


def test_backward_settings_reach_the_model(path):
    wanted = {"training_map": path, "float": ["accumulators"]}
    backward = {"gradient_rounding": "stochastic", "activation_saturation": "pass"}
    model = build_network(recipe(wanted, backward=backward), np.zeros((1, 28, 28, 1)))
    config = model.get_layer("conv0_relu").quantize_config
    assert config.gradient_quantizer.rounding == "stochastic"
    assert config.output_quantizer.saturation_gradient == "pass"


def test_shipped_grid_and_maps():
    from tfxp.files import configs_folder

    folder = configs_folder()
    grid = TrainingGrid.load(folder / "train" / "grid_sakr_mnist.json")
    assert len(grid.runs()) == 2 * len(grid.rows)
    for row in grid.rows.values():
        if "precision" in row:
            assert is_training_map(training_variant(row["precision"]))
    text = json.dumps(grid.rows)
    for what in ("perturb", '"bits": 8', "stochastic"):
        assert what in text


def test_what_cannot_be(path):
    blank = np.zeros((1, 28, 28, 1))
    with pytest.raises(ConfigError, match="at most one of perturb"):
        build_network(recipe({"training_map": path, "perturb": 1, "bits": 8}), blank)
    with pytest.raises(ConfigError, match="settings file: got 'nowhere.json'"):
        build_network(recipe({"training_map": "nowhere.json"}), blank)
    with pytest.raises(ConfigError, match="backward: got"):
        build_network(recipe(path, backward={"rounding": "half_up"}), blank)
    with pytest.raises(ConfigError, match="backward: got 3"):
        recipe(path, backward=3)
