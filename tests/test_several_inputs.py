"""The tools on a network of two inputs, one of them words by number; and what users get wrong."""

import json
import re

import numpy as np
import pytest

from tests.test_pipeline import run

SAMPLES = 64  # a batch of a search


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
        ({"words": np.zeros((5, 7)), "y": None}, {}, r"got 64 of image of .*, 5 of words of"),
        ({"image": np.full((SAMPLES, 6, 6), np.nan)}, {}, r"x of image of .*: got 2304 values"),
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


@pytest.mark.slow
def test_fine_tuning(folder, tmp_path):
    data, figures = folder / "data.npz", tmp_path / "figures.json"
    code = run("quantize_model", model=folder / "float.keras", data=data, train_data=data,
               epochs=2, batch_size=16, teacher_weight=0.5, calibrate="false", precision="w4a6",
               eval_data=data, output=tmp_path / "q.keras", json=figures)  # fmt: skip
    found = json.loads(figures.read_text())
    assert code == 0 and len(found["losses"]) == 2 and found["losses"][1] < found["losses"][0]
    assert set(found["accuracy"]) == {"float", "quantized", "fine-tuned"}


@pytest.mark.slow
def test_assignment(folder, tmp_path):
    data, figures, pmap = (folder / "data.npz", tmp_path / "lin.json", tmp_path / "map.json")
    flags = {"model": folder / "float.keras", "data": data, "eval_data": data}
    assert run("assign_precision", **flags, method="lin", anchor_bits=6, dense_sweep="true",
               tolerance=0.5, output=pmap, json=figures) == 0  # fmt: skip
    rows = {row["layer"]: row for row in json.loads(figures.read_text())["figures"]["sqnr"]}
    assert rows["conv"]["measured_db"] > 10 and rows["table"]["measured_db"] > 10
    assert json.loads(pmap.read_text())["layers"]["conv"]["weights"]
    freeze = "data_integer:4,data_fraction:6"
    assert run("assign_precision", **flags, method="judd", tolerance=0.5, stop_error=0.5,
               report_data=data, freeze=freeze, json=figures) == 0  # fmt: skip
    found = json.loads(figures.read_text())["figures"]
    assert found["samples"] == found["report_samples"] == SAMPLES


def test_search(folder, tmp_path):
    data, figures, pmap = (folder / "data.npz", tmp_path / "found.json", tmp_path / "map.json")
    assert run("search_precision", model=folder / "float.keras", data=data, report_data=data,
               calibration_data=data, train_data=data, fine_tune_steps=1, method="random",
               weights="4,8", activations="8", max_trials=2, tolerance=0.9,
               directory=tmp_path / "trials", output=pmap, json=figures) == 0  # fmt: skip
    found = json.loads(figures.read_text())
    assert len(found["trials"]) == 2 and found["report"]["samples"] == SAMPLES
    assert json.loads(pmap.read_text())["layers"]


def recipe(folder, tmp_path, **fields):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({
        "schema": 1, "model": {"file": str(folder / "float.keras")}, "precision": "w6a6",
        "batch_size": 16, "epochs": 2, **fields,
    }))  # fmt: skip
    return path


def test_training(folder, tmp_path):
    data, output = folder / "data.npz", tmp_path / "trained"
    callbacks = {"RangeLogger": {"samples": 8}}
    flags = {"config": recipe(folder, tmp_path, callbacks=callbacks), "train_data": data}
    assert run("train_model", **flags, eval_data=data, output=output, tensorboard="false") == 0
    result = json.loads((output / "result.json").read_text())
    assert result["samples"] == {"train": SAMPLES, "evaluation": SAMPLES}
    assert len(result["epochs"]) == 2 and 0 <= result["accuracy"] <= 1
    assert run("export_tflite", model=output / "model.keras", output=tmp_path / "t.tflite",
               verify_data=data) == 0  # fmt: skip


WORDS_MISSING = r"arrays of .*: got image, y; expected image, words or image_t"
WORDS_WRONG = r"shape of words of .*: got \(9,\) a sample; expected \(7,\)"


@pytest.mark.parametrize(
    ("tool", "flag"),
    [
        ("search_precision", "data"),
        ("search_precision", "train_data"),
        ("assign_precision", "data"),
        ("assign_precision", "eval_data"),
        ("quantize_model", "train_data"),
        ("train_model", "train_data"),
        ("train_model", "eval_data"),
    ],
)
def test_other_inputs_are_refused_in_a_sentence(folder, tmp_path, capsys, tool, flag):
    arrays, good = dict(np.load(folder / "data.npz")), folder / "data.npz"
    flags = {"model": folder / "float.keras", "data": good, "output": tmp_path / "made.json"}
    if tool == "assign_precision":
        flags |= {"method": "judd", "eval_data": good}
    elif tool == "quantize_model":
        flags["output"] = tmp_path / "made.keras"
    elif tool == "train_model":
        flags = {"train_data": good, "output": tmp_path / "made"}
        flags["config"] = recipe(folder, tmp_path)
    for words, message in ((None, WORDS_MISSING), (np.zeros((SAMPLES, 9)), WORDS_WRONG)):
        changed = {k: v for k, v in {**arrays, "words": words}.items() if v is not None}
        np.savez(tmp_path / "bad.npz", **changed)
        code = run(tool, **{**flags, flag: tmp_path / "bad.npz"})
        text = capsys.readouterr().err.strip().splitlines()[-1:]
        assert code == 1 and text and re.search(message, text[0]), text
        assert not list(tmp_path.glob("made*"))


def test_what_is_for_one_input_says_so(folder, tmp_path, capsys):
    data = folder / "data.npz"
    for flags, fields, message in (
        ({}, {"augment": "flip"}, r"augment: got inputs of shape \(6, 6, 1\), \(7,\); expected"),
        ({}, {"input_scale": 0.5}, r"for 2 inputs; expected neither"),
        ({"gradient_stats": tmp_path / "g"}, {"precision": None}, r"gradient_stats: got a net"),
    ):
        config = recipe(folder, tmp_path, **fields)
        code = run("train_model", config=config, train_data=data, output=tmp_path / "t", **flags)
        assert code == 1 and re.search(message, capsys.readouterr().err)


def test_arrays_by_name_or_in_order(folder):
    """The library takes what the tools read: dicts in any order, lists in the model's."""
    import tfxp
    from tfxp.data import ModelData
    from tfxp.errors import DataError
    from tfxp.search import FastEvaluator
    from tfxp.training import FineTuneSettings, fine_tune

    model = tfxp.load_model(folder / "float.keras")
    arrays = dict(np.load(folder / "data.npz"))
    y, x = arrays.pop("y"), {name: arrays[name] for name in ("words", "image")}
    x["image"] = x["image"][..., None]
    qmodel = tfxp.quantize_model(model, "w4a6", tfxp.measure_model(model, x))
    outputs = qmodel.predict([x["image"], x["words"]], verbose=0)
    data = ModelData.of((x, y), model.input_names)
    assert [part.shape[1:] for part in data.x] == [(6, 6, 1), (7,)]
    evaluator = FastEvaluator(qmodel, data)
    assert evaluator.accuracy("w4a6") == np.mean(outputs.argmax(-1) == y)
    fine_tune(qmodel, x, y, FineTuneSettings(1, batch_size=16))
    for wrong in ({**x, "depth": y}, {"image": x["image"]}, [x["image"]], [x["image"], y, y]):
        with pytest.raises(DataError, match=r"inputs of training data: got .*; expected image, w"):
            fine_tune(qmodel, wrong, y, FineTuneSettings(1))
    with pytest.raises(DataError, match=r"shape of words of training data: got \(7, 2\)"):
        fine_tune(qmodel, [x["image"], np.zeros((SAMPLES, 7, 2))], y, FineTuneSettings(1))
