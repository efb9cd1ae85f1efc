"""Read a Keras model from a file, whatever Keras wrote it in, with one sentence when it fails."""

from __future__ import annotations

import os
import zipfile
from types import ModuleType
from typing import Any

from tfxp.data.model_notes import keep_notes, read_notes
from tfxp.errors import ModelError, check_kind
from tfxp.file_kind import file_kind, is_keras
from tfxp.keras import keras, keras3
from tfxp.keras_types import KerasModel
from tfxp.quantization import wrapper  # noqa: F401  registers tfxp's layers with Keras
from tfxp.quantization.code_in_models import code_in_file, layers_outside
from tfxp.quantization.own_keras import guard_training
from tfxp.quantization.read_network import is_quantized
from tfxp.quantization.saved_configs import keras_version, saved_configs
from tfxp.transforms.application_layers import application_layers
from tfxp.transforms.bytecode import without_bytecode
from tfxp.transforms.conversion.from_keras3 import as_tf_keras
from tfxp.transforms.layer_graph import LayerGraph

_KINDS = "a Keras .h5 or .keras file or a SavedModel folder"


def load_model(
    path: str | os.PathLike[str],
    custom_objects: dict[str, Any] | None = None,
    *,
    safe_mode: bool = True,
) -> KerasModel:
    """A tf_keras model from a `.h5`, a `.keras` or a SavedModel; quantized ones included.

    Files that Keras 3 wrote are read with Keras 3 and converted, outputs within 1e-5.

    The model is not compiled: tfxp needs its layers only, and a file may name losses or optimizers
    that are not at hand.

    Args:
        path: file or folder.
        custom_objects: name -> class or function, for layers of your own.
        safe_mode: refuse, before anything is made of it, a file that holds code (Lambda layers)
            or names modules to import. False runs them: for files whose source you trust.

    Raises:
        ModelError: there is no such file, it is damaged, holds weights only or code, or has layers
            that Keras does not know, or that Keras 3 knows and tf_keras does not.

    Example:
        >>> model = tfxp.load_model("resnet8.h5")  # doctest: +SKIP
    """
    check_kind(path, (str, os.PathLike), "model", f"the path of {_KINDS}", ModelError)
    name = os.fspath(path)
    if not os.path.exists(name):
        raise ModelError(f"model {name!r}: no such file; expected {_KINDS}.")
    model = _load(name, custom_objects, safe_mode)
    keep_notes(model, read_notes(name))
    return guard_training(model) if is_quantized(model) else model


def _load(name: str, custom_objects: dict[str, Any] | None, safe_mode: bool) -> KerasModel:
    made_by = keras_version(name)
    try:
        if safe_mode:
            _check_code(name, custom_objects)
        if made_by.startswith("3"):
            return _load_keras3(name, custom_objects, safe_mode)
        known = application_layers(keras) | (custom_objects or {})
        model = keras.models.load_model(
            name, custom_objects=known, compile=False, safe_mode=safe_mode
        )
    except ModelError:
        raise
    except Exception as error:  # Keras raises nearly every type there is
        unknown = _unknown_layers(name, _known(custom_objects))
        raise ModelError(f"model {name!r}: {unknown or _explain(name, error)}") from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"model {name!r}: got no Keras metadata; save the model with Keras.")
    if not getattr(model, "inputs", None):
        raise ModelError(f"model {name!r}: has no known input shape; build it before saving.")
    LayerGraph.from_model(model)  # says what is wrong with subclassed models
    return model


def _known(custom_objects: dict[str, Any] | None) -> set[str]:
    """Names of classes and functions that Keras' applications have, or the user registered or
    gave."""
    known = {*keras.utils.get_custom_objects(), *(custom_objects or {}), *application_layers(keras)}
    return known if keras3() is None else known | set(keras3().saving.get_custom_objects())


def _unknown_layers(name: str, known: set[str]) -> str | None:
    """Says which layers of a file are of classes that nobody knows; Keras names the model."""
    for module in (keras, keras3()):
        known = known if module is None else {*known, *dir(module.layers), *_operations(module)}
    try:
        found = [text for config in saved_configs(name) for text in layers_outside(config, known)]
    except Exception:  # noqa: BLE001  damaged, which is said instead
        return None
    if not found:
        return None
    return (
        f"got {', '.join(dict.fromkeys(found))}; expected classes of Keras, or registered ones. "
        "Pass the class in custom_objects."
    )


def _check_code(name: str, custom_objects: dict[str, Any] | None) -> None:
    """Refuse a file that could run code of its own."""
    found = code_in_file(name, _known(custom_objects))
    if found:
        raise ModelError(
            f"model {name!r}: got {'; '.join(found)}; expected layers and functions of Keras, and "
            "registered ones. Pass the class in custom_objects if it is yours. Nothing of this was "
            "run; if you trust the file, open it with safe_mode=False (tools: --unsafe)."
        )


def _load_keras3(name: str, custom_objects: dict[str, Any] | None, safe_mode: bool) -> Any:
    """A model that Keras 3 wrote, converted."""
    module = keras3(load=True)
    if module is None:
        raise ModelError(
            f"model {name!r}: was written by Keras 3, which is not installed. Install it, or save "
            "the model with tf_keras."
        )
    known = _operations_of(module) | application_layers(module) | (custom_objects or {})
    model = module.saving.load_model(name, custom_objects=known, compile=False, safe_mode=safe_mode)
    return as_tf_keras(model)


def _operations(module: ModuleType) -> set[str]:
    """Names of Keras 3's operations on tensors; Keras 2 has none."""
    return set(_operations_of(module)) if hasattr(module, "Operation") else set()


def _operations_of(module: ModuleType) -> dict[str, Any]:
    """Keras 3's operations on tensors, which it writes into .h5 files (masks are computed by some)
    and does not find again by itself. Layers of the same name have precedence."""
    found, left = {}, [module.Operation]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        own = kind.__module__.startswith("keras.") and not issubclass(kind, module.layers.Layer)
        if own and not hasattr(module.layers, kind.__name__):
            found[kind.__name__] = kind
    return found


def _explain(name: str, error: Exception) -> str:
    """What went wrong, in a user's words."""
    text = " ".join(without_bytecode(str(error)).split())
    if "No model config found" in text or "No model found in config" in text:
        return f"holds weights only; expected {_KINDS} with the whole model. Save the model again."
    if "Unknown layer" in text or "Could not locate class" in text or "Unknown object" in text:
        return f"{_first(text)} Pass the class in custom_objects."
    kind = file_kind(name)
    if kind is not None and kind != "a folder" and not is_keras(kind):
        return f"is {kind}; expected {_KINDS}."
    damaged = os.path.isfile(name) and not _looks_whole(name)
    if damaged or isinstance(error, OSError | KeyError | zipfile.BadZipFile | EOFError):
        return f"damaged, or not a Keras model ({_first(text)}); expected {_KINDS}."
    return f"{type(error).__name__}: {_first(text)} Expected {_KINDS}."


def _looks_whole(name: str) -> bool:
    with open(name, "rb") as file:
        head = file.read(8)
    return head == b"\x89HDF\r\n\x1a\n" or zipfile.is_zipfile(name)


def _first(text: str) -> str:
    sentence = text.split(". ")[0].strip()
    return (sentence[:200] + "…" if len(sentence) > 200 else sentence).rstrip(".") + "."
