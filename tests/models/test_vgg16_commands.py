"""What a reader with ImageNet's weights would run, on random ones in a narrow VGG16."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from tests.docs_commands import commands
from tfxp.keras import keras, layers
from tfxp.precision import PrecisionMap
from tfxp.quantization import load_model

PAGE = Path(__file__).parents[2] / "docs/assign.md"


def narrow_vgg16():
    """VGG16's layers under Keras's names with 4 filters, for 32 x 32 images and 5 classes."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((32, 32, 3), name="input_1")
    for block, repeats in enumerate((2, 2, 3, 3, 3), start=1):
        for index in range(1, repeats + 1):
            x = layers.Conv2D(4, 3, padding="same", activation="relu",
                              name=f"block{block}_conv{index}")(x)  # fmt: skip
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dense(6, activation="relu", name=name)(x)
    return keras.Model(inputs, layers.Dense(5, activation="softmax", name="predictions")(x))


@pytest.mark.slow
def test_the_commands_run_and_sixteen_bits_decide_as_float_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = commands(PAGE.read_text(encoding="utf-8"))
    run = [one for one in found if "--model=vgg16.h5" in one.words]
    assert [one.tool for one in run] == [
        "quantize_model",
        "quantize_model",
        "assign_precision",
        "estimate_cost",
    ]
    model = narrow_vgg16()
    model.save("vgg16.h5")
    x = np.random.default_rng(1).integers(-120, 130, (64, 32, 32, 3)).astype(np.float32)
    decided = model.predict(x / np.float32(255), verbose=0).argmax(-1)
    for name in ("calibration", "train", "val"):
        np.savez(f"imagenet_{name}.npz", x=x, y=decided)
    for one in run:
        with pytest.raises(SystemExit) as done:
            importlib.import_module(f"tools.{one.tool}").run([one.tool, *one.arguments])
        assert not done.value.code, capsys.readouterr().err
    both = load_model("vgg16_w16.keras").predict(x / np.float32(255), verbose=0).argmax(-1)
    assert (both == decided).mean() > 0.9
    own = PrecisionMap.load("vgg16_own.json").layers["block1_conv1"]
    assert own.activations.bits == 16 and own.placement == "pre_activation"
    assert json.dumps(capsys.readouterr().out).count("zeros skipped") == 1
