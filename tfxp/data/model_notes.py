"""Notes that a model carries wherever it goes: what its inputs need, how its data are read.

They are an attribute of the Keras model, `tfxp.json` inside a `.keras` file or SavedModel, the
attribute `tfxp` of an `.h5` file, and a part of the metadata of an exported file.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

from tfxp.errors import ConfigError
from tfxp.files import PathLike, write_text
from tfxp.keras_types import KerasModel

_FILE = "tfxp.json"


def notes_of(model: KerasModel) -> dict[str, Any]:
    """The notes on a Keras model, name -> JSON value; empty where there are none."""
    return parse_notes(getattr(model, "_tfxp_notes", "{}"))


def keep_notes(model: Any, notes: Mapping[str, Any]) -> Any:
    """Put notes on a Keras model, so that `model.save` writes them; the same model.

    Args:
        model: the model; notes of other names stay.
        notes: name -> JSON value; an empty value takes the note away.
    """
    known = hasattr(model, "_tfxp_notes")
    kept = {key: value for key, value in {**notes_of(model), **notes}.items() if value}
    if not kept and not known:
        return model
    model._tfxp_notes = json.dumps(kept)  # text, because Keras wraps dicts
    if not known:
        save = model.save

        def save_with_notes(filepath: PathLike, *args: object, **kwargs: object) -> None:
            save(filepath, *args, **kwargs)
            write_notes(filepath, notes_of(model))

        model.save = save_with_notes
    return model


def write_notes(path: str | os.PathLike[str], notes: Mapping[str, Any]) -> None:
    """Add notes to a saved Keras model: `.keras`, `.h5` or a SavedModel's folder."""
    text = json.dumps(notes)
    if os.path.isdir(path):
        write_text(os.path.join(path, _FILE), text)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(_FILE, text)
    else:
        import h5py

        with h5py.File(path, "a") as file:
            file.attrs["tfxp"] = text


def read_notes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The notes in a saved Keras model; empty where there are none.

    Raises:
        ConfigError: they cannot be read.
    """
    text = _text_in(path)
    return {} if text is None else parse_notes(text)


def notes_in(metadata: Mapping[str, bytes]) -> dict[str, Any]:
    """The notes in the metadata of an exported file.

    Raises:
        ConfigError: they cannot be read.
    """
    return parse_notes(metadata.get("tfxp", b"{}").decode("utf-8", "replace"))


def parse_notes(text: str) -> dict[str, Any]:
    """Notes from the JSON that a model carries.

    Raises:
        ConfigError: it is something else.

    Example:
        >>> parse_notes('{"schema": 1}')
        {'schema': 1}
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"notes of the model: cannot be read ({error}).") from None
    if not isinstance(found, dict):
        raise ConfigError(f"notes of the model: got {text[:40]!r}; expected an object.")
    return found


def _text_in(path: str | os.PathLike[str]) -> str | None:
    if os.path.isdir(path):
        file = os.path.join(path, _FILE)
        if not os.path.isfile(file):
            return None
        with open(file, encoding="utf-8") as opened:
            return opened.read()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return archive.read(_FILE).decode() if _FILE in archive.namelist() else None
    import h5py

    if not h5py.is_hdf5(path):
        return None
    with h5py.File(path, "r") as file:
        found = file.attrs.get("tfxp")
        return None if found is None else str(found)
