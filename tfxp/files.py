"""Files that are written whole or not at all, and the settings that ship with the package."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfxp.errors import ConfigError, OutputError, TfxpError

PathLike = str | os.PathLike[str]


def check_writable(*paths: PathLike | None) -> None:
    """Complain now about an output that could not be written after the long work.

    Tries it for real, with an empty temporary file, because permission bits do not tell about
    read-only file systems, full disks or a superuser. Folders are not created yet.

    Args:
        paths: files to be written later; None is skipped, for outputs that were not asked for.

    Raises:
        OutputError: the path is a folder, or its folder takes no files.

    Example:
        >>> check_writable("/dev/null", None)
    """
    for path in paths:
        if path is None or is_device(path):
            continue
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise OutputError(
                f"output {os.fspath(path)!r}: got a folder; expected a file name."
                " Add a name to the path."
            )
        folder = target.parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        with _as_output_error(path):
            probe = _beside(folder / target.name)
            os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            os.unlink(probe)


@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends without an error.

    For libraries that insist on a path; its suffix is that of `path`, because they look at it.
    What was written there may be a file or a folder. Folders above it are created.

    Raises:
        OutputError: it cannot be written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "deep" / "numbers.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("1 2 3")
        >>> target.read_text()
        '1 2 3'
    """
    if is_device(path):
        yield Path(path)
        return
    target = Path(os.path.realpath(path))  # a link stays a link; its target is replaced
    temporary = _beside(target)
    try:
        with _as_output_error(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if temporary.is_dir() and target.is_dir():
                shutil.rmtree(target)
            os.replace(temporary, target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # the folder may be no folder at all
                temporary.unlink()


def write_bytes(path: PathLike, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        if not is_device(temporary):
            os.fsync(file.fileno())


def write_text(path: PathLike, text: str) -> None:
    """Write a UTF-8 file whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))


def write_json(path: PathLike, value: object) -> None:
    """Write a JSON file whole or not at all; NumPy values become numbers and lists.

    Not-a-number and infinities become null, which is all that JSON has for them.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def read_json(path: PathLike, what: str, error: type[TfxpError] = ConfigError) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        what: what it should hold, for the message.
        error: what is raised.

    Raises:
        TfxpError: of the type `error`; the file is missing, or no JSON.

    Example:
        >>> read_json("/nowhere.json", "settings")
        Traceback (most recent call last):
        tfxp.errors.ConfigError: settings '/nowhere.json': [Errno 2] No such file or directory: \
'/nowhere.json'.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as reason:
        raise error(f"{what} {os.fspath(path)!r}: {reason}.") from None


def find_config(path: PathLike, folder: str = "") -> Path:
    """A settings file: the path as it stands, or else among those that ship with tfxp.

    Args:
        path: a path; "precision/x.json", "configs/precision/x.json" and, with `folder`, "x.json"
            also find the shipped file of that name.
        folder: where in configs/ to look for a bare name: "precision", "search", "train", "energy".

    Raises:
        ConfigError: there is neither.
    """
    asked = Path(path)
    if asked.exists():
        return asked
    inside = Path(*asked.parts[1:]) if asked.parts[:1] == ("configs",) else asked
    for candidate in (configs_folder() / inside, configs_folder() / folder / inside):
        if not asked.is_absolute() and candidate.is_file():
            return candidate
    raise ConfigError(
        f"settings file: got {os.fspath(path)!r}, which is not there; expected a path, or the name"
        f" of a file in {configs_folder()}."
    )


def configs_folder() -> Path:
    """Where shipped settings lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def _beside(target: Path) -> Path:
    """A hidden name in the same folder, so that replacing is one step of the file system."""
    return target.with_name(f".{target.stem[:100]}.{secrets.token_hex(4)}{target.suffix}")


def is_device(path: PathLike) -> bool:
    """Whether this is /dev/stdout and the like, which are written to and never replaced."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextlib.contextmanager
def _as_output_error(path: PathLike) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"output {os.fspath(path)!r}: cannot be written ({reason}). Choose another path."
        ) from error


def plain(value: object) -> Any:
    """The same value in JSON's own types; not-a-number and infinities become None.

    Example:
        >>> plain({"a": np.arange(2), "b": np.float32("nan")})
        {'a': [0, 1], 'b': None}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value
