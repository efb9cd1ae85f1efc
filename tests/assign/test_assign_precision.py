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
               f"--output={tmp_path / 'u.json'}",
               f"--report={tmp_path / 'u.html'}") == 0  # fmt: skip
    page = (tmp_path / "u.html").read_text()
    assert "Precision of sakr_convnet" in page and "4 bit" in page and "in float<" not in page
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
                   f"--plot={tmp_path / 'p.png'}",
                   f"--report={tmp_path / 'r.html'}") == 0  # fmt: skip
        maps.append(PrecisionMap.load(tmp_path / "m.json"))
    for tensor in ("weights", "weight_gradients", "accumulators"):
        wide, narrow = (getattr(m.layers["conv"], tensor).bits for m in maps)
        assert narrow == wide - 1
    assert is_png(tmp_path / "p.png")
    assert "B_min" in capsys.readouterr().out
    page = (tmp_path / "r.html").read_text()
    assert "Precision of run.json" in page and "weight_gradients" not in page
    assert "weight gradients" in page and "Sakr" in page


def test_b_min_by_accuracy_on_held_out_samples(tmp_path, capsys):
    """Two classes told apart by a difference of 0.3: 1 bit of activations cannot, 4 can."""
    from tfxp.keras import keras, layers

    keras.utils.set_random_seed(0)
    x = np.repeat([[0.1, 0.4], [0.4, 0.1]], 40, axis=0).astype(np.float32)
    y = np.repeat([0, 1], 40)
    order = np.random.default_rng(1).permutation(80)
    wrong = np.r_[y[order][:60], 1 - y[order][60:]]  # the last 20 labels are no use
    np.savez(tmp_path / "data.npz", x=x[order], y=y[order])
    np.savez(tmp_path / "wrong.npz", x=x[order], y=np.r_[wrong[60:], y[order][20:]])
    relu = layers.Activation("relu", name="act")
    model = keras.Sequential([keras.Input((2,), name="x"), layers.Dense(2, name="hid"), relu,
                              layers.Dense(2, name="out")])  # fmt: skip
    model.set_weights([np.eye(2, dtype=np.float32), np.zeros(2), -np.eye(2), np.zeros(2)])
    model.save(tmp_path / "net.keras")
    stats = {
        "hid": LayerTrainingStats("hid", 1.0, 1.0, (0.03, 0.001), 7.0, None, 1.0, 2.0, False, 1e-4),
        "out": LayerTrainingStats("out", 1.0, 1.0, (0.2, 0.01), 3.0,
                                  activation_gradient_sigma=0.02),
    }  # fmt: skip
    TrainingStats(stats, 1e-3).save(tmp_path / "run.json")
    flags = ["--method=sakr", f"--training_stats={tmp_path / 'run.json'}", "--b_min_sweep",
             f"--model={tmp_path / 'net.keras'}", f"--data={tmp_path / 'data.npz'}",
             f"--output={tmp_path / 'm.json'}", f"--json={tmp_path / 'r.json'}"]  # fmt: skip
    chosen = []
    for extra in (["--eval_data=data.npz"], ["--eval_data=wrong.npz", "--held_out=40"]):
        extra[0] = extra[0].replace("=", f"={tmp_path}/")
        assert run(*flags, *extra) == 0
        swept = json.loads((tmp_path / "r.json").read_text())["figures"]["b_min_sweep"]
        assert swept["baseline"] == 1.0 and swept["samples"] == (80 if len(extra) == 1 else 40)
        assert swept["scores"]["1"] < 0.9 and swept["scores"][str(swept["b_min"])] == 1.0
        assert swept["scores"][str(swept["b_min"] - 1)] < 0.99
        pmap = PrecisionMap.load(tmp_path / "m.json")
        assert pmap.layers["hid"].weights.bits == max(swept["b_min"], 2)
        chosen.append(swept["b_min"])
    assert chosen[0] == chosen[1] < len(swept["scores"])  # the bound on p_m wants more
    assert "bound on p_m" in capsys.readouterr().out
    assert run(*flags, f"--eval_data={tmp_path}/data.npz", "--b_min=3") == 1
    assert "b_min and b_min_sweep: got both" in capsys.readouterr().err


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
        (["--method=lin", "--weight_bits=4"], "got --weight_bits (uniform or adaption)"),
        (["--method=sakr", "--clip=0.1", "--sweep"], "--clip (adaption)"),
        (["--method=uniform", "--tolerance=0.1"], "--tolerance (lin or judd or sakr)"),
        (["--method=sakr"], "--training_stats: got none"),
        (["--method=lin", "--model=lin_cifar10"], "expected exactly one"),
        (["--method=lin", "--model=lin_cifar10", "--anchor_bits=8", "--fixed=conv1"],
         "expected name:value"),
        (["--method=lin", "--model=lin_cifar10", "--anchor_bits=8", "--kappa=many"],
         "--kappa: got 'many'"),
        (["--method=judd", "--model=lin_cifar10"], "expected both"),
        (["--method=lin", "--model=lin_cifar10", "--anchor_bits=8", "--rho=gone.json"],
         "--rho: "),
        (["--method=lin", "--model=lin_cifar10", "--anchor_bits=8", "--rho=macs"],
         "expected a positive number"),
    ],
)  # fmt: skip
def test_one_sentence_for_bad_input(arguments, message, capsys):
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A dense network that tells apart which of three inputs is largest, and two data files."""
    from tfxp.keras import keras, layers

    folder = tmp_path_factory.mktemp("digits")
    model = keras.Sequential(
        [layers.Input((3,)), layers.Dense(8, "relu", name="a"), layers.Dense(3, name="b")]
    )
    rng = np.random.default_rng(1)
    spread = rng.normal(0, 0.3, (3, 8))
    model.set_weights(
        [np.repeat(np.eye(3), 3, 1)[:, :8] + 0.1 * spread, np.zeros(8),
         np.repeat(np.eye(3), 3, 0)[:8] + 0.1 * spread.T, np.array([0.0, 0.0, 0.3])]
    )  # fmt: skip
    model.save(folder / "m.keras")
    for name, seed in (("search", 2), ("report", 3)):
        x = np.random.default_rng(seed).normal(size=(96, 3)).astype(np.float32)
        y = np.argmax(model.predict(x, verbose=0), axis=1)
        np.savez(folder / f"{name}.npz", x=x, y=y)
    return folder


def test_lin_sweeps_and_page(digits, tmp_path, capsys):
    (tmp_path / "rho.json").write_text('{"a": 1.0, "b": 50.0}')
    common = [f"--model={digits / 'm.keras'}", f"--data={digits / 'search.npz'}",
              f"--eval_data={digits / 'search.npz'}", "--noprogress"]  # fmt: skip
    assert run("--method=lin", *common, "--sweep", "--dense_bits=0", "--tolerance=0.05",
               f"--rho={tmp_path / 'rho.json'}", f"--plot={tmp_path / 'p.png'}",
               f"--json={tmp_path / 'r.json'}", f"--report={tmp_path / 'r.html'}") == 0  # fmt: skip
    figures = json.loads((tmp_path / "r.json").read_text())["figures"]
    assert figures["rho"] == {"a": 1.0, "b": 50.0}
    assert {point["kind"] for point in figures["sizes"]} == {"allocated", "equal"}
    chosen = [p for p in figures["sizes"] if p["bits"] == figures["bits"]]
    assert chosen[0]["accuracy"] >= 0.95 * figures["baseline"]
    rows = {row["layer"]: row for row in figures["sqnr"]}
    assert rows["a"]["kappa"] > 3 and rows["b"]["measured_db"] is not None
    page = (tmp_path / "r.html").read_text()
    assert "Size of the weights" in page and "noise" in page and is_png(tmp_path / "p.png")

    assert run("--method=lin", *common, "--dense_sweep", "--anchor_bits=8",
               "--fixed=a:9", "--dense_bits=0", "--tolerance=0.02") == 1  # fmt: skip
    assert "no layer to allocate" in capsys.readouterr().err
    assert run("--method=lin", "--sweep", "--model=lin_cifar10") == 1
    assert "expected both" in capsys.readouterr().err


def test_judd_with_storage_and_page(digits, tmp_path, capsys):
    assert run("--method=judd", f"--model={digits / 'm.keras'}", "--arithmetic=storage",
               "--ranges=measured", f"--data={digits / 'search.npz'}", "--tolerance=0.05",
               f"--eval_data={digits / 'search.npz'}", f"--report_data={digits / 'report.npz'}",
               f"--report={tmp_path / 'r.html'}", f"--json={tmp_path / 'r.json'}",
               f"--output={tmp_path / 'o.json'}", "--noprogress") == 0  # fmt: skip
    figures = json.loads((tmp_path / "r.json").read_text())["figures"]
    assert figures["report_baseline"] == 1.0 and figures["report_samples"] == 96
    assert 0.8 < figures["selected"]["0.05"]["report_accuracy"] <= 1.0
    rule = PrecisionMap.load(tmp_path / "o.json").layers["a"]
    assert rule.bias == "float" and rule.rounding == "half_even"
    page = (tmp_path / "r.html").read_text()
    for heading in ("Pareto front", "Bits per layer", "Sensitivity", "Signal to quantization"):
        assert f">{heading}" in page
    assert "arithmetic is float" in page


def test_ilp_on_a_tiny_model(tmp_path, capsys):
    from tfxp.keras import keras, layers

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [layers.Input((6,)), layers.Dense(8, "relu", name="a"), layers.Dense(3, name="b")]
    )
    x = np.random.default_rng(0).normal(size=(32, 6)).astype(np.float32)
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "d.npz", x=x)
    command = [
        "--method=ilp", f"--model={tmp_path / 'm.keras'}", f"--data={tmp_path / 'd.npz'}",
        "--word_lengths=2,8", f"--output={tmp_path / 'o.json'}", f"--json={tmp_path / 'r.json'}",
        f"--report={tmp_path / 'r.html'}",
    ]  # fmt: skip
    assert run(*command, "--bound=w4a8", "--tensors=weights") == 0
    assert "least summed loss" in capsys.readouterr().out
    figures = json.loads((tmp_path / "r.json").read_text())
    assert set(figures["figures"]["losses"]) == {"a weights", "b weights"}
    assert {pair[0] for name, pair in figures["bits"].items() if name in "ab"} == {2, 8}
    page = (tmp_path / "r.html").read_text()
    for text in ("loss at 2", "bits of weights", "flash for weights", "Least summed loss"):
        assert text in page, text
    assert "in float<" not in page  # nothing was evaluated
    assert figures["cost"]["model_size_bits"] <= figures["figures"]["bound"]
    rules = PrecisionMap.load(tmp_path / "o.json").layers
    assert {rules["a"].weights, rules["b"].weights} == {2, 8}
    assert run(*command, "--bound=w8a8", "--total=sizes") == 1
    assert "got 'sizes'; expected one of parameters" in capsys.readouterr().err
