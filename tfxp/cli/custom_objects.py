"""Layers and functions of the user's own, for tools that open models."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from types import ModuleType
from typing import Any

from tfxp.errors import ConfigError


def read_custom_objects(source: str | None) -> dict[str, Any]:
    """Name -> class or function that a module defines; importing it runs its code.

    Keras registrations and `tfxp.register_layer` in it take effect too. A dict called
    `custom_objects` in the module adds to what it defines.

    Args:
        source: "file.py" or a dotted module name; None gives nothing.

    Raises:
        ConfigError: there is no such module, or it fails.

    Example:
        >>> sorted(read_custom_objects("colorsys"))[:2]
        ['hls_to_rgb', 'hsv_to_rgb']
    """
    if not source:
        return {}
    try:
        module = _imported(source)
    except Exception as error:  # whatever the user's code raises
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"--custom_objects: got {source!r}, which cannot be imported ({type(error).__name__}: "
            f"{reason}); expected file.py or a module's dotted name."
        ) from error
    own = {
        name: value
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }
    return {**own, **getattr(module, "custom_objects", {})}


def _imported(source: str) -> ModuleType:
    if not source.endswith(".py"):
        return importlib.import_module(source)
    name = os.path.splitext(os.path.basename(source))[0]
    spec = importlib.util.spec_from_file_location(name, source)
    if spec is None or spec.loader is None or not os.path.isfile(source):
        raise FileNotFoundError(f"no such file: {source}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
