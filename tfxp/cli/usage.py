"""What --help prints, and what is said of flags that make no sense; in our words, not absl's."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from absl import flags

from tfxp.errors import did_you_mean

WIDTH = 96
_ENUM_PREFIX = re.compile(r"^<[^>]*>: ")  # absl's; the values stand beside the name already
_ILLEGAL = re.compile(r"flag --([\w-]+)=(.*?): (.*)", re.DOTALL)
_EXAMPLE = re.compile(r"^ {4}(tools/|tfxp )")
#: Flags that say how a tool runs, and no more.
RUNNING = ("batch_size", "seed", "progress", "quiet", "verbose")


@dataclass(frozen=True)
class HelpFlag:
    """One flag of a help text.

    Args:
        flag: absl's.
        group: the heading that it stands under.
        required: whether it must be given.
    """

    flag: flags.Flag
    group: str
    required: bool

    def __str__(self) -> str:
        head = f"  --[no]{self.flag.name}" if self.flag.boolean else f"  --{self.flag.name}"
        if isinstance(self.flag.parser, flags.EnumParser):
            head += "=" + "|".join(self.flag.parser.enum_values)
        if self.required:
            head += " (required)"
        elif self.flag.default is not None and self.flag.default != []:
            head += f" (default: {_default(self.flag)})"
        body = _ENUM_PREFIX.sub("", self.flag.help or "")
        return (
            f"{head}\n{textwrap.fill(body, 90, initial_indent=' ' * 6, subsequent_indent=' ' * 6)}"
        )


def format_help(doc: str, program: str, listed: Sequence[HelpFlag]) -> str:
    """The whole help text: usage, docstring with examples to paste, flags in groups.

    Args:
        doc: the tool's docstring; lines that are indented and start with a tool are examples.
        program: how it was called, such as "tfxp export" or "export_tflite.py".
        listed: its flags, sorted by group.
    """
    needed = "".join(f" --{entry.flag.name}=…" for entry in listed if entry.required)
    parts = [f"usage: {program}{needed} [--flag=value …]", "", *_examples(doc, program)]
    group = None
    for entry in listed:
        if entry.group != group:
            group = entry.group
            parts.append(f"\n{group}:")
        parts.append(str(entry))
    return "\n".join(parts) + "\n"


def explain(error: flags.Error, known: Mapping[str, flags.Flag]) -> str:
    """One sentence on a flag that makes no sense.

    Args:
        error: what absl raised.
        known: the tool's flags.

    Example:
        >>> tool = tfxp.cli.ToolFlags("Adds.")
        >>> limit = tool.limit()
        >>> try:
        ...     tool.parse(["add", "--limit=x"])
        ... except flags.Error as error:
        ...     print(explain(error, {"limit": tool.values["limit"]}))
        --limit: got 'x'; expected a positive integer.
    """
    if isinstance(error, flags.UnrecognizedFlagError):
        hint = did_you_mean(error.flagname, list(known))
        return f"--{error.flagname}: got a flag that this tool does not have.{hint}"
    found = _ILLEGAL.fullmatch(str(error))
    if found is None or found.group(1) not in known:
        return str(error)
    name, value, reason = found.groups()
    parser = known[name].parser
    if isinstance(parser, flags.EnumParser):
        expected = f"one of {', '.join(parser.enum_values)}"
    else:
        expected = parser.syntactic_help or reason
    return f"--{name}: got {value!r}; expected {expected}."


def _examples(doc: str, program: str) -> list[str]:
    """The docstring, with examples as they can be pasted where the tool was called so."""
    lines: list[str] = []
    continued = False
    for line in doc.splitlines():
        example = _EXAMPLE.match(line) is not None
        if not example and not continued:
            lines.append(line)
            continue
        text = " ".join(line.removesuffix("\\").split())
        if example and program.startswith("tfxp"):
            text = re.sub(r"^tools/\w+\.py", program, text)
        if continued:
            lines[-1] += " " + text
        else:
            lines.append("    " + text)
        continued = line.endswith("\\")
    return [part for line in lines for part in _wrapped(line)]


def _wrapped(line: str) -> list[str]:
    """A command in lines that a shell joins again."""
    if len(line) <= WIDTH or not line.startswith("    "):
        return [line]
    parts = textwrap.wrap(line.strip(), WIDTH - 8, break_on_hyphens=False, break_long_words=False)
    ends = [" \\"] * (len(parts) - 1) + [""]
    indents = [" " * 4] + [" " * 8] * (len(parts) - 1)
    return [f"{i}{part}{end}" for i, part, end in zip(indents, parts, ends, strict=True)]


def _default(flag: flags.Flag) -> str:
    value = flag.default
    if flag.boolean and isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
