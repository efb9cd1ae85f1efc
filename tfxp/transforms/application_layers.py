"""Layers that Keras defines for its applications beside `keras.layers`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

#: An application whose module has them, and their names.
_WHERE = {
    "ConvNeXtTiny": ("LayerScale", "StochasticDepth"),
    "InceptionResNetV2": ("CustomScaleLayer",),
}


def application_layers(module: ModuleType) -> dict[str, Any]:
    """Their classes by name.

    Args:
        module: tf_keras or Keras 3.
    """
    return {
        name: getattr(sys.modules[getattr(module.applications, application).__module__], name)
        for application, names in _WHERE.items()
        for name in names
    }
