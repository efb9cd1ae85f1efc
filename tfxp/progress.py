"""A progress bar on standard error that is silent where nobody watches."""

from __future__ import annotations

import contextlib
import inspect
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Protocol, TextIO, TypeVar

_Item = TypeVar("_Item")
_WIDTH = 24
_SECONDS_BETWEEN_DRAWS = 0.1
_SECONDS_BETWEEN_LINES = 10.0
_shown: bool | None = None  # what `show=None` means; None for "as the stream is"


class Report(Protocol):
    """A function that long library calls report to, such as `Progress.reach`.

    Args:
        done: steps done.
        total: steps in all; None where nobody knows.
        note: words about the last step, such as its loss; given only where there are any.
    """

    def __call__(self, done: int, total: int | None, note: str = "", /) -> None:
        """Take one report."""


def reporter(progress: Report | None) -> Report:
    """What to call at every step: nothing for None; functions of two arguments get no notes."""
    if progress is None:
        return lambda done, total, note="", /: None
    try:
        inspect.signature(progress).bind(0, None, "")
    except (TypeError, ValueError):
        return lambda done, total, note="", /: progress(done, total)
    return progress


class Progress:
    """One line that shows how far the work is, how fast it goes and what is left.

    Args:
        total: how many steps there are; None where nobody knows.
        title: what is being done.
        unit: what one step is, in the singular: "image", "trial".
        show: draw it? None draws a bar where `stream` is a terminal, and elsewhere prints a line
            every ten seconds. Asked for elsewhere, it prints a line at every tenth of the way.
        stream: standard error unless told.

    Example:
        >>> with Progress(3, "counting", show=False) as progress:
        ...     for _ in range(3):
        ...         progress.step()
        >>> progress.done
        3
    """

    def __init__(
        self,
        total: int | None,
        title: str,
        unit: str = "step",
        show: bool | None = None,
        stream: TextIO | None = None,
    ) -> None:
        self.total = total
        self.title = title
        self.unit = unit
        self.done = 0
        self.note = ""
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream is not None and self._stream.isatty()
        wanted = _shown if show is None else show
        self._show = self._stream is not None and wanted is not False
        self._seldom = wanted is None and not self._terminal
        self._started = time.monotonic()
        self._first = (0, self._started)  # steps and time of the first report
        self._drawn = -1.0
        self._tenths = 0

    def step(self, count: int = 1, note: str = "") -> None:
        """Say that `count` more steps are done; `note` stays at the end of the line."""
        if self.done == 0:
            self._first = (count, time.monotonic())
        self.done += count
        self.note = note or self.note
        if self._show:
            self._draw(final=False)

    def reach(self, done: int, total: int | None = None, note: str = "") -> None:
        """Say that `done` steps of `total`, if that is known by now, are done: a `Report`."""
        self.total = self.total if total is None else total
        self.step(done - self.done, note)

    def close(self) -> None:
        """Draw the last state and leave the line."""
        if self._show:
            self._draw(final=True)
            self._show = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def line(self) -> str:
        """What is shown now, without the bar."""
        now = time.monotonic()
        count = f"{self.done}" if self.total is None else f"{self.done}/{self.total}"
        text = f"{self.title}: {count} {self.unit}s"
        if self.total is None or not 0 < self.done < self.total:
            seconds = max(now - self._started, 1e-9)
            text += f", {_figure(self.done / seconds)}/s, {_duration(seconds)}"
        elif (rate := self._rate_since_first(now)) > 0:
            text += f", {_figure(rate)}/s, {_duration((self.total - self.done) / rate)} left"
        else:
            text += f", {_duration(now - self._started)} so far"
        return f"{text}  {self.note}" if self.note else text

    def _rate_since_first(self, now: float) -> float:
        """Steps a second without the first report, whose time went into getting ready; 0 before."""
        done, begun = self._first
        return (self.done - done) / max(now - begun, 1e-9)

    def _draw(self, final: bool) -> None:
        now = time.monotonic()
        if self._seldom:
            if now - max(self._drawn, self._started) >= _SECONDS_BETWEEN_LINES:
                self._drawn = now
                print(self.line(), file=self._stream, flush=True)
            return
        if not self._terminal:
            tenths = 10 * self.done // self.total if self.total else 0
            if tenths > self._tenths or (final and self._tenths < 10):
                self._tenths = 10 if final else tenths
                print(self.line(), file=self._stream, flush=True)
            return
        if not final and now - self._drawn < _SECONDS_BETWEEN_DRAWS:
            return
        self._drawn = now
        share = min(self.done / self.total, 1) if self.total else float(final)
        filled = int(_WIDTH * share)
        bar = "█" * filled + "░" * (_WIDTH - filled)
        # Back to the start, clear the line, and end it only when done.
        self._stream.write(f"\r\x1b[2K{bar} {self.line()}" + ("\n" if final else ""))
        self._stream.flush()


@contextlib.contextmanager
def shown_by_default(show: bool | None) -> Iterator[None]:
    """While it lasts, `show=None` of a Progress means this.

    Example:
        >>> with shown_by_default(False):
        ...     Progress(3, "counting").step(3)
    """
    global _shown
    before, _shown = _shown, show
    try:
        yield
    finally:
        _shown = before


def is_silenced() -> bool:
    """Whether `show=None` of a Progress means False now, as in tools with --quiet."""
    return _shown is False


def track(
    items: Iterable[_Item],
    title: str,
    total: int | None = None,
    unit: str = "step",
    show: bool | None = None,
) -> Iterator[_Item]:
    """The same items, with a progress bar while they are consumed.

    Args:
        items: what to go through.
        title: what is being done.
        total: how many there are; by default the length of `items`, if it has one.
        unit: what one item is, in the singular.
        show: as for Progress.

    Example:
        >>> sum(track([1, 2, 3], "adding", show=False))
        6
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(total, title, unit, show) as progress:
        for item in items:
            yield item
            progress.step()


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
