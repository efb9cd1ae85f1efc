"""What could run code while a model file is opened: looked for before anything is made of it.

A configuration is safe where all it names is Keras' own layers and functions, TensorFlow functions
that compute tensors, and what the user registered with Keras or passes in `custom_objects`.
Everything else is code of whoever wrote the file: bytecode, the import of a module by its name,
another program beside the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from typing import Any

from tfxp.keras import keras
from tfxp.quantization.saved_configs import operations_in, saved_configs
from tfxp.transforms.bytecode import is_bytecode

# Layers that run a program which the configuration only points to.
_PROGRAMS = ("TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
_MODELS = ("Functional", "Model", "Sequential")
_SYMBOL_LAYERS = ("TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod",
                  "InstanceProperty")  # fmt: skip
# Where Keras' own packages hold what models consist of; functions elsewhere download or write.
_KERAS = ("keras", "tf_keras")
_INNER_FOLDERS = ("src", "api", "_v2", "_tf_keras", "legacy")
_PARTS_OF_MODELS = (
    "layers", "models", "engine", "activations", "initializers", "regularizers", "constraints",
    "losses", "metrics", "optimizers", "mixed_precision", "dtype_policies", "quantizers", "ops",
    "random", "feature_column", "premade_models",
)  # fmt: skip
_TRUSTED_PACKAGES = ("tfxp", "tensorflow_model_optimization", "tensorflow")
_FUNCTIONS_OF = ("activations", "initializers", "regularizers", "constraints", "losses", "metrics")
# TensorFlow modules whose functions compute tensors; those outside any module need a name of their
# own, since py_function and load_library stand there.
_TENSOR_MODULES = (
    "__operators__", "math", "nn", "linalg", "signal", "image", "strings", "bitwise", "random",
    "sparse", "ragged", "sets", "dtypes", "quantization", "audio", "experimental.numpy",
    "keras.activations", "keras.backend", "keras.ops",
)  # fmt: skip
_NOT_TENSORS = re.compile(r"py_func|load_|function$|print|autograph|init_scope|eager")
# Operations of a SavedModel's own functions that reach outside the model.
_OUTSIDE = re.compile(
    r"PyFunc|ReadFile|WriteFile|MatchingFiles|(Record|Line|File|LMDB)(Reader|Dataset)|Rpc|Summary"
)


def code_in_file(path: str, known: Set[str]) -> list[str]:
    """What a model file could run when it is opened, as the middles of sentences.

    Args:
        path: .h5, .keras or SavedModel folder.
        known: names of classes and functions that the user registered or gave.
    """
    found = [text for config in saved_configs(path) for text in code_in_config(config, known)]
    outside = sorted(filter(_OUTSIDE.search, operations_in(path)))
    found += [f"operation {name}, which reaches outside the model" for name in outside]
    return list(dict.fromkeys(found))


def code_in_config(config: object, known: Set[str], owner: str = "model") -> Iterator[str]:
    """The same for one configuration, whatever is nested in it.

    Example:
        >>> layer = {"class_name": "Lambda", "config": {"name": "twice", "function": ["4w…"]}}
        >>> list(code_in_config({"layers": [layer]}, known=set()))
        ["layer 'twice' (Lambda): a Python function"]
    """
    if isinstance(config, dict):
        owner = _owner(config) or owner
        reason = _code_in_object(config, known)
        if reason:
            yield f"{owner}: {reason}"
            return
        for value in config.values():
            yield from code_in_config(value, known, owner)
    elif isinstance(config, list):
        for value in config:
            yield from code_in_config(value, known, owner)
    elif isinstance(config, str) and is_bytecode(config):
        yield f"{owner}: a Python function"


def layers_outside(config: object, known: Set[str]) -> Iterator[str]:
    """Layers of a configuration whose classes are not among those known.

    Example:
        >>> layer = {"class_name": "Mine", "config": {"name": "odd"}}
        >>> list(layers_outside({"layers": [layer]}, known={"Dense"}))
        ["layer 'odd' (Mine)"]
    """
    if isinstance(config, dict):
        owner, kind = _owner(config), config.get("class_name")
        names = {str(kind), str(config.get("registered_name"))}
        if owner and not names & (known | set(_SYMBOL_LAYERS) | set(_MODELS)):
            yield owner
    inside = list(config.values()) if isinstance(config, dict) else config
    for value in inside if isinstance(inside, list) else ():
        yield from layers_outside(value, known)


def _owner(config: dict[str, Any]) -> str | None:
    """The layer that an object of a configuration is, if it has a name."""
    inner = config.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    kind = config.get("class_name")
    named = isinstance(name, str) and isinstance(kind, str) and not kind.endswith("Policy")
    return f"layer {name!r} ({kind})" if named else None


def _code_in_object(config: dict[str, Any], known: Set[str]) -> str | None:
    """Why making one object of a configuration could run code; None if it could not."""
    kind, inner = str(config.get("class_name")), config.get("config")
    if kind == "__lambda__":
        return "a Python function"
    names = {kind, str(config.get("registered_name"))}
    if kind == "function":
        return None if {inner, config.get("registered_name")} & known else _foreign_function(config)
    if "class_name" not in config or names & known:
        return None
    if kind == "Lambda":
        return _code_in_lambda(inner, known)
    if kind in _PROGRAMS:
        return "another program, which the layer would load"
    if kind in _SYMBOL_LAYERS and isinstance(inner, dict):
        symbol = next((inner[key] for key in ("function", "cls_symbol") if key in inner), "")
        if not _computes_tensors(str(symbol)):
            return f"function tf.{symbol}, which does not only compute tensors"
    return _foreign_class(config)


def _code_in_lambda(config: object, known: Set[str]) -> str | None:
    """Lambda layers are safe where every function in them is known by its name."""
    if not isinstance(config, dict):
        return "a Python function"
    for key in ("function", "mask", "output_shape"):
        function = config.get(key)
        if isinstance(function, dict) and function.get("class_name") == "function":
            function = function.get("config")
        named = isinstance(function, str) and function in known
        plain = key != "function" and config.get(f"{key}_type", "raw") == "raw"
        if not named and not (plain and not isinstance(function, dict)):
            return "a Python function"
    return None


def _foreign_function(config: dict[str, Any]) -> str | None:
    module, name = config.get("module"), str(config.get("config"))
    if module in (None, "builtins"):
        ours = any(hasattr(getattr(keras, part), name) for part in _FUNCTIONS_OF)
        return None if ours or module is None else f"function {module}.{name}"
    if _is_part_of_keras(str(module)) and "." not in name and str(module) not in _KERAS:
        return None
    return f"function {module}.{name}, for which a module would be imported"


def _foreign_class(config: dict[str, Any]) -> str | None:
    module, name = config.get("module"), str(config["class_name"])
    if not isinstance(module, str) or "config" not in config and "spec_name" not in config:
        return None
    if (_is_part_of_keras(module) or module.split(".")[0] in _TRUSTED_PACKAGES) and "." not in name:
        return None
    return f"class {module}.{name}, for which a module would be imported"


def _is_part_of_keras(module: str) -> bool:
    """Whether a module of Keras holds parts of models."""
    first, *rest = module.split(".")
    inside = [part for part in rest if part not in _INNER_FOLDERS and part != "keras"]
    return first in _KERAS and (not inside or inside[0] in _PARTS_OF_MODELS)


def _computes_tensors(symbol: str) -> bool:
    """Whether a TensorFlow function by its public name only computes tensors."""
    name = symbol.removeprefix("compat.v1.").removeprefix("compat.v2.")
    module, _, function = name.rpartition(".")
    known = not module or f"{module}.".startswith(tuple(f"{part}." for part in _TENSOR_MODULES))
    return known and not _NOT_TENSORS.search(function)
