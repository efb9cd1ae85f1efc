"""The tools one after another on a small network, and everything that users get wrong."""

import importlib
import json
import re

import numpy as np
import pytest

from tests.slow_cases import slow
from tfxp.data import load_digits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """float.h5 and digits.npz: a network trained for a moment."""
    from tfxp.keras import keras, layers

    folder = tmp_path_factory.mktemp("pipeline")
    train, test = load_digits("train"), load_digits("test")
    np.savez(folder / "digits.npz", x_train=train.x, y_train=train.y, x_test=test.x, y_test=test.y)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Conv2D(8, 3, activation="relu", input_shape=(8, 8, 1), name="conv"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(10, name="dense"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(train.x, train.y, 64, 4, verbose=0)
    with pytest.warns(UserWarning, match="HDF5"):
        model.save(folder / "float.h5")
    return folder


def run(tool, *arguments, **flags):
    """The exit code of a tool, run in this process."""
    module = importlib.import_module(f"tools.{tool}")
    words = [f"--{name}={value}" for name, value in flags.items()]
    with pytest.raises(SystemExit) as caught:
        module.run([tool, *arguments, *words])
    return caught.value.code


def test_from_float_to_a_verified_file(folder, tmp_path, capsys):
    data = folder / "digits.npz"
    stats, model, file = (tmp_path / n for n in ("stats.json", "q.keras", "q.tflite"))
    names = ("measure", "quantize", "export", "run")
    figures = {name: tmp_path / f"{name}.json" for name in names}

    code = run(
        "measure_model",
        model=folder / "float.h5",
        data=data,
        limit=256,
        output=stats,
        json=figures["measure"],
    )
    assert code == 0
    code = run(
        "quantize_model",
        model=folder / "float.h5",
        stats=stats,
        precision="w4a4",
        eval_data=data,
        output=model,
        json=figures["quantize"],
    )
    assert code == 0
    code = run("export_tflite", model=model, output=file, verify_data=data, json=figures["export"])
    assert code == 0
    code = run("run_tflite", model=file, data=data, json=figures["run"])
    assert code == 0
    assert run("view_tflite", model=file) == 0
    assert "conv" in capsys.readouterr().out

    read = {name: json.loads(path.read_text()) for name, path in figures.items()}
    assert read["export"]["samples"] == 360 and read["export"]["elements"] == 3600
    for key in ("mismatches_interpreter", "mismatches_litert", "max_abs_lsb"):
        assert read["export"][key] == 0
    assert read["run"]["accuracy"] == pytest.approx(read["quantize"]["accuracy"]["quantized"])
    assert read["run"]["accuracy"] > 0.8 and read["run"]["samples"] == 360
    assert read["run"]["macs_total"] == 360 * read["measure"]["macs"]
    assert 0 < read["run"]["macs_executed"] < read["run"]["macs_total"]


@pytest.mark.parametrize(
    "precision, flags, method",
    [("w4a8c", {}, "adaround"), slow("w8a8", {}, "formats"),
     slow("w4a8c", {"epochs": 1, "formats": "fixed"}, "formats"),
     slow("w4a8c", {"epochs": 1}, None),
     slow("w4a8c", {"calibrate": "formats"}, "formats")],
)  # fmt: skip
def test_kernels_of_few_bits_learn_rounding_unless_training_follows(
    folder, tmp_path, capsys, precision, flags, method
):
    data = folder / "digits.npz"
    trained = {"train_data": data} if "epochs" in flags else {}
    code = run("quantize_model", model=folder / "float.h5", data=data, limit=64, split="train",
               precision=precision, output=tmp_path / "q.keras", **flags, **trained)  # fmt: skip
    assert code == 0
    said = capsys.readouterr().out
    if method is None:
        assert "relative squared output error" not in said
    else:
        assert f"{method}, relative squared output error" in said


def _npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def _truncated(source, path):
    path.write_bytes(source.read_bytes()[:3000])
    return path


def _text(path, text):
    path.write_text(text)
    return path


X = np.zeros((20, 8, 8, 1), np.float32)
NAN = np.where(np.arange(X.size).reshape(X.shape) == 7, np.nan, X)

# what is wrong -> (flags that replace good ones, what the sentence says)
BAD = {
    "empty data": (lambda f, t: dict(data=_npz(t / "d.npz", x=X[:0])), "at least one sample"),
    "NaN data": (lambda f, t: dict(data=_npz(t / "d.npz", x=NAN)), "not finite"),
    "other shape": (lambda f, t: dict(data=_npz(t / "d.npz", x=X[:, :5])), "shape"),
    "no such array": (lambda f, t: dict(data=_npz(t / "d.npz", images=X)), "images"),
    "truncated data": (lambda f, t: dict(data=_truncated(f / "digits.npz", t / "d.npz")), "d.npz"),
    "no data file": (lambda f, t: dict(data=t / "absent.npz"), "absent.npz"),
    "no labels": (lambda f, t: dict(eval_data=_npz(t / "e.npz", x=X)), "labels"),
    "no model": (lambda f, t: dict(model=t / "absent.h5"), "absent.h5"),
    "truncated model": (lambda f, t: dict(model=_truncated(f / "float.h5", t / "m.h5")), "m.h5"),
    "no model at all": (lambda f, t: dict(model=_text(t / "m.h5", "hello")), "m.h5"),
    "absent layer": (
        lambda f, t: dict(
            precision=_text(t / "p.json", '{"schema": 1, "layers": {"cnv": {"weights": 4}}}')
        ),
        "cnv",
    ),
    "no JSON": (lambda f, t: dict(precision=_text(t / "p.json", "{")), "p.json"),
    "0 bits": (lambda f, t: dict(precision="w0a8"), "0"),
    "40 bits": (lambda f, t: dict(precision="w40a8"), "40"),
    "no precision": (lambda f, t: dict(precision="eight"), "eight"),
    "absent map": (lambda f, t: dict(precision="absent.json"), "absent.json"),
    "unwritable output": (lambda f, t: dict(output="/proc/none/q.keras"), "/proc/none/q.keras"),
    "output is a folder": (lambda f, t: dict(output=t), "folder"),
    "equalized unfolded": (
        lambda f, t: dict(equalize="true", fold_batch_norm="false"),
        "--nofold_batch_norm",
    ),
    "unwritable figures": (lambda f, t: dict(json="/dev/null/x.json"), "/dev/null/x.json"),
}


@pytest.mark.parametrize("name", BAD)
def test_quantize_model_says_what_is_wrong(folder, tmp_path, capsys, name):
    make, said = BAD[name]
    bad = make(folder, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    good = dict(
        model=folder / "float.h5",
        data=folder / "digits.npz",
        limit=64,
        precision="w8a8",
        output=tmp_path / "q.keras",
        json=tmp_path / "q.json",
    )
    assert run("quantize_model", "--nocalibrate", **{**good, **bad}) == 1
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("quantize_model: ")]
    assert len(lines) == 1 and err.rstrip().endswith(lines[0]), err
    assert said in lines[0]
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before, "something was left behind"


@pytest.mark.parametrize(
    ("tool", "flags"),
    [
        ("measure_model", dict(model="{f}/float.h5", data="{t}/nan.npz", output="{t}/s.json")),
        ("measure_model", dict(model="{t}/cut.h5", data="{f}/digits.npz")),
        ("measure_model", dict(model="{f}/float.h5", data="{f}/digits.npz", output="/proc/x/s")),
        ("export_tflite", dict(model="{t}/cut.h5", output="{t}/q.tflite")),
        ("export_tflite", dict(model="{f}/float.h5", output="{t}/q.tflite")),
        ("run_tflite", dict(model="{t}/cut.h5", data="{f}/digits.npz")),
        ("run_tflite", dict(model="{t}/absent.tflite", data="{f}/digits.npz")),
        ("view_tflite", dict(model="{t}/cut.h5")),
    ],
)
def test_other_tools_say_it_too(folder, tmp_path, capsys, tool, flags):
    _npz(tmp_path / "nan.npz", x=NAN)
    _truncated(folder / "float.h5", tmp_path / "cut.h5")
    before = sorted(tmp_path.rglob("*"))
    filled = {k: v.format(f=folder, t=tmp_path) for k, v in flags.items()}
    assert run(tool, **filled) == 1
    err = capsys.readouterr().err
    assert len(re.findall(f"^{tool}: .*[.?!]$", err, re.M)) == 1, err
    assert err.count("\n") == 1 and "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before
