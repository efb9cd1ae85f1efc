"""Figures of several tools on one page."""

import json

import pytest

from tfxp.errors import DataError
from tfxp.report import tool_figures

QUANTIZED = {"model": "a", "precision": "w4a4", "accuracy": {"float": 0.9}, "formats": {}}
EXPORTED = {
    "storage": "INT8", "tflite_bytes": 10, "float_bytes": 30, "elements": 7,
    "mismatches_interpreter": 0, "mismatches_litert": 2, "litert_error": "",
}  # fmt: skip
ROW = {"name": "conv", "macs_total": 8, "macs_executed": 6}
RUN = {"engine": "fast", "arithmetic": "litert", "accuracy": 0.8, "layers": [ROW]}
LITERT = {"engine": "litert", "arithmetic": "litert", "accuracy": 0.7}


def _files(folder, *parts):
    paths = [folder / f"{number}.json" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_text(json.dumps(part))
    return paths


def test_each_tool_adds_its_own(tmp_path):
    assert tool_figures(_files(tmp_path, QUANTIZED, EXPORTED, RUN, LITERT)) == {
        "accuracies": {
            "float": 0.9,
            "integers in the interpreter": 0.8,
            "integers in LiteRT": 0.7,
        },
        "tflite_bytes": 10,
        "float_bytes": 30,
        "elements": 7,
        "mismatches": {"the interpreter": 0, "LiteRT": 2},
        "runs": [ROW],
    }


def test_a_runtime_that_refused_is_no_agreement(tmp_path):
    found = tool_figures(_files(tmp_path, {**EXPORTED, "litert_error": "no"}))
    assert found["mismatches"] == {"the interpreter": 0}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"layers": []}, "no figures of a tool"),
        ([], "no figures of a tool"),
        ({**EXPORTED, "tflite_bytes": "many"}, "broken figures"),
        ({**QUANTIZED, "accuracy": []}, "broken figures"),
    ],
)
def test_other_files_are_named(tmp_path, data, said):
    (path,) = _files(tmp_path, data)
    with pytest.raises(DataError, match=said) as caught:
        tool_figures([path])
    assert "0.json" in str(caught.value)
