#!/usr/bin/env python3
"""A float network at several precisions on every runtime: a table of what differs.

    tools/compare_runtimes.py --model=float.keras --data=digits.npz --limit=1000 \
        --precisions=w6a8,w4a4,w4a4c --json=runtimes.json

Quantizes the network at each precision, exports it, and runs the file on the samples in Keras, in
tfxp's interpreter, which all runtimes are compared with, and in the --runtimes. Prints a table in
Markdown: output elements that differ, and the largest difference in LSB. Rows that the --json file
has for the same model, data and flags are not computed again, so a run that was interrupted goes
on, and networks can share a file. Exits with 1 if anything differs or does not run.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tfxp
from tfxp import cli
from tfxp.commands.read_data import read_data
from tfxp.errors import ConfigError, TfxpError
from tfxp.files import write_json
from tfxp.progress import Progress
from tfxp.runtimes import RUNTIMES, runtimes_of

_FLAGS = cli.ToolFlags(__doc__)
_MODEL = _FLAGS.model("Float Keras model.")
_OPENING = _FLAGS.opening()
_NAME = _FLAGS.DEFINE_string("name", None, "What the table calls the network (its file's name).")
_DATA = _FLAGS.data("Samples; formats are fitted to the first --calibration of them.")
_SPLIT = _FLAGS.split()
_LIMIT = _FLAGS.limit()
_CALIBRATION = _FLAGS.DEFINE_integer(
    "calibration", 256, "Samples that formats are fitted to.", lower_bound=1
)
_FLAGS.preprocessing()
_FLAGS.input_scale()
_FLAGS.input_shift()
_PRECISIONS = _FLAGS.DEFINE_list(
    "precisions",
    ["w6a8", "w6a6", "w4a8", "w4a4", "w3a3", "w2a2"],
    "Shorthands, or maps: a row for each.",
)
_RUNTIMES = _FLAGS.DEFINE_list(
    "runtimes", ["all"], f"Where files run: {', '.join(RUNTIMES)}, or all."
)
_JSON = _FLAGS.json()
_PROGRESS = _FLAGS.progress()


def main() -> int:
    """A row for each precision; 1 if anything differs."""
    runtimes = [runtime.name for runtime in runtimes_of(_RUNTIMES.value)]
    precisions = {text: cli.read_precision(text) for text in _PRECISIONS.value}
    rows = _known_rows()
    job = _Job(runtimes)
    mine = []
    for text, precision in precisions.items():
        row = next((row for row in rows if row["key"] == job.key(text)), None)
        if row is None:
            row = job.row(text, precision)
            rows.append(row)
            if _JSON.value:
                write_json(_JSON.value, {"rows": rows})
        mine.append(row)
    print(markdown(mine))
    return int(any(map(differs, mine)))


class _Job:
    """A network and its samples."""

    def __init__(self, runtimes: list[str]) -> None:
        self._runtimes = runtimes
        self._model: Any = None
        self.name = _NAME.value or Path(_MODEL.value).stem
        contents = [Path(flag.value) for flag in (_MODEL, _DATA)]
        self._fingerprints = [_fingerprint(path) for path in contents]

    def key(self, precision: str) -> dict[str, Any]:
        """What must be the same for a row to be the same."""
        return {
            "name": self.name,
            "precision": precision,
            "model": self._fingerprints[0],
            "data": self._fingerprints[1],
            "split": _SPLIT.value,
            "limit": _LIMIT.value,
            "calibration": _CALIBRATION.value,
            "runtimes": self._runtimes,
        }

    def row(self, text: str, precision: Any) -> dict[str, Any]:
        """Quantize, export, run."""
        if self._model is None:
            self._open()
        row: dict[str, Any] = {"key": self.key(text)}
        title = f"{self.name} {text}"
        try:
            qmodel = tfxp.quantize_model(self._model, precision, self._stats)
            with tempfile.TemporaryDirectory() as folder:
                with Progress(len(self._data), title, "sample", _PROGRESS.value) as bar:
                    report = tfxp.export_tflite(
                        qmodel,
                        f"{folder}/model.tflite",
                        verify=self._data.x,
                        check=False,  # what it would refuse is counted here
                        runtimes=self._runtimes,
                        progress=bar.reach,
                    )
        except TfxpError as error:
            return {**row, "error": str(error)}
        figures = report.to_dict()
        names = ("samples", "elements", "mismatches_interpreter", "notes", "tflite_bytes")
        asked = [r for r in figures["runtimes"] if r["runtime"] in self._runtimes]
        return {**row, **{name: figures[name] for name in names}, "runtimes": asked, "error": ""}

    def _open(self) -> None:
        model = tfxp.load_model(_MODEL.value, **_OPENING.options())
        model, _ = tfxp.split_normalization(model, always=False)
        data = read_data(
            _FLAGS, _DATA.value, model, split=_SPLIT.value, limit=_LIMIT.value, keep=True
        )
        assert data is not None  # the flag is required
        self._data = data
        self._model = model
        self._stats = tfxp.measure_model(model, self._data.take(_CALIBRATION.value).x)


def _fingerprint(path: Path) -> str:
    """Of a file's bytes, or of all files of a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _known_rows() -> list[dict[str, Any]]:
    """Rows of an earlier run.

    Raises:
        ConfigError: the --json file holds something else.
    """
    if not _JSON.value or not Path(_JSON.value).exists():
        return []
    try:
        rows = json.loads(Path(_JSON.value).read_text(encoding="utf-8"))["rows"]
        return [{**row, "key": dict(row["key"])} for row in rows]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"--json: got {_JSON.value}, which holds no rows of this tool; expected another name."
        ) from None


def differs(row: dict[str, Any]) -> bool:
    """Whether anything in a row is not the same, or did not run."""
    if row["error"] or row["mismatches_interpreter"]:
        return True
    return any(found["error"] or found["differing"] for found in row["runtimes"])


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table: network, precision, output elements, Keras, and a column for each runtime."""
    names = rows[0]["key"]["runtimes"]
    lines = [["network", "precision", "outputs", "Keras", *names]]
    lines.append(["---", "---", *["---:"] * (2 + len(names))])
    remarks: list[str] = []
    for row in rows:
        key = row["key"]
        line = [key["name"], key["precision"]]
        if row["error"]:
            remarks.append(f"{key['name']} {key['precision']}: {row['error']}")
            lines.append([*line, *["–"] * (2 + len(names))])
            continue
        for found in row["runtimes"]:
            if found["error"] and found["error"] not in remarks:
                remarks.append(found["error"])
        line += [f"{row['elements']:,}", f"{row['mismatches_interpreter']:,}"]
        lines.append([*line, *map(cell, row["runtimes"])])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([table, *remarks])


def cell(found: dict[str, Any]) -> str:
    """How many elements differ on a runtime, by how much, and where first."""
    if found["error"]:
        return "–"
    if not found["differing"]:
        return "0"
    return f"{found['differing']:,} ({found['max_lsb']} LSB, `{found['first']}`)"


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
