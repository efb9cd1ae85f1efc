"""The command lines of README and docs, read as a shell would read them.

Three kinds of places hold commands: fenced blocks of `bash`, `console` (after `$ `) and `text`
(recordings, after `$ `), indented lines that begin with one, and code in running text.
"""

import importlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tfxp.cli.one_command import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "configs/README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
_INDENTED = re.compile(r"^    (?:\$ )?((?:tools/\w+\.(?:py|sh)|tfxp[ -]\w)(?:\\\n|[^\n\\])*)", re.M)
_OURS = re.compile(r"(?:tools/|tfxp-|tfxp |python -m tfxp)[^\n]*")
_NAME = re.compile(r"([A-Z_]+)=(.*)", re.S)


@dataclass(frozen=True)
class Command:
    """One command line.

    Args:
        words: program and arguments, variables of the same block replaced.
        variables: assignments in front of it.
    """

    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()

    def __str__(self):
        return shlex.join(self.words)

    @property
    def tool(self):
        """The module in tools/ that it runs; None for what is no tool of ours.

        Raises:
            AssertionError: it looks like ours, and there is no such tool.
        """
        first, *rest = self.words
        if first == "python" and rest[:2] == ["-m", "tfxp"]:
            first, rest = "tfxp", rest[2:]
        if first == "tfxp":
            return self._by_name(rest[0]) if rest and not rest[0].startswith("-") else None
        if first.startswith("tfxp-"):
            return self._by_name(first.removeprefix("tfxp-"))
        if match := re.fullmatch(r"tools/(\w+)\.py", first):
            assert (ROOT / first).is_file(), f"{self}: there is no {first}"
            return match.group(1)
        return None

    def _by_name(self, name):
        if name == "completion":
            return None
        assert name in COMMANDS, f"{self}: tfxp has no command {name!r}"
        return COMMANDS[name]

    @property
    def arguments(self):
        """What the tool gets."""
        before = {"python": 4, "tfxp": 2}.get(self.words[0], 1)
        rest = list(self.words[before:])
        if self.tool == "run_pipeline" and rest and not rest[0].startswith("-"):
            rest[0] = f"--pipeline={rest[0]}"
        return rest

    @property
    def flags(self):
        """The flags of the tool, set as this command sets them.

        Raises:
            absl.flags.Error: an unknown flag, an impossible value, or a required one missing.
        """
        flags = importlib.import_module(f"tools.{self.tool}")._FLAGS
        rest = flags.parse([self.tool, *self.arguments])
        assert rest == [], f"{self}: {rest} are no flags"
        return flags


def blocks(text):
    """(language, code) of every fenced block."""
    return _FENCE.findall(text)


def prose(text):
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


def shell_lines(language, code):
    """Lines to type in a fenced block, continued ones joined."""
    lines = code.replace("\\\n", "").splitlines()
    if language in ("bash", "sh"):
        return [line for line in lines if line.strip()]
    found = [re.fullmatch(r"(?:\[[\d:]+\] )?\$ (.*)", line) for line in lines]
    return [match.group(1) for match in found if match]


def commands_of_lines(lines):
    """Commands of a block; assignments hold for the lines after them."""
    known, found = {}, []
    for line in _whole(lines):
        for name, value in known.items():
            line = re.sub(rf"\${name}\b", value.replace("\\", r"\\"), line)
        for words in _split(line):
            variables = []
            while words and (match := _NAME.fullmatch(words[0])):
                variables.append(match.groups())
                words = words[1:]
            if words:
                found.append(Command(tuple(words), tuple(variables)))
            else:
                known.update(variables)
    return found


def _whole(lines):
    """Lines, those joined that a quoted text spans, without texts between << 'END' and END."""
    line, end = "", None
    for more in lines:
        if end:
            end = None if more == end else end
            continue
        line = f"{line}\n{more}" if line else more
        try:
            shlex.split(line, comments=True)
        except ValueError:
            continue
        yield line
        here = re.search(r"<<\s*'?(\w+)", line)
        line, end = "", here and here.group(1)
    assert not line, f"a quotation without an end: {line}"


def _split(line):
    """Words of each command of a line: `a & b; c && d` are four."""
    reader = shlex.shlex(line, posix=True, punctuation_chars="&;")
    reader.whitespace_split = True
    commands = [[]]
    for word in reader:
        if set(word) <= set("&;"):
            commands.append([])
        else:
            commands[-1].append(word)
    return [words for words in commands if words]


def commands(text):
    """Every command of a page that is meant to be typed, in order, of ours or not."""
    places = []
    for match in _FENCE.finditer(text):
        lines = shell_lines(*match.groups()) if match.group(1) else []
        places.append((match.start(), lines))
    for match in _INDENTED.finditer(_FENCE.sub(lambda m: "#" * len(m.group()), text)):
        places.append((match.start(), [match.group(1).replace("\\\n", "")]))
    return [one for _, lines in sorted(places) for one in commands_of_lines(lines)]


def mentions(text):
    """Commands of ours within running text, as (tool, flags): they may leave flags out.

    `--method=lin|judd` stands for two flags, and `tfxp …` or `tfxp COMMAND` for any command.
    """
    lines = [" ".join(span.split()) for span in code_spans(text)]
    found = []
    for line in lines:
        words = shlex.split(line) if _OURS.match(line) else []
        if len(words) < 2 or words[1] in ("…", "COMMAND"):
            continue
        command = Command(tuple(words))
        if command.tool is not None:
            flags = [one for word in command.arguments for one in _each(word)]
            found.append((command.tool, flags))
    return found


def code_spans(text):
    """What stands in single backticks, outside fenced blocks."""
    return re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(text))


def _each(flag):
    name, equals, value = flag.partition("=")
    return [f"{name}={one}" for one in value.split("|")] if equals else [flag]
