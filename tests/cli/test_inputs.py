"""Inputs of another kind are called what they are, and looked at before any work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.test_pipeline import run
from tfxp.cli.custom_objects import read_custom_objects
from tfxp.data.npz import check_npz
from tfxp.errors import ConfigError, DataError, ModelError, TfliteFormatError
from tfxp.file_kind import file_kind
from tfxp.graph import IntegerGraph, read_tflite, write_tflite

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    np.save(folder / "x.npy", np.zeros(3))
    np.savez(folder / "x.npz", x=np.zeros(3))
    (folder / "x.csv").write_text("a,b\n1,2\n")
    (folder / "x.json").write_text('{"a": 1}')
    (folder / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    (folder / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n123")
    (folder / "x.tflite").write_bytes(write_tflite(IntegerGraph(name="empty")))
    (folder / "empty").write_bytes(b"")
    (folder / "noise").write_bytes(bytes(range(128, 256)))
    return folder


KINDS = {"x.npy": "a .npy file", "x.csv": "a text file, such as CSV", "x.json": "a JSON file",
         "x.png": "a picture", "x.h5": "an HDF5 file", "x.tflite": "a .tflite model"}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_other_kinds_are_named(files, name):
    import tfxp

    path = files / name
    assert file_kind(path).startswith(KINDS[name])
    assert file_kind(path.read_bytes()) == file_kind(path)
    with pytest.raises(DataError, match=f"got {KINDS[name]}.*, which is no .npz archive"):
        check_npz(path)
    if name != "x.tflite":
        with pytest.raises(TfliteFormatError, match=f"got {KINDS[name]}.*; expected a .tflite"):
            read_tflite(path)
    if name != "x.h5":
        with pytest.raises(ModelError, match=f"is {KINDS[name]}.*; expected a Keras"):
            tfxp.load_model(path)


def test_what_is_right_or_tells_nothing(files):
    check_npz(files / "x.npz")
    assert file_kind(files) == "a folder"
    assert file_kind(files / "empty") == "an empty file" and file_kind(files / "noise") is None
    for name in ("empty", "noise"):
        with pytest.raises(DataError, match="no .npz archive"):
            check_npz(files / name)


def test_view_knows_a_keras_file(files, capsys):
    assert run("view_tflite", model=files / "x.h5") == 1
    said = capsys.readouterr().err
    assert "got an HDF5 file, such as a Keras model; expected a .tflite model. Export it" in said


LOADED = """
import sys
from tools import {tool}
try:
    {tool}.run(["tool", *sys.argv[1:]])
finally:
    print("tensorflow" in sys.modules)
"""


ALL_LOADED = """
import json, sys
from tools import train_model
for flags in json.loads(sys.argv[1]):
    try:
        train_model.run(["tool", *flags])
    except SystemExit as ended:
        print(ended.code)
print("tensorflow" in sys.modules)
"""


def test_missing_data_are_noticed_before_tensorflow_is_loaded(files):
    words = [f"--model={files / 'x.h5'}", f"--data={files / 'absent.npz'}", "--output=q.keras"]
    command = [sys.executable, "-c", LOADED.format(tool="quantize_model"), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "no such file" in done.stderr
    assert done.stdout.split() == ["False"]


def test_trainings_are_checked_before_tensorflow_is_loaded(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros((8, 28, 28, 1)), y=np.arange(8))
    np.savez(tmp_path / "unlabelled.npz", x=np.zeros((8, 28, 28, 1)))
    cases = [
        ({"optimiser": "sgd"}, {}, "got 'optimiser'"),
        ({"learning_rate": -1}, {}, "learning_rate: got -1"),
        ({"callbacks": {"SaturationAlert": {}}}, {}, "callbacks: got SaturationAlert"),
        ({"model": {"name": "lenett"}}, {}, "Did you mean 'lenet'?"),
        ({"model": {"name": "lenet", "settings": {"widht": 1}}}, {}, "Did you mean 'width'?"),
        ({"model": {"name": "lenet", "settings": [1]}}, {}, "got list; expected an object"),
        ({"model": {"file": "absent.keras"}}, {}, "'absent.keras': no such file"),
        ({}, {"model": "absent.h5"}, "'absent.h5': no such file"),
        ({"batch_size": 9}, {}, "got 8 samples; expected at least a batch of 9"),
        ({}, {"train_data": "unlabelled.npz"}, "unlabelled.npz"),
        ({}, {"eval_data": "unlabelled.npz"}, "unlabelled.npz"),
        ({}, {"eval_data": "data.npz", "held_out": 2}, "held_out and eval_data: got both"),
        ({}, {"held_out": 8}, "got 8 of 8; expected at least one, and fewer"),
    ]
    calls = []
    for number, (changes, flags, _) in enumerate(cases):
        recipe = {"schema": 1, "model": {"name": "lenet"}, "batch_size": 4, **changes}
        grid = {"schema": 1, "base": {"schema": 1, "model": {"name": "lenet"}}, "rows": {}}
        grid["rows"]["a"] = {key: value for key, value in recipe.items() if key != "schema"}
        for kind, content in (("config", recipe), ("grid", grid)):
            path = tmp_path / f"{kind}{number}.json"
            path.write_text(json.dumps(content))
            given = {kind: path.name, "train_data": "data.npz", "output": "out", **flags}
            calls.append([f"--{key}={value}" for key, value in given.items()])
    command = [sys.executable, "-c", ALL_LOADED, json.dumps(calls)]
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=paths)
    said = done.stderr.splitlines()
    for line, words in zip(said, [case[2] for case in cases for _ in range(2)], strict=True):
        assert words in line
    assert done.stdout.split() == ["1"] * len(calls) + ["False"]
    assert not (tmp_path / "out").exists()


def test_custom_objects(tmp_path):
    path = tmp_path / "own_layers.py"
    path.write_text(
        "import json\nclass Twice: pass\ndef half(x): return x / 2\n"
        "custom_objects = {'other': half}\n"
    )
    found = read_custom_objects(str(path))
    assert sorted(found) == ["Twice", "half", "other"]
    assert read_custom_objects(None) == {}
    path.write_text("1 / 0")
    for source in (str(path), "no.such.module", str(tmp_path / "absent.py")):
        with pytest.raises(ConfigError, match="cannot be imported"):
            read_custom_objects(source)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_tools_open_models_with_layers_of_your_own(tmp_path, capsys):
    from tfxp.keras import keras, layers

    source = tmp_path / "mine.py"
    source.write_text("from tfxp.keras import layers\nclass Mine(layers.Dense):\n    pass\n")
    mine = read_custom_objects(str(source))["Mine"]
    x = keras.Input((4,))
    keras.Model(x, layers.Dense(2)(mine(3)(x))).save(tmp_path / "net.h5")
    np.savez(tmp_path / "data.npz", x=np.ones((8, 4), np.float32))
    flags = {"model": tmp_path / "net.h5", "data": tmp_path / "data.npz"}
    assert run("measure_model", **flags) == 1
    assert "custom_objects" in capsys.readouterr().err
    run("measure_model", **flags, custom_objects=source)
    assert "Pass the class" not in capsys.readouterr().err


def test_too_few_samples_are_noticed_before_measuring(tmp_path, capsys):
    from tfxp.keras import keras, layers

    x = keras.Input((4,), name="x")
    keras.Model(x, layers.Dense(2, activation="softmax")(x)).save(tmp_path / "net.keras")
    np.savez(tmp_path / "data.npz", x=np.ones((8, 4), np.float32), y=np.zeros(8, int))
    data = tmp_path / "data.npz"
    assert run("quantize_model", model=tmp_path / "net.keras", data=data, train_data=data,
               eval_data=data, output=tmp_path / "q.keras") == 1  # fmt: skip
    text = capsys.readouterr()
    assert "got 8 samples; expected at least a batch of 64" in text.err
    assert "calibrat" not in text.out and "float:" not in text.out


def test_labels_teach_where_there_are_some_or_where_they_are_asked_for(tmp_path, capsys):
    from tfxp.keras import keras, layers

    x = keras.Input((4,), name="x")
    keras.Model(x, layers.Dense(2, activation="softmax")(x)).save(tmp_path / "net.keras")
    data = tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(0).uniform(0, 1, (96, 4)))
    flags = {"model": tmp_path / "net.keras", "data": data, "train_data": data, "epochs": 1}
    assert run("quantize_model", **flags, output=tmp_path / "q.keras") == 0
    assert "loss by epoch" in capsys.readouterr().out
    asked = flags | {"teacher_weight": 0.5}
    assert run("quantize_model", **asked, output=tmp_path / "asked.keras") == 1
    assert "labels" in capsys.readouterr().err
