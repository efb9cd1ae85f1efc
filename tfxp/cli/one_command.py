"""`tfxp COMMAND`: one door to all tools; `python -m tfxp` is the same."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tfxp.cli.main import USAGE_ERROR
from tfxp.errors import did_you_mean
from tfxp.version import __version__

#: Command -> the tool behind it, in the order of a project.
COMMANDS = {
    "measure": "measure_model",
    "assign": "assign_precision",
    "search": "search_precision",
    "quantize": "quantize_model",
    "train": "train_model",
    "export": "export_tflite",
    "compare": "compare_models",
    "run": "run_tflite",
    "view": "view_tflite",
    "cost": "estimate_cost",
    "report": "report_runs",
    "run-all": "run_pipeline",
    "doctor": "doctor",
}
_HELP = ("-h", "-help", "--help", "help")
_VERSION = ("-version", "--version", "version")
# bash completes commands, then the flags that the command's --help names; zsh through bashcompinit.
_COMPLETION = """\
_tfxp() {{
    local word=${{COMP_WORDS[COMP_CWORD]}}
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{commands}" -- "$word"))
    else
        local flags=$(tfxp "${{COMP_WORDS[1]}}" --help 2>/dev/null | grep -oE '^ *--[a-z_0-9]+')
        COMPREPLY=($(compgen -W "$flags" -- "$word"))
        [ ${{#COMPREPLY[@]}} -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"))
    fi
}}
complete -o nospace -F _tfxp tfxp
"""


def run(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command that a command line names.

    Exit codes are those of the tool; 2 where there is no such command.

    Args:
        argv: program name, command, flags of the command.

    Example:
        >>> run(["tfxp", "--version"])
        Traceback (most recent call last):
        SystemExit: 0
    """
    name, *arguments = sys.argv if argv is None else argv
    sys.exit(_run(Path(name).stem.replace("__main__", "tfxp"), arguments))


def _run(program: str, arguments: list[str]) -> int:
    command = arguments[0] if arguments else "--help"
    if command in _HELP:
        print(help_text(), end="")
        return 0
    if command in _VERSION:
        print(f"tfxp {__version__}")
        return 0
    if command == "completion":
        print(_COMPLETION.format(commands=" ".join(COMMANDS)), end="")
        return 0
    if command not in COMMANDS:
        known, hint = ", ".join(COMMANDS), did_you_mean(command, COMMANDS)
        text = f"command: got {command!r}; expected one of {known}.{hint}"
        print(f"{program}: {text}", file=sys.stderr)
        return USAGE_ERROR
    module = importlib.import_module(f"tfxp.tools.{COMMANDS[command]}")
    rest = arguments[1:]
    if command == "run-all" and rest and not rest[0].startswith("-"):
        rest[0] = f"--pipeline={rest[0]}"
    module.run([f"{program} {command}", *rest])
    return 0


def help_text() -> str:
    """The commands with a line each, without importing the tools."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {_first_line(module)}" for name, module in COMMANDS.items()]
    listed = "\n".join(lines)
    return (
        f"tfxp {__version__}: Keras models in few bits, exported to integer files.\n\n"
        "usage: tfxp COMMAND [--flag=value ...]\n"
        "       tfxp COMMAND --help        what a command does, its flags, examples\n"
        "       tfxp --version\n"
        '       eval "$(tfxp completion)"  complete commands and flags in bash\n\n'
        f"commands:\n{listed}\n\n"
        "exit codes: 0 done; 1 an error, said in one sentence; 2 flags that make no sense; "
        "130 Ctrl-C\n"
    )


def _first_line(module: str) -> str:
    """What a tool's docstring says first."""
    spec = importlib.util.find_spec(f"tfxp.tools.{module}")
    assert spec is not None and spec.origin is not None  # a table of ours
    doc = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return doc.splitlines()[0]
