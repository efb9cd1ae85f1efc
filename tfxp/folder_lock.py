"""One process at a time in an output folder; whatever kills it, the lock goes with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO

from tfxp.errors import FolderInUseError, OutputError

try:
    import fcntl
except ImportError:  # Windows: two processes in one folder are the user's own care there
    fcntl = None  # type: ignore[assignment]

_LOCK = ".lock"


@contextlib.contextmanager
def hold_folder(
    folder: str | os.PathLike[str], what: str, advice: str = "", wanted: bool = True
) -> Iterator[None]:
    """Keep other processes out of a folder while the block runs.

    Args:
        folder: the folder; it is made if need be, and removed again if nothing was written. While
            it is held it has an empty file `.lock`; one that a killed process left behind is free.
        what: what runs there, for the message: "search", "training".
        advice: what else could be done, for the message.
        wanted: whether to hold it at all.

    Raises:
        FolderInUseError: another process holds it.
        OutputError: it cannot be written to.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with hold_folder(folder, "training"), hold_folder(folder, "training"):
        ...     pass
        Traceback (most recent call last):
        tfxp.errors.FolderInUseError: folder of a training: got '...', where one is running; ...
    """
    if not wanted:
        yield
        return
    name = os.fspath(folder)
    path, is_new = os.path.join(name, _LOCK), not os.path.isdir(name)
    try:
        os.makedirs(name, exist_ok=True)
        file = _locked(path)
    except OSError as error:
        raise OutputError(f"folder of a {what} {name!r}: {error.strerror}.") from None
    if file is None:
        raise FolderInUseError(
            f"folder of a {what}: got {name!r}, where one is running; expected one of its own. "
            f"Wait for it, or name another{advice}."
        )
    try:
        yield
    finally:
        with file, contextlib.suppress(OSError):
            os.unlink(path)
            if is_new:
                os.rmdir(name)  # if nothing was written


def _locked(path: str) -> IO[str] | None:
    """The file, locked; None if another process has locked it.

    Who holds the lock removes the file at the end, so what was opened before that may have no name
    any more: such a lock keeps nobody out, and the file is opened anew.
    """
    while True:
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        if fcntl is None:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError:  # a file system without locks
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()
