"""Figures of layers as node data of Google's Model Explorer, beside the exported file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfxp.files import write_json
from tfxp.report.layer_figures import LayerFigures

_BAD, _PALE, _DARK = "#f4a261", "#e8f1fb", "#3b82c4"


@dataclass(frozen=True)
class _Data:
    """One file: a figure of output tensors, one of kernels, and the colours from least to most."""

    file: str
    name: str
    activations: tuple[str, ...]  # the first that is known
    weights: tuple[str, ...] = ()
    colours: tuple[str, str] = (_PALE, _DARK)


_FILES = (
    _Data("bits", "bits", ("activation_bits",), ("weight_bits",)),
    _Data("sqnr", "SQNR, dB", ("sqnr_db",), ("weight_sqnr_db",), (_BAD, _PALE)),
    _Data("zeros", "zeros, %", ("quantized_zeros", "zeros"),
          ("quantized_weight_zeros", "weight_zeros")),
    _Data("macs", "MACs", ("macs",)),
    _Data("executed", "MACs executed, %", ("executed",)),
)  # fmt: skip
_PERCENT = {"zeros", "executed"}


def node_data(layers: Sequence[LayerFigures]) -> dict[str, dict[str, Any]]:
    """Bits, SQNR, zeros and MACs of every tensor, as Model Explorer's node data builder has them.

    A node is found by the name of a tensor that it puts out: a layer's for activations and MACs,
    "layer/kernel" for weights. What lost nothing has no SQNR there, since JSON has no infinity.

    Args:
        layers: as `layer_figures` gives them.

    Returns:
        Name of a file -> its content, the JSON of a `GraphNodeData`; files without figures are
        left out.

    Example:
        >>> layer = LayerFigures("conv", "conv", weight_bits=4, activation_bits=8)
        >>> node_data([layer])["bits.json"]["results"]
        {'conv': {'value': 8}, 'conv/kernel': {'value': 4}}

    Source: `node_data_builder.py` of ai-edge-model-explorer 0.1.34.
    """
    files = {}
    for data in _FILES:
        results: dict[str, dict[str, Any]] = {}
        for layer in layers:
            for tensor, keys in ((layer.name, data.activations),
                                 (f"{layer.name}/kernel", data.weights)):  # fmt: skip
                value = _first(layer, keys)
                if value is not None:
                    results[tensor] = {"value": 100 * value if data.file in _PERCENT else value}
        if results:
            least, most = data.colours
            gradient = [{"stop": 0, "bgColor": least}, {"stop": 1, "bgColor": most}]
            files[f"{data.file}.json"] = {
                "results": results, "name": data.name, "gradient": gradient
            }  # fmt: skip
    return files


def write_node_data(
    folder: str | os.PathLike[str], layers: Sequence[LayerFigures]
) -> Mapping[str, Path]:
    """Write a file for each figure; `model-explorer net.tflite --node_data_paths=…` shows them.

    Args:
        folder: where the files go.
        layers: as `layer_figures` gives them.

    Returns:
        Name -> path of the files.

    Raises:
        OutputError: the folder takes no files.

    Example:
        >>> write_node_data("explorer", figures.layers)   # doctest: +SKIP
    """
    paths = {}
    for name, content in node_data(layers).items():
        paths[name] = Path(folder) / name
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        write_json(paths[name], content)
    return paths


def _first(layer: LayerFigures, keys: Sequence[str]) -> float | None:
    """The first figure that is known and can be written; no layer has 0 MACs to show."""
    for key in keys:
        value = getattr(layer, key)
        if value is not None and not math.isinf(value) and (key, value) != ("macs", 0):
            return float(value) if isinstance(value, float) else int(value)
    return None
