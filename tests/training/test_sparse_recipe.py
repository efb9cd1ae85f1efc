"""Recipes that make zeros: killed and resumed, they end where they would have ended."""

import numpy as np
import pytest

import tfxp
from tests.training.test_train_recipe import data, narrow, recipe_of  # noqa: F401
from tfxp.errors import ConfigError
from tfxp.sparsity.prunable import prunables
from tfxp.training import train_recipe


@pytest.mark.slow
def test_zeros_are_made_and_a_resumed_training_is_the_same(narrow, data, tmp_path):  # noqa: F811
    recipe = recipe_of(
        narrow, epochs=4, precision="w6a6", sparsity="0.5", activation_penalty={"hoyer": 0.1}
    )

    train_recipe(recipe, data, data, tmp_path / "whole")
    whole = tfxp.load_model(tmp_path / "whole" / "model.keras")
    with pytest.raises(KeyboardInterrupt):
        train_recipe(recipe, data, data, tmp_path / "parts", callbacks=[_ends_in_epoch(1)])
    train_recipe(recipe, data, data, tmp_path / "parts")
    parts = tfxp.load_model(tmp_path / "parts" / "model.keras")
    for ours, theirs in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for layer in prunables(whole).values():
        assert (layer.kernel.numpy() == 0).mean() == pytest.approx(0.5, abs=0.03)
        assert layer.mask is not None


def _ends_in_epoch(number):
    from tfxp.keras import keras

    class Ending(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if int(self.model.optimizer.iterations) >= number * self.params["steps"] + 1:
                raise KeyboardInterrupt

    return Ending()


@pytest.mark.parametrize(
    "changes",
    [{"sparsity": "half"}, {"activation_penalty": {"l2": 1.0}}, {"activation_penalty": {}},
     {"sparsity": {"schema": 3}}],
)  # fmt: skip
def test_impossible_fields_are_named(narrow, changes):  # noqa: F811
    with pytest.raises(ConfigError, match="expected"):
        recipe_of(narrow, **changes)
