"""The state of a training after some epochs, in one file that is whole or absent."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tfxp.errors import ConfigError
from tfxp.files import atomic_path
from tfxp.keras_types import KerasModel


def save_checkpoint(path: Path | None, model: KerasModel, meta: dict[str, Any]) -> None:
    """Write weights, optimizer and `meta` (JSON values); an older file is replaced in one step.

    Args:
        path: an .npz file; None writes none, in a worker that only takes part in reading variables
            that are kept per replica.
        model: compiled and built, its optimizer too.
        meta: epoch, history, and what the training was asked to be.

    Raises:
        OutputError: it cannot be written; the older file is still there.
    """
    arrays: dict[str, Any] = {f"weight{i}": value for i, value in enumerate(model.get_weights())}
    variables = model.optimizer.variables
    arrays.update({f"optimizer{i}": v.numpy() for i, v in enumerate(variables)})
    if path is None:
        return
    arrays["meta"] = np.array(json.dumps(meta))
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays)


def read_meta(path: Path) -> dict[str, Any] | None:
    """What stands in a checkpoint beside the variables; None if there is no file.

    Raises:
        ConfigError: the file is no checkpoint.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return json.loads(str(arrays["meta"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"checkpoint {str(path)!r}: cannot be read ({error}). Remove it to start anew."
        ) from None


def restore_checkpoint(path: Path, model: KerasModel) -> None:
    """Put a checkpoint's values into a model's weights and its optimizer's variables.

    Raises:
        ConfigError: the checkpoint belongs to another network or optimizer.
    """
    variables = model.optimizer.variables
    with np.load(path, allow_pickle=False) as arrays:
        weights = _numbered(arrays, "weight")
        state = _numbered(arrays, "optimizer")
    shapes = [value.shape for value in weights], [value.shape for value in state]
    own = [w.shape for w in model.get_weights()], [tuple(v.shape) for v in variables]
    if shapes != own:
        raise ConfigError(
            f"checkpoint {str(path)!r}: got weights of another network; expected those of "
            f"{model.name!r}. Choose another output folder, or remove it to start anew."
        )
    model.set_weights(weights)
    for variable, value in zip(variables, state, strict=True):
        variable.assign(value)


def _numbered(arrays: Any, prefix: str) -> list[np.ndarray]:
    count = sum(key.startswith(prefix) for key in arrays.files)
    return [arrays[f"{prefix}{i}"] for i in range(count)]
