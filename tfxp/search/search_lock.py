"""One search at a time in a folder; whatever kills it, the lock goes with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tfxp.errors import ConfigError, OutputError

try:
    import fcntl
except ImportError:  # Windows: two searches in one folder are the user's own care there
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def only_one(directory: str, wanted: bool = True) -> Iterator[None]:
    """Hold a folder for one search.

    Args:
        directory: the folder; it is made.
        wanted: whether to hold it at all.

    Raises:
        ConfigError: another process holds it.
        OutputError: it cannot be written to.
    """
    if not wanted:
        yield
        return
    try:
        os.makedirs(directory, exist_ok=True)
        file = open(os.path.join(directory, "lock"), "a", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise OutputError(f"directory of a search {directory!r}: {error.strerror}.") from None
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(
                    f"directory of a search: got {directory!r}, where one is running; expected "
                    "one of its own. Wait for it, name another, or start a chief and workers."
                ) from None
        yield
