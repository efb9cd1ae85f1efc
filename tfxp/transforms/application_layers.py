"""Layers that Keras defines for its applications beside `keras.layers`: ConvNeXt's two."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

_NAMES = ("LayerScale", "StochasticDepth")


def application_layers(module: ModuleType) -> dict[str, Any]:
    """Their classes by name.

    Args:
        module: tf_keras or Keras 3.
    """
    convnext = sys.modules[module.applications.ConvNeXtTiny.__module__]
    return {name: getattr(convnext, name) for name in _NAMES}
