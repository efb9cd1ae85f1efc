"""A recipe on a stream, on two replicas: the losses of one device."""

import json

import numpy as np
import pytest

from tests.devices.replicas import Pair
from tests.forked import Forked
from tfxp.keras import tf
from tfxp.streams.tf_dataset import tf_dataset
from tfxp.training import TrainingRecipe, train_recipe


def compare(folder):
    """Losses on one device and on two replicas, of samples that tf.data reads."""
    pair, found = Pair(folder), {}
    pair.models["one"].save(folder / "net.keras")
    recipe = TrainingRecipe(
        {"file": str(folder / "net.keras")}, epochs=2, batch_size=14, learning_rate=0.01
    )
    rows = tf.data.Dataset.from_tensor_slices((pair.x, pair.y))
    source = tf_dataset(rows, {"image": (6, 6, 1)})
    strategies = {"one": tf.distribute.get_strategy(), "two": pair.strategy}
    for name, strategy in strategies.items():
        with strategy.scope():
            result = train_recipe(recipe, source, source, folder / name)
        found[name] = [[row["loss"], row["val_loss"]] for row in result["epochs"]]
    (folder / "found.json").write_text(json.dumps(found))


@pytest.mark.slow
def test_losses_are_those_of_one_device(tmp_path):
    Forked(compare, [tmp_path], tmp_path / "log").finish(600)
    found = json.loads((tmp_path / "found.json").read_text())
    assert np.shape(found["one"]) == (2, 2)
    assert np.allclose(found["one"], found["two"], rtol=1e-4, atol=0)
