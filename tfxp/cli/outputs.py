"""Files that a tool will write: possible, of the right kind, and no file that it reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfxp.errors import ConfigError, OutputError
from tfxp.files import check_writable, find_config, is_device

_CONFIG_FOLDERS = ("precision", "search", "train", "energy")


@dataclass(frozen=True)
class OutputFlag:
    """A flag that names what is written.

    Args:
        name: the flag.
        suffixes: endings that fit; none allows any.
        folder: whether it names a folder.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    folder: bool = False


def check_outputs(outputs: Sequence[OutputFlag], values: Mapping[str, Any]) -> None:
    """Complain about outputs before any work.

    Args:
        outputs: the flags of a tool that name outputs.
        values: flag -> value, for all flags; those that are no outputs may name inputs.

    Raises:
        ConfigError: an output that is an input too, however it is spelt, or that two flags name;
            or another ending than its kind has.
        OutputError: it cannot be written.

    Example:
        >>> check_outputs([OutputFlag("json", (".json",))], {"json": "figures.txt"})
        Traceback (most recent call last):
        tfxp.errors.ConfigError: --json: got 'figures.txt'; expected a name in .json.
    """
    names = {flag.name for flag in outputs}
    inputs = [(n, p) for n, value in values.items() if n not in names for p in _paths(value)]
    seen: list[tuple[str, str]] = []
    for flag in outputs:
        path = values.get(flag.name)
        if not path or is_device(path):
            continue
        for name, other in [*inputs, *seen]:
            if _same(path, other):
                raise ConfigError(
                    f"--{flag.name}: got {path!r}, which is the file of --{name}; expected another "
                    "one. Choose another name."
                )
        seen.append((flag.name, path))
        _check_kind(flag, path)


def _check_kind(flag: OutputFlag, path: str) -> None:
    if not flag.folder:
        check_writable(path)
        # Keras goes by the ending; figures and pictures may do without one, not with another.
        bare = flag.name != "output" and not os.path.splitext(path)[1]
        if flag.suffixes and not bare and not str(path).lower().endswith(flag.suffixes):
            endings = " or ".join(flag.suffixes)
            raise ConfigError(f"--{flag.name}: got {path!r}; expected a name in {endings}.")
    elif os.path.exists(path) and not os.path.isdir(path):
        raise OutputError(
            f"--{flag.name}: got {path!r}, which is a file; expected a folder. Choose another name."
        )
    else:
        check_writable(os.path.join(path, "file"))


def _paths(value: object) -> Iterator[str]:
    """Files that a flag's value may name, those that ship with tfxp included."""
    for text in value if isinstance(value, list | tuple) else [value]:
        if not isinstance(text, str) or not text:
            continue
        if os.path.exists(text):
            yield text
        elif text.endswith(".json"):
            for folder in _CONFIG_FOLDERS:
                try:
                    yield os.fspath(find_config(text, folder))
                except ConfigError:
                    continue


def _same(output: str, other: str) -> bool:
    """Whether two paths lead to one file, or the first into a saved model that the second is."""
    if os.path.exists(output) and os.path.exists(other) and os.path.samefile(output, other):
        return True
    output, other = os.path.realpath(output), os.path.realpath(other)
    is_model = os.path.isfile(os.path.join(other, "saved_model.pb"))
    return output == other or (is_model and output.startswith(other + os.sep))
