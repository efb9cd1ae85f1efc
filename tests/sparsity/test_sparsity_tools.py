"""Flags that make zeros: the figures they print, the file they write, what they refuse."""

import json

import numpy as np
import pytest

import tfxp
from tests.sparsity.test_pruning import inputs_of, network
from tfxp.commands.sparse_rows import SparseRow
from tfxp.errors import ConfigError
from tfxp.sparsity.prunable import prunables
from tools import bench_sparsity, quantize_model


@pytest.fixture
def files(tmp_path):
    model = network()
    model.save(tmp_path / "net.keras")
    np.savez(tmp_path / "data.npz", x=inputs_of(model, 80), y=np.arange(80) % 3)
    return tmp_path


def flags(files, **more):
    data = str(files / "data.npz")
    values = {
        "model": str(files / "net.keras"), "data": data, "eval_data": data, "batch_size": "16",
        "output": str(files / "out.keras"), "json": str(files / "out.json"), "calibrate": "none",
        **more,
    }  # fmt: skip
    return ["quantize_model", *(f"--{key}={value}" for key, value in values.items())]


def run(tool, command, status=0):
    """Run a tool, which ends the process."""
    with pytest.raises(SystemExit) as end:
        tool.run(command)
    assert (end.value.code or 0) == status


@pytest.mark.parametrize("trained", [False, True])
def test_quantize_model_makes_and_counts_zeros(files, trained, capsys):
    more = {"sparsity": "0.75", "activation_budget": "0.02"}
    if trained:
        more |= {"train_data": str(files / "data.npz"), "epochs": "1", "activation_hoyer": "0.1"}
    run(quantize_model, flags(files, **more))
    figures = json.loads((files / "out.json").read_text())["zeros"]
    assert figures["after"]["executed"] < 0.5 * figures["before"]["executed"]
    assert figures["after"]["macs"] == figures["before"]["macs"]
    text = capsys.readouterr().out
    assert "begins at" in text and "zeros before" in text and "zeros after" in text
    model = tfxp.load_model(files / "out.keras")
    assert all(layer.zeros()[0] >= 0.74 * layer.zeros()[1] for layer in prunables(model).values())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sparsity": "half"}, "expected a share"),
        ({"sparsity": "gone.json"}, "gone.json"),
        ({"activation_budget": "0"}, "expected a positive share"),
        ({"activation_l1": "0.1"}, "expected --train_data"),
    ],
)
def test_quantize_model_refuses(files, more, words, capsys):
    run(quantize_model, flags(files, **more), status=1)
    assert words in capsys.readouterr().err and not (files / "out.keras").exists()


@pytest.mark.parametrize("text", ["w8a8/hoyr=1", "w8a8/l1=x", "w8a8/half", "w99b"])
def test_rows_that_are_none(text):
    with pytest.raises((ConfigError, tfxp.TfxpError), match="expected"):
        SparseRow.parse(text)


@pytest.mark.slow
def test_bench_sparsity_trains_rows_and_goes_on(files, capsys):
    data = str(files / "data.npz")
    command = [
        "bench_sparsity", f"--model={files / 'net.keras'}", f"--data={data}", "--epochs=1",
        f"--train_data={data}", f"--eval_data={data}", f"--files={files / 'rows'}",
        f"--json={files / 'rows.json'}", f"--plot={files / 'rows.svg'}",
    ]  # fmt: skip
    run(bench_sparsity, [*command, "--rows=w8a8/0.5"])
    first = json.loads((files / "rows.json").read_text())["w8a8/0.5"]
    run(bench_sparsity, [*command, "--rows=w8a8/0.5,w6a6/0.75/hoyer=0.1"])
    rows = json.loads((files / "rows.json").read_text())
    assert rows["w8a8/0.5"] == first and rows["w6a6/0.75/hoyer=0.1"]["executed"] < first["executed"]
    assert (files / "rows" / rows["w8a8/0.5"]["file"]).exists() and (files / "rows.svg").exists()
    assert "MACs executed" in capsys.readouterr().out


def test_bench_sparsity_counts_zeros_before_and_after_fine_tuning(files, capsys, monkeypatch):
    def to_zero(qmodel, x, settings, teacher):
        assert settings.formats == "fixed" and len(x) == 80 and teacher is not qmodel
        for variable in qmodel.trainable_weights:
            variable.assign(0 * variable)

    monkeypatch.setattr(bench_sparsity, "fine_tune", to_zero)
    data = str(files / "data.npz")
    run(bench_sparsity, [
        "bench_sparsity", f"--model={files / 'net.keras'}", f"--data={data}", "--bits=5",
        f"--train_data={data}", f"--eval_data={data}", f"--json={files / 'zeros.json'}",
        "--placements=pre_activation", "--images=4",
    ])  # fmt: skip
    found = json.loads((files / "zeros.json").read_text())
    before, after = found["5 bits, before the ReLU"], found["5 bits, before the ReLU, fine-tuned"]
    assert max(found["float"]["weight_zeros"].values()) < min(before["weight_zeros"].values()) < 1
    assert set(after["weight_zeros"].values()) == {1} and after["executed"] == 0
    assert "in the kernel of" in capsys.readouterr().out
