"""The tools on a network of two inputs, one of them words by number; and what users get wrong."""

import json
import re

import numpy as np
import pytest

from tests.test_pipeline import run

SAMPLES = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """float.keras and data.npz: random answers, so that nothing needs a training."""
    from tests.cases import randomize
    from tfxp.keras import keras, layers

    folder = tmp_path_factory.mktemp("several")
    image, words = keras.Input((6, 6, 1), name="image"), keras.Input((7,), name="words")
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu", name="conv")(image))
    y = layers.Conv1D(4, 3, activation="relu")(layers.Embedding(20, 5, name="table")(words))
    y = layers.GlobalAveragePooling1D()(y)
    answer = layers.Dense(3, activation="softmax", name="answer")(layers.Concatenate()([x, y]))
    model = randomize(keras.Model([image, words], answer))
    model.save(folder / "float.keras")
    rng = np.random.default_rng(4)
    arrays = {
        "image": rng.normal(size=(SAMPLES, 6, 6)).astype(np.float32),
        "words": rng.integers(0, 20, (SAMPLES, 7)),
        "y": rng.integers(0, 3, SAMPLES),
    }
    np.savez(folder / "data.npz", **arrays)
    return folder


def test_from_float_to_a_verified_file(folder, tmp_path):
    data, stats, model, file = (
        folder / "data.npz", *(tmp_path / name for name in ("stats.json", "q.keras", "q.tflite"))
    )  # fmt: skip
    figures = {name: tmp_path / f"{name}.json" for name in ("quantize", "export", "run", "compare")}
    flags = {"model": folder / "float.keras", "data": data}
    assert run("measure_model", **flags, output=stats) == 0
    measured = {layer["name"] for layer in json.loads(stats.read_text())["layers"]}
    assert measured >= {"image", "conv", "table", "answer"}
    quantize = {"precision": "w6a6", "eval_data": data, "output": model}
    assert run("quantize_model", **flags, **quantize, json=figures["quantize"]) == 0
    assert run("export_tflite", model=model, output=file, verify_data=data,
               json=figures["export"]) == 0  # fmt: skip
    exported = json.loads(figures["export"].read_text())
    assert exported["mismatches_interpreter"] == exported["mismatches_litert"] == 0
    assert exported["elements"] == 3 * SAMPLES
    results = []
    for engine in ("fast", "litert"):
        assert run("run_tflite", model=file, data=data, engine=engine, json=figures["run"]) == 0
        results.append(json.loads(figures["run"].read_text())["accuracy"])
    kept = json.loads(figures["quantize"].read_text())["accuracy"]
    assert results == pytest.approx([kept["calibrated"]] * 2)
    assert run("compare_models", model=model, data=data, json=figures["compare"]) == 0
    assert run("compare_models", model=model, against=file) == 0  # random codes, indices in range
    found = json.loads(figures["compare"].read_text())
    assert all(not row["first"] for row in found["comparisons"])


@pytest.mark.parametrize(
    ("changes", "flags", "message"),
    [
        ({"words": None}, {}, r"arrays of .*: got image, y; expected image, words or image_train,"),
        ({"words": np.zeros((SAMPLES, 9))}, {}, r"shape of words of .*: got \(9,\) a sample"),
        ({"words": np.zeros((5, 7)), "y": None}, {}, r"got 60 of image of .*, 5 of words of"),
        ({"image": np.full((SAMPLES, 6, 6), np.nan)}, {}, r"x of image of .*: got 2160 values"),
        ({}, {"input_scale": "1/255"}, r"for 2 inputs; expected neither. Scale the arrays"),
        ({}, {"split": "test"}, r"expected image_test, words_test. Leave the split away"),
    ],
    ids=["name", "shape", "lengths", "nan", "scale", "split"],
)
def test_bad_input_is_one_sentence(folder, tmp_path, capsys, changes, flags, message):
    arrays = {**np.load(folder / "data.npz"), **changes}
    np.savez(tmp_path / "bad.npz", **{k: v for k, v in arrays.items() if v is not None})
    output = tmp_path / "stats.json"
    code = run("measure_model", model=folder / "float.keras", data=tmp_path / "bad.npz",
               output=output, **flags)  # fmt: skip
    text = capsys.readouterr().err.strip()
    assert code == 1 and "\n" not in text and re.search(message, text), text
    assert not output.exists()


def test_fine_tuning_is_for_one_input(folder, tmp_path, capsys):
    data = folder / "data.npz"
    code = run("quantize_model", model=folder / "float.keras", data=data, train_data=data,
               output=tmp_path / "q.keras")  # fmt: skip
    assert code == 1 and "a model of 2 inputs" in capsys.readouterr().err
