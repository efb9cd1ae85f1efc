"""The command that lays two runs side by side."""

import json
import math

import pytest

from tests.test_tools import exit_of
from tfxp.report import LayerFigures, RunFigures


@pytest.fixture
def runs(tmp_path):
    for name, noise in (("a", 20.0), ("b", 12.5)):
        layers = (LayerFigures("image", "input", sqnr_db=math.inf),
                  LayerFigures("conv", "conv", ("image",), sqnr_db=noise))  # fmt: skip
        run = {"run": RunFigures(name, layers).to_dict()}
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    return [f"--run={tmp_path / 'a.json'}", f"--against={tmp_path / 'b.json'}"]


def test_page_table_and_json(runs, tmp_path, capsys):
    page, data = tmp_path / "c.html", tmp_path / "c.json"
    assert exit_of("report_runs", *runs, f"--output={page}", f"--json={data}") == 0
    out = capsys.readouterr().out
    assert "-7.5" in out and "2 layers in both; 0 in one only" in out
    assert "20.0 dB → 12.5 dB" in page.read_text()
    rows = {row["name"]: row for row in json.loads(data.read_text())["layers"]}
    assert rows["conv"]["d.sqnr"] == -7.5 and rows["image"]["d.sqnr"] is None


def test_bad_input_is_one_sentence(runs, tmp_path, capsys):
    assert exit_of("report_runs", *runs, "--names=x") == 1
    (tmp_path / "b.json").write_text("{}")
    assert exit_of("report_runs", *runs) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 2 and "expected two" in err and "b.json" in err
