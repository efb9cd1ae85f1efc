"""Every exception that tfxp raises on purpose.

    TfxpError
    ├── FormatError            a number format that cannot exist or cannot be read
    ├── PrecisionError         a precision map that cannot be read or does not fit the model
    ├── DataError              a data set that is missing, empty, not finite or of the wrong shape
    ├── ModelError             a model file that cannot be loaded, or a model that cannot be used
    │   ├── UnsupportedLayerError   layers that tfxp cannot transform, all of them at once
    │   └── EngineError        a file that a runtime refuses, dies of or does not finish
    ├── ExportError            a quantized model that cannot be written as integers
    ├── TfliteFormatError      bytes that are not a well-formed .tflite model
    ├── UnsupportedOpError     operators that the interpreter lacks, all of them at once
    ├── ConfigError            a settings file, flag or option that makes no sense
    │   └── FolderInUseError   an output folder in which another process is at work
    ├── WorkerLostError        a training on several machines one of which is gone
    ├── DependencyError        a package that is missing, or of a version that does not fit
    └── OutputError            a file that cannot be written

Messages read "<what> of <which>: got <value>; expected <range or list>. <what to do>".
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class TfxpError(Exception):
    """Base of all errors that carry a sentence for the user.

    Example:
        >>> from tfxp.formats import parse_format
        >>> try:
        ...     parse_format("Q9")
        ... except tfxp.TfxpError as error:
        ...     print(type(error).__name__)
        FormatError
    """


class FormatError(TfxpError, ValueError):
    """A number format that cannot exist or cannot be read."""


class PrecisionError(TfxpError, ValueError):
    """A precision map that cannot be read or does not fit the model."""


class DataError(TfxpError, ValueError):
    """A data set that is missing, empty, not finite or of the wrong shape."""


class ModelError(TfxpError, ValueError):
    """A model file that cannot be loaded, or a model that cannot be used."""


class UnsupportedLayerError(ModelError):
    """Layers that tfxp cannot transform; the message names all of them."""


class EngineError(ModelError):
    """A file that a runtime does not run.

    Args:
        message: the sentence.
        outcome: "refused", "crashed" or "timeout"; "missing" if the runtime is not installed.
    """

    def __init__(self, message: str, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


#: The older name, from when LiteRT was the only runtime.
LiteRtError = EngineError


class ExportError(TfxpError, ValueError):
    """A quantized model that cannot be written as integers."""


class TfliteFormatError(TfxpError, ValueError):
    """Bytes that are not a well-formed .tflite model."""


class UnsupportedOpError(TfxpError, NotImplementedError):
    """Operators that the interpreter lacks; the message names all of them."""


class ConfigError(TfxpError, ValueError):
    """A settings file, flag or option that makes no sense."""


class FolderInUseError(ConfigError):
    """An output folder in which another process is at work."""


class WorkerLostError(TfxpError, RuntimeError):
    """A training on several machines one of which is gone."""


class DependencyError(TfxpError, ImportError):
    """A package that is missing, or of a version that does not fit; the message mends it."""


class OutputError(TfxpError, OSError):
    """A file that cannot be written."""


class TrainingWarning(UserWarning):
    """A training or calibration that did not make the model better, and was undone."""


class ScalingWarning(UserWarning):
    """Inputs of which the input's format loses much: they were scaled otherwise, or not at all."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint " Did you mean 'x'?" for a misspelt name, or an empty string.

    Example:
        >>> did_you_mean("conv2", ["conv2d", "dense"])
        " Did you mean 'conv2d'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def check_kind(
    value: object,
    kinds: type | tuple[type, ...],
    name: str,
    expected: str,
    error: type[TfxpError] = ConfigError,
) -> None:
    """Complain about an argument of another type.

    Args:
        value: the argument.
        kinds: types that it may have.
        name: of the argument, for the message.
        expected: the same for people.
        error: class of the complaint.

    Raises:
        TfxpError: the argument has none of these types.

    Example:
        >>> check_kind(8, str, "precision", "a shorthand such as 'w8a8'", PrecisionError)
        Traceback (most recent call last):
        tfxp.errors.PrecisionError: precision: got int; expected a shorthand such as 'w8a8'.
    """
    if not isinstance(value, kinds):
        raise error(f"{name}: got {type(value).__name__}; expected {expected}.")


def check_fields(
    where: str, data: object, known: Iterable[str], error: type[TfxpError] = ConfigError
) -> None:
    """Complain about fields that nobody would read.

    Args:
        where: whose fields they are.
        data: an object with fields.
        known: names of fields.
        error: class of the complaint.

    Raises:
        TfxpError: no object, or one with other fields; of the class `error`.

    Example:
        >>> from tfxp.errors import check_fields
        >>> check_fields("training recipe", {"epochs": 3}, ["epochs", "seed"])
    """
    if not isinstance(data, Mapping):
        raise error(f"{where}: got {type(data).__name__}; expected an object.")
    names = list(known)
    unknown = [str(key) for key in data if key not in names]
    if unknown:
        raise error(
            f"fields of {where}: got {', '.join(map(repr, unknown))}; expected some of "
            f"{', '.join(names)}.{did_you_mean(unknown[0], names)}"
        )
