"""Pipeline files: steps are kept while nothing that they read or wrote changes."""

import json

import numpy as np
import pytest

from tests.test_tools import exit_of


@pytest.fixture
def folder(tmp_path):
    """A float model, data, and a pipeline of three commands."""
    from tfxp.keras import keras, layers

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")])
    model.save(tmp_path / "net.keras")
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    np.savez(tmp_path / "data.npz", x=x, y=np.zeros(16, int))
    steps = [
        {"command": "measure", "flags": {"model": "net.keras", "data": "data.npz",
                                         "output": "stats.json"}},
        {"command": "quantize", "flags": {"model": "net.keras", "stats": "stats.json",
                                          "precision": "w4a4", "output": "q.keras"}},
        {"command": "export", "flags": {"model": "q.keras", "output": "q.tflite", "check": True}},
    ]  # fmt: skip
    (tmp_path / "p.json").write_text(json.dumps({"schema": 1, "steps": steps}))
    return tmp_path


def go(folder, capsys, *flags):
    code = exit_of("run_pipeline", f"--pipeline={folder / 'p.json'}", *flags)
    out = capsys.readouterr().out
    return code, out.strip().splitlines()[-1].split(", in")[0] if out else ""


def test_steps_are_kept_until_something_changes(folder, capsys):
    assert go(folder, capsys) == (0, "3 steps done, 0 kept")
    written = (folder / "q.tflite").read_bytes()
    assert go(folder, capsys) == (0, "0 steps done, 3 kept")
    (folder / "q.tflite").unlink()  # as after a kill in the last step
    assert go(folder, capsys) == (0, "1 steps done, 2 kept")
    assert (folder / "q.tflite").read_bytes() == written
    steps = json.loads((folder / "p.json").read_text())
    steps["steps"][1]["flags"]["precision"] = "w3a4"
    (folder / "p.json").write_text(json.dumps(steps))
    assert go(folder, capsys) == (0, "2 steps done, 1 kept")
    assert go(folder, capsys, "--again") == (0, "3 steps done, 0 kept")


def test_files_in_a_list_are_read_too(folder, capsys):
    steps = json.loads((folder / "p.json").read_text())
    steps["steps"][2]["flags"]["json"] = "export.json"
    page = {"model": "q.keras", "data": "data.npz", "figures": ["export.json"], "html": "q.html"}
    steps["steps"].append({"name": "page", "command": "measure", "flags": page})
    (folder / "p.json").write_text(json.dumps(steps))
    assert go(folder, capsys) == (0, "4 steps done, 0 kept")
    assert "tfxp measure --model=q.keras" in (folder / "q.html").read_text()  # not this process
    steps["steps"][2]["flags"]["check"] = False  # other figures of the export, the same model
    (folder / "p.json").write_text(json.dumps(steps))
    assert go(folder, capsys) == (0, "2 steps done, 2 kept")


def test_a_step_that_fails_ends_the_pipeline(folder, capsys):
    (folder / "data.npz").unlink()
    assert exit_of("run_pipeline", f"--pipeline={folder / 'p.json'}") == 1
    err = capsys.readouterr().err
    assert "step measure: ended with 1" in err and not (folder / "q.keras").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "no list of steps"),
        ('{"schema": 2, "steps": [{}]}', "schema"),
        ('{"schema": 1, "steps": [{"command": "mesure"}]}', "Did you mean 'measure'?"),
        ('{"schema": 1, "steps": [{"command": "view", "flags": {"modle": 1}}]}', "--modle"),
        ('{"schema": 1, "steps": [{"command": "view"}, {"command": "view"}]}', "twice"),
        ('{"schema": 1, "steps": [{"command": "view", "flag": {}}]}', "flag"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, text, said):
    (tmp_path / "p.json").write_text(text)
    assert exit_of("run_pipeline", f"--pipeline={tmp_path / 'p.json'}") == 1
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
