"""A pipeline file: tools one after another, each done again only if something it reads changed."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfxp.cli.one_command import COMMANDS
from tfxp.errors import ConfigError, TfxpError, check_fields, did_you_mean
from tfxp.files import read_json, write_json
from tfxp.heartbeat import never_silent
from tfxp.version import __version__

SCHEMA = 1
_BLOCK = 1 << 20
_STATE = ".tfxp_pipeline.json"


class StepError(TfxpError):
    """A step of a pipeline ended with an error, which it has said itself."""


@dataclass(frozen=True)
class Step:
    """One tool of a pipeline.

    Args:
        name: what it is called in messages; no two steps share one.
        command: the command, such as "quantize".
        flags: flag -> value; true and false stand for --flag and --noflag, lists for commas.
    """

    name: str
    command: str
    flags: Mapping[str, Any]

    def arguments(self) -> list[str]:
        """The command line behind the command.

        Example:
            >>> Step("q", "quantize", {"epochs": 2, "equalize": False}).arguments()
            ['--epochs=2', '--noequalize']
        """
        return [_argument(name, value) for name, value in self.flags.items()]


def read_pipeline(path: str | os.PathLike[str]) -> list[Step]:
    """The steps of a pipeline file.

    Args:
        path: JSON with "schema" 1 and "steps", each with "command", "flags" and perhaps "name".

    Raises:
        ConfigError: the file is missing or no pipeline; the step and field are named.
    """
    data = read_json(path, "pipeline")
    where = f"pipeline {os.fspath(path)!r}"
    if not isinstance(data, dict) or not isinstance(data.get("steps"), list) or not data["steps"]:
        raise ConfigError(f'{where}: got no list of steps; expected {{"schema": 1, "steps": […]}}.')
    if data.get("schema") != SCHEMA:
        raise ConfigError(f"schema of {where}: got {data.get('schema')!r}; expected {SCHEMA}.")
    steps = [_step(entry, f"step {i + 1} of {where}") for i, entry in enumerate(data["steps"])]
    names = [step.name for step in steps]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"names of steps in {where}: got {', '.join(twice)} twice; expected each once. "
            'Give steps of the same command a "name".'
        )
    return steps


def run_pipeline(
    steps: Sequence[Step],
    folder: str | os.PathLike[str],
    again: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Run the steps in a folder; one whose inputs did not change and whose outputs are whole stays.

    What a step read and wrote is remembered by SHA-256 as soon as it is done, so that a run which
    was stopped goes on with the step that it was in.

    Args:
        steps: as `read_pipeline` gives them.
        folder: where paths of flags start.
        again: whether every step is run, whatever is there.
        say: takes a line per step.

    Returns:
        Step -> "done" or "kept".

    Raises:
        StepError: a step failed.
    """
    result: dict[str, str] = {}
    with _inside(folder):
        done: dict[str, Any] = _remembered()
        for number, step in enumerate(steps, 1):
            title = f"[{number}/{len(steps)}] {step.name}"
            key = _key(step)
            if not again and _is_whole(done.get(step.name), key):
                say(f"{title}: kept, since nothing that it reads has changed")
                result[step.name] = "kept"
                continue
            say(f"{title}: tfxp {step.command} {' '.join(step.arguments())}")
            started = time.monotonic()
            with never_silent(title):
                _run(step)
            written = {path: _digest(path) for path in _outputs(step) if os.path.exists(path)}
            done[step.name] = {"key": key, "written": written}
            write_json(_STATE, done)
            say(f"{title}: done in {time.monotonic() - started:.1f} s")
            result[step.name] = "done"
    return result


def _step(entry: object, where: str) -> Step:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: got {entry!r}; expected an object.")
    check_fields(where, entry, ["name", "command", "flags"])
    command, given = entry.get("command"), entry.get("flags", {})
    if command not in COMMANDS or command == "run-all":
        hint = did_you_mean(str(command), COMMANDS)
        raise ConfigError(
            f"command of {where}: got {command!r}; expected one of {', '.join(COMMANDS)}.{hint}"
        )
    if not isinstance(given, dict):
        raise ConfigError(f"flags of {where}: got {given!r}; expected an object.")
    known = set(_tool_flags(command).values)
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(f"flags of {where}: tfxp {command} has no --{name}.{hint}")
    return Step(str(entry.get("name", command)), command, given)


def _argument(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    if isinstance(value, list):
        value = ",".join(map(str, value))
    return f"--{name}={value}"


def _run(step: Step) -> None:
    module = importlib.import_module(f"tfxp.tools.{COMMANDS[step.command]}")
    try:
        with _command_line("tfxp", step.command, *step.arguments()):
            module.run([f"tfxp {step.command}", *step.arguments()])
    except SystemExit as end:
        if end.code == 130:
            raise KeyboardInterrupt from None
        if end.code:
            raise StepError(
                f"step {step.name}: ended with {end.code}; expected 0. Mend what it says and run "
                "the pipeline again; steps that are done are kept."
            ) from None


def _tool_flags(command: str) -> Any:
    return importlib.import_module(f"tfxp.tools.{COMMANDS[command]}")._FLAGS


def _outputs(step: Step) -> list[str]:
    names = {output.name for output in _tool_flags(step.command).outputs}
    return [str(value) for name, value in step.flags.items() if name in names]


def _key(step: Step) -> str:
    """What decides whether a step is to be done again."""
    written = set(_outputs(step))
    texts = [text for value in step.flags.values() for text in _texts(value)]
    read = {text: _digest(text) for text in texts if text not in written and os.path.exists(text)}
    whole = [__version__, step.command, dict(step.flags), read]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _texts(value: object) -> list[str]:
    """What may be paths in a flag's value: itself, and the parts of a list."""
    if isinstance(value, list):
        return [str(part) for part in value]
    return [str(value), *str(value).split(",")]


def _is_whole(known: object, key: str) -> bool:
    """Whether a step was done with the same inputs, and what it wrote is still there."""
    if not isinstance(known, dict) or known.get("key") != key:
        return False
    written = known.get("written", {})
    return all(os.path.exists(path) and _digest(path) == was for path, was in written.items())


def _remembered() -> dict[str, Any]:
    """What earlier runs did; a file that cannot be read counts as none."""
    if not os.path.exists(_STATE):
        return {}
    try:
        found = read_json(_STATE, "state of the pipeline")
    except ConfigError:
        return {}
    return found if isinstance(found, dict) else {}


def _digest(path: str) -> str:
    """SHA-256 of a file, or of all files of a folder with their names."""
    digest = hashlib.sha256()
    for file in _files(Path(path)):
        digest.update(file.as_posix().encode())
        with open(file, "rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
    else:
        yield path


@contextmanager
def _command_line(*words: str) -> Iterator[None]:
    """Pages say which command made them: that of the step."""
    before, sys.argv = sys.argv, list(words)
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _inside(folder: str | os.PathLike[str]) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
