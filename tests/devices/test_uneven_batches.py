"""Batches that two replicas cannot share evenly: the steps of one device, or one sentence."""

import json

import numpy as np
import pytest

from tests.devices.replicas import Pair, refusal
from tests.forked import Forked
from tfxp.data import Dataset
from tfxp.files import plain
from tfxp.training import (
    FineTuneSettings,
    TrainingRecipe,
    fine_tune,
    train_recipe,
)

SIZES = [15, 3, 1]


def compare(folder):
    """Losses by batch size on one device and on two replicas; what is refused."""
    pair = Pair(folder)

    def tuned(name, size):
        settings = FineTuneSettings(1, batch_size=size, teacher_weight=0.5, held_back=0.25)
        model = pair.models[name]
        return list(fine_tune(pair.quantized(name), pair.x, pair.y, settings, teacher=model))

    def by_recipe(size):
        recipe = TrainingRecipe({"file": str(folder / "net.keras")}, batch_size=size)
        with pair.strategy.scope():
            train_recipe(recipe, Dataset(pair.x, pair.y), None, folder / f"recipe{size}")

    pair.models["one"].save(folder / "net.keras")
    found = {
        "tuned": {size: {n: tuned(n, size) for n in pair.models} for size in SIZES[:2]},
        "refused": [refusal(lambda: tuned("two", 1)), *(
            refusal(lambda size=size: by_recipe(size)) for size in SIZES
        )],
    }  # fmt: skip
    (folder / "found.json").write_text(json.dumps(plain(found)))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uneven")
    Forked(compare, [folder], folder / "log").finish(900)
    return json.loads((folder / "found.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES[:2])
def test_fine_tuning_weighs_every_sample_alike(found, size):
    one, two = found["tuned"][str(size)]["one"], found["tuned"][str(size)]["two"]
    assert np.isfinite(two).all() and np.allclose(one, two, rtol=1e-5, atol=0)


@pytest.mark.slow
def test_what_leaves_a_replica_without_samples_is_refused(found):
    tuned, *recipes = found["refused"]
    assert tuned.startswith("batch_size: got 1 for 2 replicas; expected at least 2, a sample")
    for size, text in zip(SIZES, recipes, strict=True):
        assert text.startswith(f"batch_size: got {size} for 2 replicas; expected a multiple of 2.")
