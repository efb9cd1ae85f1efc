"""Networks trained towards zeros, exported, and run: accuracy against executed MACs."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tfxp.commands.zero_counts import counts_of_run
from tfxp.data import ModelData
from tfxp.errors import ConfigError, did_you_mean
from tfxp.export.export_tflite import export_tflite
from tfxp.interpreter import Interpreter
from tfxp.keras_types import KerasModel
from tfxp.measure.measure_model import measure_model
from tfxp.precision import PrecisionMap
from tfxp.quantization import precision_of
from tfxp.quantization.quantize_model import quantize_model
from tfxp.sparsity import SparsityMap
from tfxp.training import FineTuneSettings, calibrate_model, fine_tune

_FIELDS = ("l1", "hoyer")
_EXPECTED = "expected a precision and what makes zeros, such as w8a8, w8a8/0.75 or w4a4/hoyer=0.1"


@dataclasses.dataclass(frozen=True)
class SparseRow:
    """One network to train: its precision, the zeros of its weights, the price of activations.

    Args:
        name: what it was parsed from.
        precision: shorthand or file of a precision map.
        zeros: of the weights; None for a dense network.
        strengths: "l1" and "hoyer", as `FineTuneSettings` takes them.

    Example:
        >>> SparseRow.parse("w8a8/2:4/hoyer=0.1").strengths
        {'hoyer': 0.1}
    """

    name: str
    precision: str
    zeros: SparsityMap | None
    strengths: dict[str, float]

    @classmethod
    def parse(cls, text: str) -> SparseRow:
        """PRECISION[/PATTERN][/l1=STRENGTH][/hoyer=STRENGTH].

        Raises:
            ConfigError: no such pattern or field.
            PrecisionError: no such precision.
        """
        precision, *parts = text.split("/")
        PrecisionMap.parse(precision)
        zeros, strengths = None, dict[str, float]()
        for part in parts:
            key, given, value = part.partition("=")
            if not given:
                zeros = SparsityMap.parse(part)
                continue
            if key not in _FIELDS:
                hint = did_you_mean(key, _FIELDS)
                raise ConfigError(f"row {text!r}: got {key!r}; {_EXPECTED}.{hint}")
            try:
                strengths[key] = float(value)
            except ValueError:
                raise ConfigError(f"row {text!r}: got {value!r}; {_EXPECTED}.") from None
        return cls(text, precision, zeros, strengths)

    def settings(self, base: FineTuneSettings) -> FineTuneSettings:
        """How it is trained."""
        l1, hoyer = (self.strengths.get(key, 0.0) for key in _FIELDS)
        return dataclasses.replace(
            base, sparsity=self.zeros, activation_l1=l1, activation_hoyer=hoyer
        )


class SparseTrainings:
    """Trains rows that share a float network, data and settings.

    Args:
        model: the float network, and the teacher.
        calibration: samples to choose formats on.
        training: samples to train on.
        tests: samples that the exported file is run on, all of them.
        settings: of every fine-tuning.
        folder: where the files are written.
    """

    def __init__(
        self,
        model: KerasModel,
        calibration: ModelData,
        training: ModelData,
        tests: ModelData,
        settings: FineTuneSettings,
        folder: Path,
    ) -> None:
        self._model, self._calibration = model, calibration
        self._training, self._tests = training, tests
        self._settings, self._folder = settings, folder
        self._calibrated: dict[str, KerasModel] = {}

    def run(self, row: SparseRow) -> dict[str, Any]:
        """Train one row, export it, and run the file on all the tests."""
        qmodel = self._start(row.precision)
        labels = None if self._training.y is None else self._training.labels()
        losses = fine_tune(
            qmodel, self._training.x, labels, row.settings(self._settings), teacher=self._model
        )
        path = self._folder / (row.name.replace("/", "_").replace(":", "of") + ".tflite")
        export_tflite(qmodel, path)
        found = run_file(path, self._tests)
        return {"row": row.name, "file": path.name, "losses": list(losses), **found}

    def _start(self, precision: str) -> KerasModel:
        """A fresh copy of the calibrated network."""
        if precision not in self._calibrated:
            stats = measure_model(self._model, self._calibration.x)
            first = quantize_model(self._model, precision, stats)
            calibrate_model(first, self._calibration.x, sweeps=1)
            self._calibrated[precision] = first
        first = self._calibrated[precision]
        copy = quantize_model(self._model, precision_of(first))
        copy.set_weights(first.get_weights())
        return copy


def run_file(path: Path, tests: ModelData) -> dict[str, Any]:
    """Accuracy of a file in the interpreter's run, and what the run counted.

    Args:
        path: a .tflite file of a classifier.
        tests: samples with labels.

    Returns:
        "accuracy", "samples" and what `counts_of_run` gives.
    """
    runner = Interpreter(str(path))
    runner.allocate_tensors()
    outputs = np.asarray(runner.predict(tests.x))
    hits = outputs.reshape(len(tests), -1).argmax(1) == tests.labels()
    return {
        "accuracy": float(hits.mean()),
        "samples": len(tests),
        **counts_of_run(runner, len(tests)),
    }


def progress_line(result: dict[str, Any]) -> None:
    """One line for a row that is done."""
    text = f"{result['row']}: {result['accuracy']:.2%}, {result['executed']:.1%} of the MACs"
    print(text, file=sys.stderr, flush=True)
