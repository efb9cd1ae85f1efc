"""tools/measure_model.py: the table, the JSON figures against NumPy, the page."""

import json

import numpy as np
import pytest

import tfxp
from tfxp.keras import keras, layers
from tools import measure_model


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Folder with a small model and data."""
    folder = tmp_path_factory.mktemp("measure")
    model = keras.Sequential(
        [layers.Dense(6, "relu", input_shape=(4,), name="hidden"), layers.Dense(3, name="out")]
    )
    model.save(folder / "float.keras")
    x = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, y=np.zeros(50, np.int64))
    hidden = keras.Model(model.input, model.layers[0].output).predict(x, verbose=0)
    return folder, hidden, model.layers[0].kernel.numpy()


def run(folder, *flags):
    with pytest.raises(SystemExit) as ended:
        measure_model.run(["measure_model", f"--data={folder}/data.npz", *flags])
    return ended.value.code


def test_figures_before_and_after(files, capsys):
    folder, hidden, kernel = files
    flags = [f"--model={folder}/float.keras", f"--json={folder}/f.json", f"--html={folder}/p.html"]
    assert run(folder, *flags, "--precision=w4a4", "--candidate_bits=4,8") == 0
    printed = capsys.readouterr().out
    assert "zeros after" in printed and "SQNR at the output out" in printed
    found = json.loads((folder / "f.json").read_text())
    entry = next(layer for layer in found["layers"] if layer["name"] == "hidden")
    seen = entry["activations"]
    assert seen["max"] == pytest.approx(hidden.max())
    assert seen["zero_fraction"] == pytest.approx((hidden == 0).mean())
    median = np.percentile(hidden, 50, method="inverted_cdf")
    assert seen["percentiles"]["50"] == pytest.approx(median, abs=float(hidden.max()) / 1000)
    exponents = np.frexp(hidden[hidden != 0])[1] - 1
    wanted = {
        str(e): int(n) for e, n in zip(*np.unique(exponents, return_counts=True), strict=True)
    }
    assert seen["log2_histogram"] == wanted
    for choice in entry["weights"]["candidates"]["4"]:
        bits = int(choice["fmt"].split(".")[1])
        codes = np.rint(kernel * 2.0**bits)
        clipped = ((codes > 7) | (codes < -8)).mean()
        assert choice["clipped"] == pytest.approx(clipped, abs=0.02)
    assert set(entry["sqnr_db"]) == {"activations", "weights"}
    page = (folder / "p.html").read_text()
    for heading in ("Noise", "Ranges of activations", "Zeros", "Costs"):
        assert f">{heading}</h2>" in page


def test_page_of_a_quantized_model_has_the_float_network_and_other_tools_figures(files, capsys):
    folder = files[0]
    model = keras.models.load_model(folder / "float.keras")
    with np.load(folder / "data.npz") as data:
        stats = tfxp.measure_model(model, data["x"])
    stats.save(folder / "s.json")
    tfxp.quantize_model(model, "w4a4", stats).save(folder / "q.keras")
    row = {"name": "hidden", "macs_total": 8, "macs_executed": 6, "runs": 1}
    row |= {"macs_skipped_activation": 2, "macs_skipped_weight": 0}
    row |= {"zero_fraction_input": 0.25, "zero_fraction_weights": 0.0}
    found = {"engine": "fast", "arithmetic": "litert", "accuracy": 0.5, "layers": [row]}
    (folder / "run.json").write_text(json.dumps(found))
    flags = [f"--stats={folder}/s.json", f"--figures={folder}/run.json", "--name=My network"]
    pages = [f"--html={folder}/q.html", f"--json={folder}/q.json"]
    assert run(folder, f"--model={folder}/q.keras", *flags, *pages) == 0
    capsys.readouterr()
    page, figures = (folder / "q.html").read_text(), json.loads((folder / "q.json").read_text())
    assert "<h1>My network in few bits</h1>" in page and ">executed</th>" in page
    layer = next(x for x in figures["run"]["layers"] if x["name"] == "hidden")
    assert layer["executed"] == 0.75 and layer["high"] == stats["hidden"].activations.max
    assert figures["run"]["accuracies"] == {"integers in the interpreter": 0.5}
    assert run(folder, f"--model={folder}/float.keras", *flags) == 1
    assert "stats: got some for a float model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--figures=/nowhere.json"], "/nowhere.json"),
        (["--candidate_bits=4,x"], "candidate_bits: got"),
        (["--html=/dev/null/p.html"], "cannot be written"),
        (["--precision=w4"], "w4"),
    ],
)
def test_bad_input_is_one_sentence(files, flags, text, capsys):
    folder = files[0]
    assert run(folder, f"--model={folder}/float.keras", *flags) == 1
    error = capsys.readouterr().err.strip()
    assert text in error and len(error.splitlines()) == 1
