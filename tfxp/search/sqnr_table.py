"""Predicted beside measured noise of a map, layer by layer."""

from __future__ import annotations

import math
from typing import Any

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.assign import measure_kappa, predict_sqnr
from tfxp.cost import resolve_precision
from tfxp.errors import DataError
from tfxp.formats import TensorStats
from tfxp.keras_types import KerasModel, Samples
from tfxp.measure import measure_sqnr
from tfxp.precision import ModelStats, PrecisionMap
from tfxp.quantization import precision_of, quantize_model


def sqnr_table(
    stats: ModelStats,
    pmap: PrecisionMap,
    model: KerasModel | None = None,
    inputs: Samples = (),
    batch_size: int = 64,
) -> list[dict[str, Any]]:
    """SQNR of every layer under a map: by both rules of `predict_sqnr`, and measured.

    Args:
        stats: measured statistics of the network.
        pmap: the precision map.
        model: the float model; without it nothing is run and the measured column is empty.
        inputs: samples to measure on, as in `measure_model`.
        batch_size: samples per step.

    Returns:
        A row per layer: `layer`, `kappa` and `kappa_data` (dB per bit of its weights and of its
        output, fitted), `weights_db`,
        `predicted_db` (harmonic rule), `power_db` (with measured powers), `measured_db`; None
        where there is nothing or nothing is lost. Empty if distributions were not measured.
    """
    owners = [layer for layer in stats.layers.values() if layer.owns_format]
    if not all(x.activations and (x.weights or not x.weight_count) for x in owners):
        return []
    measured, precision = {}, resolve_precision(stats, pmap)
    if model is not None:
        qmodel = quantize_model(model, pmap, stats)
        # Formats as they were fitted, in place of numbers of bits.
        precision = resolve_precision(stats, precision_of(qmodel))
        found = measure_sqnr(model, qmodel, inputs, batch_size=batch_size)
        measured = {n: row.output_db for n, row in found.items() if math.isfinite(row.output_db)}
    paper = predict_sqnr(stats, precision, measured_db=measured)
    ours = predict_sqnr(stats, precision, rule="power")
    rows = []
    for row, other in zip(paper, ours, strict=True):
        weights = stats[row.layer].weights
        rows.append(
            {
                "layer": row.layer,
                "kappa": _kappa(weights),
                "kappa_data": _kappa(stats[row.layer].activations),
                "weights_db": row.weights_db,
                "predicted_db": row.rounded_db,
                "power_db": other.rounded_db,
                "measured_db": row.measured_db,
            }
        )
    return rows


def _kappa(tensor: TensorStats | None) -> float | None:
    try:
        return measure_kappa(tensor).kappa if tensor is not None else None
    except DataError:  # on a coarse grid already: nothing is lost at any word length
        return None
