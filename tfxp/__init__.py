"""Keras models in few bits, exported to integer `.tflite` files that compute exactly the same.

Public names are resolved on first use (PEP 562), so that `import tfxp` costs nothing and
`import tfxp.interpreter` never loads TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

from tfxp.version import __version__

# Folders below the TensorFlow line; tfxp.keras loads TensorFlow quietly, so it goes first.
_TENSORFLOW = {"callbacks", "export", "measure", "quantization", "search", "training", "transforms"}

# public name -> module that defines it
_PUBLIC = {
    "calibrate_model": "tfxp.training",
    "count_model": "tfxp.measure",
    "export_tflite": "tfxp.export",
    "FixedPointFormat": "tfxp.formats",
    "integer_weights": "tfxp.export",
    "Interpreter": "tfxp.interpreter",
    "LayerPrecision": "tfxp.precision",
    "LayerRole": "tfxp.quantization",
    "load_model": "tfxp.quantization",
    "measure_model": "tfxp.measure",
    "measure_sqnr": "tfxp.measure",
    "ModelStats": "tfxp.precision",
    "parse_format": "tfxp.formats",
    "precision_of": "tfxp.quantization",
    "PrecisionMap": "tfxp.precision",
    "PrecisionSearch": "tfxp.search",
    "quantize_model": "tfxp.quantization",
    "read_tflite": "tfxp.graph",
    "register_layer": "tfxp.quantization",
    "rescale_for_wrpn": "tfxp.transforms.wrpn.rescale",
    "Rounding": "tfxp.formats",
    "set_precision": "tfxp.quantization",
    "strip": "tfxp.quantization",
    "TfxpError": "tfxp.errors",
    "WeightSpec": "tfxp.quantization",
    "widen_model": "tfxp.transforms.wrpn.widen",
    "write_tflite": "tfxp.graph",
    "WrpnFormat": "tfxp.formats",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        from tfxp.errors import did_you_mean

        hint = did_you_mean(name, _PUBLIC)
        raise AttributeError(f"module 'tfxp' has no attribute {name!r}.{hint}")
    module = _PUBLIC[name]
    if module.split(".")[1] in _TENSORFLOW:
        importlib.import_module("tfxp.keras")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
