"""The tool: every method on something small."""

import json

import numpy as np
import pytest

from tfxp.assign import LayerTrainingStats, TrainingStats
from tfxp.precision import PrecisionMap
from tools import assign_precision


def run(*arguments):
    with pytest.raises(SystemExit) as caught:
        assign_precision.run(["assign_precision", *map(str, arguments)])
    return caught.value.code


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")


def test_uniform_and_lin(tmp_path, capsys):
    assert run("--method=uniform", "--model=sakr_convnet", "--weight_bits=4",
               f"--output={tmp_path / 'u.json'}") == 0  # fmt: skip
    assert PrecisionMap.load(tmp_path / "u.json").default.weights == 4
    assert run("--method=lin", "--model=lin_cifar10", "--anchor_bits=10", "--fixed=conv1:7",
               f"--output={tmp_path / 'l.json'}", f"--plot={tmp_path / 'l.png'}",
               f"--json={tmp_path / 'r.json'}") == 0  # fmt: skip
    pmap = PrecisionMap.load(tmp_path / "l.json")
    assert [pmap.layers[f"conv{i}"].weights for i in range(6)] == [10, 7, 5, 4, 4, 2]
    assert pmap.provenance["command"]
    assert json.loads((tmp_path / "r.json").read_text())["figures"]["bits"]["conv5"] == 2
    assert is_png(tmp_path / "l.png")


def test_sakr(tmp_path, capsys):
    layers = {
        "conv": LayerTrainingStats("conv", 900.0, 1.0, (0.03, 0.001), 7.0, None, 0.2, 2.0, False,
                                   1e-4),
        "dense": LayerTrainingStats("dense", 5.0, 1.0, (0.2, 0.01), 3.0,
                                    activation_gradient_sigma=0.02),
    }  # fmt: skip
    TrainingStats(layers, 1e-3).save(tmp_path / "run.json")
    maps = []
    for bits in (0, -1):
        assert run("--method=sakr", f"--training_stats={tmp_path / 'run.json'}",
                   f"--perturb={bits}", f"--output={tmp_path / 'm.json'}",
                   f"--plot={tmp_path / 'p.png'}") == 0  # fmt: skip
        maps.append(PrecisionMap.load(tmp_path / "m.json"))
    for tensor in ("weights", "weight_gradients", "accumulators"):
        wide, narrow = (getattr(m.layers["conv"], tensor).bits for m in maps)
        assert narrow == wide - 1
    assert is_png(tmp_path / "p.png")
    assert "B_min" in capsys.readouterr().out


def test_judd_on_a_tiny_model(tmp_path, capsys):
    """Two classes that one weight tells apart: few bits are enough, and a rerun asks nothing."""
    from tfxp.keras import keras, layers

    model = keras.Sequential([layers.Input((3,)), layers.Dense(2, name="d")])
    model.layers[-1].set_weights([np.array([[1.0, -1], [0.1, 0], [0, 0.1]]), np.zeros(2)])
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    y = np.argmax(model.predict(x, verbose=0), axis=1)
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "d.npz", x=x, y=y)
    command = [
        "--method=judd", f"--model={tmp_path / 'm.keras'}", f"--data={tmp_path / 'd.npz'}",
        f"--eval_data={tmp_path / 'd.npz'}", f"--ledger={tmp_path / 'l.jsonl'}",
        "--tolerance=0.05", f"--output={tmp_path / 'o.json'}", f"--json={tmp_path / 'r.json'}",
        f"--plot={tmp_path / 'p.png'}", f"--profile={tmp_path / 's.png'}",
    ]  # fmt: skip
    assert run(*command) == 0
    first = (tmp_path / "o.json").read_bytes()
    scores = (tmp_path / "l.jsonl").read_bytes()
    figures = json.loads((tmp_path / "r.json").read_text())["figures"]
    assert figures["selected"]["0.05"]["traffic_ratio"] < 0.25
    assert {point["family"] for point in figures["profile"]} == {
        "weight_bits", "data_integer", "data_fraction",
    }  # fmt: skip
    assert is_png(tmp_path / "p.png") and is_png(tmp_path / "s.png")
    assert run(*command) == 0
    assert (tmp_path / "o.json").read_bytes() == first
    assert (tmp_path / "l.jsonl").read_bytes() == scores
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method=lin"], "--model: got none"),
        (["--method=sakr"], "--training_stats: got none"),
        (["--method=lin", "--model=lin_cifar10"], "expected exactly one"),
        (["--method=lin", "--model=lin_cifar10", "--anchor_bits=8", "--fixed=conv1"],
         "expected name:value"),
        (["--method=lin", "--model=lin_cifar10", "--anchor_bits=8", "--kappa=many"],
         "--kappa: got 'many'"),
        (["--method=judd", "--model=lin_cifar10"], "expected both"),
    ],
)  # fmt: skip
def test_one_sentence_for_bad_input(arguments, message, capsys):
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1
