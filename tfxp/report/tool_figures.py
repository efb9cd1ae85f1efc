"""What other tools found of a model, read from their --json files for its page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfxp.errors import DataError
from tfxp.files import read_json


def tool_figures(paths: Sequence[str | os.PathLike[str]]) -> dict[str, Any]:
    """Accuracies, sizes, differences and counted multiplications, as `ModelFigures` takes them.

    Args:
        paths: files that `quantize`, `export` and `run` wrote with --json, in the order of the
            steps.

    Returns:
        Field of `ModelFigures` -> value, for the fields that any file knows.

    Raises:
        DataError: a file is missing, no JSON, or from none of these tools.
    """
    found: dict[str, Any] = {}
    for path in paths:
        data = read_json(path, "figures of a tool", DataError)
        kind = next((known for known in _READERS if _is_from(data, known)), None)
        if kind is None:
            raise DataError(
                f"figures {os.fspath(path)!r}: got no figures of a tool; expected what quantize, "
                "export or run wrote with --json."
            )
        try:
            for field, value in _READERS[kind](data).items():
                merged = isinstance(value, dict)
                found[field] = {**found.get(field, {}), **value} if merged else value
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"figures {os.fspath(path)!r}: got broken figures ({error!r}); expected what "
                "quantize, export or run wrote with --json. Make them again."
            ) from None
    return found


def _quantized(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"accuracies": {str(k): float(v) for k, v in data.get("accuracy", {}).items()}}


def _exported(data: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {key: int(data[key]) for key in ("tflite_bytes", "float_bytes")}
    if "mismatches_interpreter" not in data:
        return sizes
    differ = {
        "the interpreter": int(data["mismatches_interpreter"]),
        "LiteRT": int(data["mismatches_litert"]),
    }
    if data["litert_error"]:
        del differ["LiteRT"]
    return {**sizes, "elements": int(data["elements"]), "mismatches": differ}


def _run(data: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    who = "LiteRT" if data["engine"] == "litert" else "the interpreter"
    if "accuracy" in data:
        found["accuracies"] = {f"integers in {who}": float(data["accuracy"])}
    if "layers" in data:
        found["runs"] = list(data["layers"])
    return found


# keys that only this tool writes -> how its file is read
_READERS = {
    ("formats", "precision"): _quantized,
    ("tflite_bytes", "storage"): _exported,
    ("engine", "arithmetic"): _run,
}


def _is_from(data: Any, keys: tuple[str, ...]) -> bool:
    return isinstance(data, dict) and all(key in data for key in keys)
