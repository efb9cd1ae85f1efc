"""The frontier tool: runs are resumed, refusals are rows, and tfxp's own row is measured."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tfxp.errors import ConfigError, TfxpError
from tfxp.precision import LayerStats, ModelStats
from tools.frontier import runs as frontier_runs
from tools.frontier.peers import PEERS, Peer
from tools.frontier.report import kernel_kib, mac_bits, markdown, plot
from tools.frontier.runs import Common, all_records, do_runs, list_runs

PROGRAM = """
import json, sys
settings = json.load(open(sys.argv[1]))
if settings["seed"] == 7:
    sys.exit(3)
result = {"versions": {"p": "1"}, "seconds": 1.0, "recipe": "r", "float": ""}
if settings["weight_bits"] < 8:
    result["error"] = "ValueError: 8 | bits only"
else:
    result |= {"accuracy": 0.5, "measured_on": "file in LiteRT", "file_bytes": 2048}
json.dump(result, open(sys.argv[2], "w"))
"""
LAYERS = (
    LayerStats("in", "input", (), (4, 4, 3)),
    LayerStats("a", "conv", ("in",), (4, 4, 2), (1, 1, 3, 2), 96, 2),
    LayerStats("b", "dense", ("a",), (5,), (32, 5), 160, 5),
)
NETWORK = ModelStats({layer.name: layer for layer in LAYERS})


@pytest.fixture
def peer(tmp_path, monkeypatch):
    """A peer whose program needs no framework."""
    (tmp_path / "peer.py").write_text(PROGRAM)
    monkeypatch.setattr(frontier_runs, "PROGRAMS", tmp_path)
    monkeypatch.setitem(PEERS, "fake", Peer("Fake", "peer.py"))
    return "fake"


def common(model="model.h5", train="train.npz", test="test.npz", **more):
    sizes = {"images": 64, "eval_images": 20, "calibration": 32, "batch_size": 16} | more
    return Common(model, train, test, learning_rate=1e-3, **sizes)


def test_rows_are_runs():
    first, *_, last = list_runs(["tfxp", "mct"], ["w8a8c", "w4a6:2"], [0, 1])
    assert (first.name, last.name) == ("tfxp_w8a8c_e0_s0", "mct_w4a6_e2_s1")
    assert (last.weight_bits, last.activation_bits, last.epochs) == (4, 6, 2)


@pytest.mark.parametrize("peers, rows", [(["nobody"], ["w8a8"]), ([], ["w8a8"]), (["mct"], ["w8"])])
def test_unknown_names(peers, rows):
    with pytest.raises(ConfigError, match="expected"):
        list_runs(peers, rows, [0])


def test_done_runs_are_not_done_again(peer, tmp_path):
    def records(**settings):
        listed = list_runs([peer], ["w8a8c", "w4a4c:2"], [0])
        made = do_runs(listed, common(**settings), tmp_path / "out", tmp_path, 1, "cmd")
        return [record for _, record in made]

    once = records()
    path = tmp_path / "out" / "fake_w8a8c_e0_s0.json"
    before = path.stat().st_mtime_ns
    assert records() == once == [json.loads(path.read_text()), once[1]]
    assert path.stat().st_mtime_ns == before
    records(images=65)  # of no use without epochs
    assert path.stat().st_mtime_ns == before
    records(calibration=33)
    assert path.stat().st_mtime_ns != before


def test_a_killed_program_is_no_result(peer, tmp_path):
    killed = list_runs([peer], ["w8a8"], [7])
    with pytest.raises(TfxpError, match="ended with 3 and no result"):
        list(do_runs(killed, common(), tmp_path / "out", tmp_path, 1, "cmd"))
    assert not list((tmp_path / "out").glob("*.json"))


def test_table_and_plot(peer, tmp_path):
    listed = list_runs([peer], ["w8a8c", "w4a4c:2"], [0, 1])
    records = [r for _, r in do_runs(listed, common(), tmp_path / "out", tmp_path, 1, "cmd")]
    (tmp_path / "out" / "fake_w8a8c_e0_s0.run.json").write_text("{}")  # a peer's own file
    assert all_records(tmp_path / "out") == sorted(records, key=lambda r: r["settings"]["epochs"])
    first, second = markdown(records, NETWORK).splitlines()[2:4]
    assert "| 50.00 % / 50.00 % | 0, 1 | file in LiteRT (r) | nothing |" in first
    assert "cannot: ValueError: 8 / bits only" in second
    assert first.count("|") == second.count("|") == 12
    plot(records, NETWORK, 0.75, str(tmp_path / "plot.png"))
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_sizes_and_work():
    record = {"settings": {"weight_bits": 4, "activation_bits": 2}}
    assert kernel_kib(NETWORK, record) == ((6 + 160) * 4 + 7 * 32) / 8192
    assert mac_bits(NETWORK, record) == (96 * 4 * 8 + 160 * 4 * 2) / 1e6


@pytest.fixture
def programs(monkeypatch):
    """The programs' own modules, which live beside the peers' and not in a package."""
    folder = Path(frontier_runs.__file__).parent / "programs"
    monkeypatch.syspath_prepend(str(folder))
    names = ("protocol", "rebuild")
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name)


def test_inputs_as_a_file_takes_them(programs):
    detail = {"dtype": np.int8, "quantization": (0.5, -3)}
    codes = programs["protocol"]._as_input(np.array([0.0, 1.2, 500.0, -500.0]), detail)
    assert codes.dtype == np.int8 and codes.tolist() == [-3, -1, 127, -128]


def test_batches_are_flipped_permutations(programs):
    x = np.arange(40, dtype=np.float32).reshape(10, 1, 2, 2)
    draws = np.random.default_rng(3)
    batches = list(programs["protocol"]._batches(x, np.arange(10), 5, draws))
    seen, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert [int(image.min()) // 4 for image in seen] == labels.tolist()
    assert sorted(seen.max(axis=(1, 2, 3))) == [x[i].max() for i in range(10)]
    assert any((image != x[int(image.min()) // 4]).any() for image in seen)


def _data(folder):
    random = np.random.default_rng(0)
    y = np.arange(64) % 3
    x = (random.integers(0, 80, (64, 8, 8, 3)) + 80 * (y % 3)[:, None, None, None]).astype(np.uint8)
    for name in ("train", "test"):
        np.savez(folder / f"{name}.npz", x=x, y=y)
    return str(folder / "train.npz"), str(folder / "test.npz")


@pytest.mark.slow
def test_row_of_tfxp(tmp_path):
    """The real program on a tiny network: the accuracy is the file's, read back by LiteRT."""
    from tfxp.keras import keras, layers

    keras.utils.set_random_seed(0)
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, 2, activation="relu")(given)
    outputs = layers.Dense(3, activation="softmax")(layers.Flatten()(x))
    keras.Model(given, outputs).save(tmp_path / "net.h5")
    train, test = _data(tmp_path)
    tool = importlib.import_module("tools.bench_frontier")
    flags = [
        f"--model={tmp_path / 'net.h5'}", f"--train_data={train}", f"--eval_data={test}",
        f"--output={tmp_path / 'out'}", "--peers=tfxp", "--rows=w8a8c,w4a4c:1", "--images=48",
        "--calibration=32", "--batch_size=16", f"--json={tmp_path / 'all.json'}",
    ]  # fmt: skip
    with pytest.raises(SystemExit) as done:
        tool.run(["bench_frontier", *flags])
    assert not done.value.code
    eight, four = json.loads((tmp_path / "all.json").read_text())["runs"]
    assert eight["measured_on"].startswith("file in LiteRT") and eight["file_bytes"] > 500
    assert 0 <= four["accuracy"] <= 1 and len(four["losses"]) == 1
    assert {"tfxp", "tensorflow"} <= set(eight["versions"])
