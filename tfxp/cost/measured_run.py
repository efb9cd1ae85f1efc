"""Zeros as a run of the interpreter counted them, for the layers of a counted network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfxp.errors import ConfigError
from tfxp.precision import ModelStats


def executed_macs(run: Mapping[str, Any], model: ModelStats) -> dict[str, float]:
    """Multiply-accumulates per sample that were done, by layer.

    Rows of the run go with the layers of the same name; where names differ (the run was of an
    exported file, the network is a Keras model), with the layers that multiply, in order, if
    their counts agree.

    Args:
        run: what `tools/run_tflite.py --json` wrote: `samples`, and `layers` with `name`,
            `macs_total` and `macs_executed`.
        model: the network that is priced.

    Raises:
        ConfigError: the run is of another network, or lacks a field.
    """
    try:
        samples = int(run["samples"])
        rows = [
            (str(row["name"]), int(row["macs_total"]), int(row["macs_executed"]))
            for row in run["layers"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"measured run: {error!r}; expected samples and layers with name, macs_total and "
            "macs_executed. Write one with run_tflite --json."
        ) from None
    if samples < 1:
        raise ConfigError(f"samples of the measured run: got {samples}; expected at least 1.")
    working = [layer for layer in model.layers.values() if layer.macs]
    names = {layer.name: layer.macs for layer in working}
    rows = [row for row in rows if row[1]]
    if not all(name in names for name, _, _ in rows):
        if len(rows) != len(working):
            raise ConfigError(
                f"measured run: got {len(rows)} layers that multiply; expected {len(working)}, as "
                "the priced network has. Measure the same model."
            )
        rows = [
            (layer.name, total, done) for layer, (_, total, done) in zip(working, rows, strict=True)
        ]
    for name, total, _ in rows:
        if total != samples * names[name]:
            raise ConfigError(
                f"measured run: got {total / samples:g} multiply-accumulates per sample in "
                f"{name!r}; expected {names[name]}. Measure the same model."
            )
    return {name: done / samples for name, _, done in rows}
