"""Read a Keras model from a file, whatever Keras wrote it in, with one sentence when it fails."""

from __future__ import annotations

import json
import os
import zipfile
from typing import Any

import h5py

from tfxp.errors import ModelError
from tfxp.keras import keras, keras3
from tfxp.keras_types import KerasModel
from tfxp.quantization import wrapper  # noqa: F401  registers tfxp's layers with Keras
from tfxp.transforms.keras3.from_keras3 import as_tf_keras
from tfxp.transforms.layer_graph import LayerGraph

_KINDS = "a Keras .h5 or .keras file or a SavedModel folder"


def load_model(
    path: str | os.PathLike[str], custom_objects: dict[str, Any] | None = None
) -> KerasModel:
    """A tf_keras model from a `.h5`, a `.keras` or a SavedModel; quantized ones included.

    Files that Keras 3 wrote are read with Keras 3 and converted, outputs within 1e-5.

    The model is not compiled: tfxp needs its layers only, and a file may name losses or optimizers
    that are not at hand.

    Args:
        path: file or folder.
        custom_objects: name -> class or function, for layers of your own.

    Raises:
        ModelError: there is no such file, it is damaged, holds weights only, or has layers that
            Keras does not know, or that Keras 3 knows and tf_keras does not.

    Example:
        >>> model = tfxp.load_model("resnet8.h5")  # doctest: +SKIP
    """
    name = os.fspath(path)
    if not os.path.exists(name):
        raise ModelError(f"model {name!r}: no such file; expected {_KINDS}.")
    made_by = _keras_version(name)
    try:
        if made_by.startswith("3"):
            return _load_keras3(name, custom_objects)
        model = keras.models.load_model(name, custom_objects=custom_objects, compile=False)
    except ModelError:
        raise
    except Exception as error:  # Keras raises nearly every type there is
        raise ModelError(f"model {name!r}: {_explain(name, error)}") from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"model {name!r}: got no Keras metadata; save the model with Keras.")
    if not getattr(model, "inputs", None):
        raise ModelError(f"model {name!r}: has no known input shape; build it before saving.")
    LayerGraph.from_model(model)  # says what is wrong with subclassed models
    return model


def _keras_version(name: str) -> str:
    """The version of Keras that wrote a file, as far as the file says."""
    try:
        if zipfile.is_zipfile(name):
            with zipfile.ZipFile(name) as archive:
                return str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
        if os.path.isfile(name) and h5py.is_hdf5(name):
            with h5py.File(name, "r") as file:
                return str(file.attrs.get("keras_version", ""))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        pass  # damaged; reading it will say how
    return ""


def _load_keras3(name: str, custom_objects: dict[str, Any] | None) -> Any:
    """A model that Keras 3 wrote, converted."""
    module = keras3(load=True)
    if module is None:
        raise ModelError(
            f"model {name!r}: was written by Keras 3, which is not installed. Install it, or save "
            "the model with tf_keras."
        )
    known = {**_operations_of(module), **(custom_objects or {})}
    return as_tf_keras(module.saving.load_model(name, custom_objects=known, compile=False))


def _operations_of(module: Any) -> dict[str, Any]:
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
    text = " ".join(str(error).split())
    if "No model config found" in text or "No model found in config" in text:
        return f"holds weights only; expected {_KINDS} with the whole model. Save the model again."
    if "Unknown layer" in text or "Could not locate class" in text or "Unknown object" in text:
        return f"{_first(text)} Pass the class in custom_objects."
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
