"""The configurations inside a Keras file, read as data: nothing of the model is made."""

from __future__ import annotations

import json
import os
import zipfile
from typing import Any

import h5py
import tensorflow as tf

from tfxp.keras import keras

_METADATA = "keras_metadata.pb"


def keras_version(path: str) -> str:
    """The version of Keras that wrote a file, as far as the file says."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
        if os.path.isfile(path) and h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                return str(file.attrs.get("keras_version", ""))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        pass  # damaged; reading it will say how
    return ""


def saved_configs(path: str) -> list[Any]:
    """Every configuration from which Keras would make layers; an unreadable one raises.

    A file may be a zip archive and HDF5 at once; which of them Keras reads depends on its name,
    so both are returned. How the model was compiled is left out, since tfxp never compiles.
    """
    if os.path.isdir(path):
        return _of_saved_model(path)
    found = []
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found.append(json.loads(archive.read("config.json")))
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
        if text is not None:
            found.append(json.loads(text))
    return [_without(config, "compile_config") for config in found]


def operations_in(path: str) -> set[str]:
    """Names of the TensorFlow operations that a SavedModel's own functions consist of."""
    if not os.path.isdir(path):
        return set()
    graph = _meta_graph(path).graph_def
    inside = (node.op for function in graph.library.function for node in function.node_def)
    return {*inside, *(node.op for node in graph.node)}


def _of_saved_model(path: str) -> list[Any]:
    """Keras' metadata, from their own file or, in old ones, from the SavedModel's objects."""
    texts = [node.user_object.metadata for node in _meta_graph(path).object_graph_def.nodes]
    metadata = os.path.join(path, _METADATA)
    if os.path.exists(metadata):
        with open(metadata, "rb") as file:
            nodes = keras.protobuf.saved_metadata_pb2.SavedMetadata.FromString(file.read()).nodes
        texts += [node.metadata for node in nodes]
    return [_without(json.loads(text), "training_config") for text in texts if text]


def _meta_graph(path: str) -> Any:
    return tf.__internal__.saved_model.parse_saved_model(path).meta_graphs[0]


def _without(config: object, key: str) -> Any:
    """A configuration without one entry of its outermost level."""
    if not isinstance(config, dict):
        return config
    return {name: value for name, value in config.items() if name != key}
