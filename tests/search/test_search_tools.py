"""The command line: maps that quantize, figures that agree with the ledger, plain errors."""

import json

import numpy as np
import pytest

import tfxp
from tests.search.networks import classifier, labelled
from tests.test_tools import exit_of
from tfxp.assign import EvaluationLedger
from tfxp.files import configs_folder
from tfxp.precision import PrecisionMap
from tfxp.search import SearchSettings


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search_tools")
    model = classifier()
    x, y = labelled(model, 160)
    model.save(folder / "net.keras")
    np.savez(folder / "search.npz", x=x[:100], y=y[:100])
    np.savez(folder / "other.npz", x=x[100:], y=y[100:])
    return folder


def test_search_and_go_on(files, tmp_path, capsys):
    arguments = [
        f"--model={files / 'net.keras'}", f"--data={files / 'search.npz'}",
        f"--report_data={files / 'other.npz'}", "--method=evolution", "--tolerance=0.03",
        "--weights=4,6,8", f"--directory={tmp_path / 'run'}", f"--output={tmp_path / 'map.json'}",
        f"--json={tmp_path / 'result.json'}", "--noprogress",
    ]  # fmt: skip
    assert exit_of("search_precision", *arguments, "--max_trials=8") == 0
    out = capsys.readouterr().out
    assert "8 trials, 8 of them now" in out and "best: trial" in out
    page = tmp_path / "page.html"
    assert exit_of("search_precision", *arguments, "--max_trials=12", f"--report={page}") == 0
    assert "evolution search" in page.read_text(encoding="utf-8")
    out = capsys.readouterr().out
    assert "12 trials, 4 of them now" in out and "on 60 other samples" in out
    figures = json.loads((tmp_path / "result.json").read_text())
    ledger = EvaluationLedger.read(tmp_path / "run" / "trials.jsonl")
    assert figures["trials"] == ledger.entries
    best = next(t for t in figures["trials"] if t["trial"] == figures["best"])
    pmap = PrecisionMap.load(tmp_path / "map.json")
    assert pmap.provenance["expected"]["accuracy"] == best["score"]
    # The map by the ordinary way gives the accuracies that were reported.
    model = tfxp.load_model(files / "net.keras")
    for name, accuracy in (("search", best["score"]), ("other", figures["report"]["accuracy"])):
        data, searched = np.load(files / f"{name}.npz"), np.load(files / "search.npz")
        stats = tfxp.measure_model(model, searched["x"])
        outputs = tfxp.quantize_model(model, pmap, stats).predict(data["x"], verbose=0)
        assert np.mean(outputs.argmax(1) == data["y"]) == accuracy


def test_bad_input(files, tmp_path, capsys):
    common = [f"--model={files / 'net.keras'}", f"--data={files / 'search.npz'}"]
    (tmp_path / "broken.json").write_text("{")
    for flags, said in [
        (["--weights=4,x"], "--weights: got 'x'"),
        (["--settings=nowhere.json"], "nowhere.json"),
        ([f"--settings={tmp_path / 'broken.json'}"], "search settings"),
        (["--cost=model_size"], "Did you mean 'model_size_bits'"),
        (["--fixed=stemm"], "Did you mean 'stem'"),
        (["--budget=1", "--max_trials=3", "--noprogress"], "no map that is good enough"),
    ]:
        assert exit_of("search_precision", *common, *flags) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and said in err, err


def test_shipped_settings_load():
    for path in sorted((configs_folder() / "search").glob("*.json")):
        assert SearchSettings.load(path).tolerance is not None
