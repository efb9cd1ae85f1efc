"""A NullHop file, read back and computed, against the Keras model that it came from."""

from __future__ import annotations

import os
import re

import numpy as np

from tfxp.comparison.trace import Trace
from tfxp.export.nullhop.convert import convert, following
from tfxp.export.nullhop.machine import run_nullhop
from tfxp.export.nullhop.text_file import load_nullhop
from tfxp.export.trace_keras import KerasTracer
from tfxp.keras_types import KerasModel
from tfxp.quantization.plan import QuantizationPlan


def check_nullhop(
    path: str | os.PathLike[str], qmodel: KerasModel, sample: np.ndarray
) -> dict[str, int]:
    """Layer -> values that differ between the file, read back and computed, and the Keras model.

    Formats that saturate before 16 bits do are applied by the model only; a difference of 0
    everywhere says that none did, and that every integer in the file is right.

    Args:
        path: the NullHop text file.
        qmodel: the model that it was written from.
        sample: one input, without the dimension of samples.
    """
    loaded, tracer = load_nullhop(path), KerasTracer(qmodel)
    network, made = tracer.network, convert(tracer.network, sample)
    trace = tracer.trace([np.asarray(sample, np.float32)[None]])
    rounding = network.formats[made.names[0]].code_rounding
    found = {}
    for name, layer, have in zip(
        made.names, loaded.layers, run_nullhop(loaded, rounding), strict=True
    ):
        wanted = _real(trace, name, network.plan)[0].transpose(2, 0, 1)
        codes = np.rint(wanted * 2.0**layer.output_bits).astype(np.int64)
        found[name] = int((codes != have).sum()) if codes.shape == have.shape else codes.size
    return found


def _real(trace: Trace, name: str, plan: QuantizationPlan) -> np.ndarray:
    """A layer's output in the Keras run, behind its ReLU and its pool if it has them."""
    names = "|".join(re.escape(n) for n in (name, *following(plan, name)) if n)
    pattern = re.compile(rf"({names})(_maximum|_minimum)*")
    shown = [t for n, t in trace.tensors.items() if pattern.fullmatch(n) and t.codes is not None]
    return shown[-1].real
