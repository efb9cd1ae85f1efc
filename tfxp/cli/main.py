"""One main for all tools: exit codes, and one sentence instead of a traceback."""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from absl import flags

from tfxp.cli.flags import ToolFlags
from tfxp.errors import TfxpError
from tfxp.progress import shown_by_default

USAGE_ERROR = 2
INTERRUPTED = 130
_HELP = ("-h", "-help", "--help", "--helpfull", "--helpshort")


def entry_point(
    main: Callable[[], int | None], tool_flags: ToolFlags
) -> Callable[[Sequence[str] | None], NoReturn]:
    """What a tool's `__main__` block and its console command call.

    Exit codes: what `main` returns (0 for None), 1 for an error said in one sentence on standard
    error, 2 for flags that make no sense, 130 for Ctrl-C. Set TFXP_TRACEBACK=1 to see tracebacks.

    Args:
        main: does the work; reads the flags that `tool_flags` defined.
        tool_flags: the tool's flags.

    Example:
        >>> run = entry_point(lambda: print("done"), ToolFlags("Does nothing."))
        >>> run(["tool"])
        Traceback (most recent call last):
        SystemExit: 0
    """

    def run(argv: Sequence[str] | None = None) -> NoReturn:
        sys.exit(_run(main, tool_flags, sys.argv if argv is None else argv))

    return run


def _run(main: Callable[[], int | None], tool_flags: ToolFlags, argv: Sequence[str]) -> int:
    name = os.path.basename(argv[0])
    if any(argument in _HELP for argument in argv[1:]):
        print(tool_flags.help_text(name), end="")
        return 0
    try:
        rest = tool_flags.parse(argv)
        if rest:
            raise flags.Error(f"got {rest[0]!r}; expected flags only.")
    except flags.Error as error:
        _say(name, f"{_sentence(error)} See {name} --help.")
        return USAGE_ERROR
    _leave_on_sigterm()
    try:
        with _warnings_in_one_line(name), _as_loud_as_asked(name, tool_flags):
            tool_flags.check_files()
            return main() or 0
    except KeyboardInterrupt:
        _say(name, _interrupted(tool_flags, argv))
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone (`tool | head`); nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        known = isinstance(error, (TfxpError, OSError)) or _is_out_of_memory(error)
        if not known or os.environ.get("TFXP_TRACEBACK"):
            raise
        _say(name, _sentence(error))
        return 1


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was refused; TensorFlow, which need not be loaded, has a class of its own."""
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"


def _interrupted(tool_flags: ToolFlags, argv: Sequence[str]) -> str:
    """What became of an interrupted run, and the command that goes on where there is one."""
    if not tool_flags.goes_on:
        return "interrupted."
    *program, last = str(argv[0]).split(" ")
    command = shlex.join([*program, last, *argv[1:]])
    return f"interrupted; what was done is kept. To go on: {command}"


@contextlib.contextmanager
def _as_loud_as_asked(name: str, tool_flags: ToolFlags) -> Iterator[None]:
    """--quiet leaves errors and warnings; --verbose adds progress everywhere, and the time."""
    quiet, verbose = (tool_flags.values[flag].value for flag in ("quiet", "verbose"))
    if not quiet and not verbose:
        yield
        return
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(shown_by_default(not quiet))
        if quiet:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield
    if verbose:
        _say(name, f"{time.monotonic() - started:.1f} s, most memory {_most_memory()}.")


def _most_memory() -> str:
    """The largest resident size of this process so far."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB"


@contextlib.contextmanager
def _warnings_in_one_line(name: str) -> Iterator[None]:
    """Print warnings for users as errors are printed, without a path and a line of source."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *args: Any, **more: Any) -> None:
            if issubclass(category, UserWarning):
                _say(name, f"warning: {' '.join(str(message).split())}")
            else:
                before(message, category, *args, **more)

        warnings.showwarning = show
        yield


def _sentence(error: BaseException) -> str:
    """An error as one line that ends like a sentence."""
    if _is_out_of_memory(error):
        return "out of memory. Use --limit or a smaller --batch_size."
    if isinstance(error, OSError) and not isinstance(error, TfxpError) and error.strerror:
        text = f"{error.filename or 'file'}: {error.strerror}"
    else:
        text = " ".join(str(error).split()) or type(error).__name__
    return text if text[-1] in ".?!" else f"{text}."


def _say(name: str, text: str) -> None:
    sys.stdout.flush()
    print(f"{name}: {text}", file=sys.stderr)


def _leave_on_sigterm() -> None:
    """Let `finally` blocks remove temporary files when the process is asked to end."""

    def leave(number: int, frame: object) -> None:
        sys.exit(128 + number)

    try:
        signal.signal(signal.SIGTERM, leave)
    except ValueError:
        pass  # not the main thread: whoever runs us there has its own rules
