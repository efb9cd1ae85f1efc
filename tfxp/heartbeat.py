"""A sign of life from work that prints nothing for a while."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, TextIO

from tfxp.progress import is_silenced

_LEAST, _MOST, _SHARE = 4.0, 60.0, 0.05  # seconds, seconds, of the time so far


@contextlib.contextmanager
def never_silent(title: str, least: float = _LEAST) -> Iterator[None]:
    """While it lasts, a line on standard error whenever nothing was printed for a while.

    Silence lasts 4 seconds at most at first, later a twentieth of the time so far, at most a
    minute: a quick job shows that it lives, and a long one does not fill the screen. A line that
    somebody has begun gets a dot instead. Nothing is said where progress is switched off.

    Args:
        title: what the line begins with.
        least: seconds of silence that are allowed at any time.

    Example:
        >>> with never_silent("counting"):
        ...     sum(range(1000))
        499500
    """
    if sys.stderr is None or is_silenced():
        yield
        return
    before, heard = (sys.stdout, sys.stderr), _Heard()
    sys.stdout, sys.stderr = (_Listening(stream, heard) for stream in before)
    ended, target = threading.Event(), sys.stderr
    thread = threading.Thread(target=_watch, args=(title, least, heard, target, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sys.stdout, sys.stderr = before


class _Heard:
    """When something was printed last, and whether it ended its line."""

    def __init__(self) -> None:
        self.when = time.monotonic()
        self.inside_line = False


class _Listening:
    """A text stream that notes when it is written to."""

    def __init__(self, stream: TextIO, heard: _Heard) -> None:
        self._stream, self._heard = stream, heard

    def write(self, text: str) -> int:
        if text:
            self._heard.when = time.monotonic()
            self._heard.inside_line = not text.endswith("\n")
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _watch(title: str, least: float, heard: _Heard, stream: TextIO, ended: threading.Event) -> None:
    started = time.monotonic()
    while True:
        seconds = time.monotonic() - started
        allowed = max(least, min(_MOST, _SHARE * seconds))
        if ended.wait(max(heard.when + allowed - time.monotonic(), 0.0)):
            return
        if time.monotonic() - heard.when >= allowed:
            inside = heard.inside_line
            stream.write("." if inside else f"{title}: {time.monotonic() - started:.0f} s so far\n")
            stream.flush()
