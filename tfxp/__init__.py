"""Keras models in few bits, exported to integer `.tflite` files that compute exactly the same.

Public names are resolved on first use (PEP 562), so that `import tfxp` costs nothing and
`import tfxp.interpreter` never loads TensorFlow. Editors and type checkers read the imports under
`TYPE_CHECKING`; a test holds them against the tables.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from tfxp.version import __version__

if TYPE_CHECKING:
    from tfxp.errors import TfxpError as TfxpError
    from tfxp.export import GraphBuilder as GraphBuilder
    from tfxp.export.export_tflite import export_tflite as export_tflite
    from tfxp.export.integer_weights import integer_weights as integer_weights
    from tfxp.formats import FixedPointFormat as FixedPointFormat
    from tfxp.formats import Rounding as Rounding
    from tfxp.formats import WrpnFormat as WrpnFormat
    from tfxp.formats import parse_format as parse_format
    from tfxp.graph import read_tflite as read_tflite
    from tfxp.graph import write_tflite as write_tflite
    from tfxp.interpreter import Interpreter as Interpreter
    from tfxp.measure import count_model as count_model
    from tfxp.measure import measure_sqnr as measure_sqnr
    from tfxp.measure.measure_model import measure_model as measure_model
    from tfxp.precision import LayerPrecision as LayerPrecision
    from tfxp.precision import ModelStats as ModelStats
    from tfxp.precision import PrecisionMap as PrecisionMap
    from tfxp.quantization import LayerRole as LayerRole
    from tfxp.quantization import WeightSpec as WeightSpec
    from tfxp.quantization import precision_of as precision_of
    from tfxp.quantization import register_layer as register_layer
    from tfxp.quantization import wrpn_precision as wrpn_precision
    from tfxp.quantization.learned_formats import freeze_formats as freeze_formats
    from tfxp.quantization.learned_formats import learn_formats as learn_formats
    from tfxp.quantization.load_model import load_model as load_model
    from tfxp.quantization.quantize_model import quantize_model as quantize_model
    from tfxp.quantization.set_precision import set_precision as set_precision
    from tfxp.quantization.strip import strip as strip
    from tfxp.search import PrecisionSearch as PrecisionSearch
    from tfxp.sparsity import SparsityMap as SparsityMap
    from tfxp.sparsity import prune_model as prune_model
    from tfxp.streams import open_data as open_data
    from tfxp.training import calibrate_model as calibrate_model
    from tfxp.training import fine_tune as fine_tune
    from tfxp.training import prepare_training as prepare_training
    from tfxp.transforms.equalize import equalize as equalize
    from tfxp.transforms.split_normalization import split_normalization as split_normalization
    from tfxp.transforms.wrpn.rescale import rescale_for_wrpn as rescale_for_wrpn
    from tfxp.transforms.wrpn.widen import widen_model as widen_model

# Folders below the TensorFlow line; tfxp.keras loads TensorFlow quietly, so it goes first.
_TENSORFLOW = {
    "callbacks", "export", "keras3", "measure", "quantization", "search", "training", "transforms",
}  # fmt: skip

# public name -> module that defines it
_PUBLIC = {
    "calibrate_model": "tfxp.training",
    "count_model": "tfxp.measure",
    "equalize": "tfxp.transforms.equalize",
    "export_tflite": "tfxp.export.export_tflite",
    "fine_tune": "tfxp.training",
    "freeze_formats": "tfxp.quantization.learned_formats",
    "FixedPointFormat": "tfxp.formats",
    "integer_weights": "tfxp.export.integer_weights",
    "Interpreter": "tfxp.interpreter",
    "LayerPrecision": "tfxp.precision",
    "learn_formats": "tfxp.quantization.learned_formats",
    "load_model": "tfxp.quantization.load_model",
    "measure_model": "tfxp.measure.measure_model",
    "measure_sqnr": "tfxp.measure",
    "ModelStats": "tfxp.precision",
    "open_data": "tfxp.streams",
    "parse_format": "tfxp.formats",
    "precision_of": "tfxp.quantization",
    "PrecisionMap": "tfxp.precision",
    "PrecisionSearch": "tfxp.search",
    "prepare_training": "tfxp.training",
    "prune_model": "tfxp.sparsity",
    "quantize_model": "tfxp.quantization.quantize_model",
    "read_tflite": "tfxp.graph",
    "rescale_for_wrpn": "tfxp.transforms.wrpn.rescale",
    "Rounding": "tfxp.formats",
    "set_precision": "tfxp.quantization.set_precision",
    "SparsityMap": "tfxp.sparsity",
    "split_normalization": "tfxp.transforms.split_normalization",
    "strip": "tfxp.quantization.strip",
    "TfxpError": "tfxp.errors",
    "widen_model": "tfxp.transforms.wrpn.widen",
    "write_tflite": "tfxp.graph",
    "wrpn_precision": "tfxp.quantization",
    "WrpnFormat": "tfxp.formats",
}
# For people who teach tfxp layers of their own.
_EXTENDING = {
    "GraphBuilder": "tfxp.export",
    "LayerRole": "tfxp.quantization",
    "register_layer": "tfxp.quantization",
    "WeightSpec": "tfxp.quantization",
}
_MODULES = {**_PUBLIC, **_EXTENDING}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        if not name.startswith("_") and importlib.util.find_spec(f"tfxp.{name}") is not None:
            return importlib.import_module(f"tfxp.{name}")  # tfxp.callbacks and the like
        from tfxp.errors import did_you_mean

        hint = did_you_mean(name, _MODULES)
        raise AttributeError(f"module 'tfxp' has no attribute {name!r}.{hint}")
    module = _MODULES[name]
    if module.split(".")[1] in _TENSORFLOW:
        importlib.import_module("tfxp.keras")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
