"""Figures of runs: the JSON behind pages, read back from pages and from files."""

import json
import math
import re

import pytest

from tfxp.errors import DataError
from tfxp.report import (
    LayerFigures,
    Page,
    RunFigures,
    compare_page,
    live_data,
    provenance,
    read_run,
)
from tfxp.report.provenance import file_text

RUN = RunFigures(
    "net <1>",
    (LayerFigures("a", "conv", ("x",), ("bn",), (8, 8), sqnr_db=math.inf, zeros=0.5),),
    {"size": "1 KiB"},
    {"test": 0.5},
    {"flash, KiB": (1.0, 4.0)},
    {"seed": "1"},
)


def test_round_trip_through_json_and_page(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"run": RUN.to_dict()}))
    assert read_run(tmp_path / "run.json") == RUN
    page = Page("net")
    bare = {key: value for key, value in RUN.to_dict().items() if key != "layers"}
    page.live({**live_data(RUN.layers), "run": bare})
    page.write(tmp_path / "run.html")
    assert read_run(tmp_path / "run.html") == RUN


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "{}", '{"run": {"schema": 9}}', '{"run": {"schema": 1}}']
)
def test_other_files_are_refused_in_one_sentence(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(DataError, match="run") as caught:
        read_run(path)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="absent"):
        read_run(tmp_path / "absent.html")


def test_provenance_names_files_by_their_content(tmp_path):
    (tmp_path / "data.npz").write_bytes(b"abc")
    # SHA-256 of "abc", FIPS 180-2, appendix B.1
    assert file_text(tmp_path / "data.npz") == "data.npz (SHA-256 ba7816bf8f01cfea)"
    found = provenance([tmp_path / "data.npz"], seed=7)
    assert list(found)[:4] == ["command", "date", "files", "seed"] and found["seed"] == "7"
    assert "tfxp " in found["versions"] and "numpy " in found["versions"]


@pytest.mark.parametrize(
    ("first", "second", "change"),
    [("35.0 dB", "16.0 dB", "-19.0 dB"), ("1,024", "2,048", "+1,024"), ("1 KiB", "3 MiB", None),
     ("exact", "16.0 dB", None), ("35.0 dB", None, None)],
)  # fmt: skip
def test_summaries_of_two_runs_show_their_change(first, second, change):
    runs = [RunFigures("net", (), {"it": text} if text else {}) for text in (first, second)]
    row = compare_page(*runs).html().split("<td>it</td>")[1].split("</tr>")[0]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
    assert cells[-1] == (change or "")
