"""What zeros save: counted in a run of the interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxp.errors import ExportError
from tfxp.export import KerasTracer
from tfxp.interpreter import Interpreter
from tfxp.keras_types import KerasModel

_PER_OPERATOR = ("type", "zero_fraction_input", "zero_fraction_weights", "zero_fraction_output")


def counts_of_run(runner: Interpreter, samples: int) -> dict[str, Any]:
    """Shares of executed and skipped MACs; MACs and KiB of traffic per sample; zeros by operator.

    Args:
        runner: an interpreter that has run.
        samples: how many samples it has run.
    """
    sums = runner.report().to_dict()
    macs = max(sums["macs_total"], 1)
    return {
        "macs": sums["macs_total"] // samples,
        "executed": sums["macs_executed"] / macs,
        "skipped_activation": sums["macs_skipped_activation"] / macs,
        "skipped_weight": sums["macs_skipped_weight"] / macs,
        "kib_dense": sums["bits_dense"] / 8192 / samples,
        "kib_compressed": sums["bits_compressed"] / 8192 / samples,
        "layers": [{name: row[name] for name in _PER_OPERATOR} for row in sums["layers"]],
    }


def counts_of_model(qmodel: KerasModel, x: np.ndarray) -> dict[str, Any] | str:
    """The same of a quantized model's integers; a sentence if it cannot be written as integers.

    Args:
        qmodel: what `quantize_model` returned.
        x: inputs, as the model takes them.
    """
    try:
        tracer = KerasTracer(qmodel)
    except ExportError as error:
        return str(error)
    runner = Interpreter(tracer.graph)
    runner.allocate_tensors()
    runner.predict_codes(tracer.codes([x])[0])
    return counts_of_run(runner, len(x))
