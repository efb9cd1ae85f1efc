"""The runs: which there are, how one is done, and its JSON file."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tfxp.errors import ConfigError, DependencyError, TfxpError
from tfxp.files import read_json, write_json
from tools.frontier.environments import environment, python_of
from tools.frontier.peers import PEERS

PROGRAMS = Path(__file__).resolve().parent / "programs"
_ROW = re.compile(r"(w(\d+)a(\d+)c?)(?::(\d+))?")


@dataclasses.dataclass(frozen=True)
class Common:
    """What all runs share: model, data, and how much of them."""

    model: str
    train_data: str
    eval_data: str
    images: int
    eval_images: int | None
    calibration: int
    batch_size: int
    learning_rate: float


@dataclasses.dataclass(frozen=True)
class Run:
    """One peer at one precision with one seed."""

    peer: str
    precision: str
    weight_bits: int
    activation_bits: int
    epochs: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.peer}_{self.precision}_e{self.epochs}_s{self.seed}"


def list_runs(peers: Sequence[str], rows: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """All runs, row by row, so that what is comparable is done first.

    Args:
        peers: names in PEERS.
        rows: precision:epochs, such as w4a4c:2; without epochs nothing is trained.
        seeds: of every random draw.

    Raises:
        ConfigError: a name or row that is not known.
    """
    unknown = [name for name in peers if name not in PEERS]
    if unknown or not peers:
        raise ConfigError(f"peers: got {list(peers)}; expected some of {', '.join(PEERS)}.")
    parsed = []
    for row in rows:
        found = _ROW.fullmatch(row)
        if not found:
            raise ConfigError(f"rows: got {row!r}; expected precision:epochs such as w4a4c:2.")
        precision, weights, activations, epochs = found.groups()
        parsed.append((precision, int(weights), int(activations), int(epochs or 0)))
    return [Run(p, *row, seed) for seed in seeds for row in parsed for p in peers]


def do_runs(
    runs: Sequence[Run], common: Common, folder: Path, cache: Path, threads: int, command: str
) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Do what is not done yet, one after the other.

    Args:
        runs: what to do.
        common: model and data.
        folder: gets RUN.json, RUN.log and RUN.tflite.
        cache: gets the environments.
        threads: of each process.
        command: how this tool was started, noted in every file.

    Yields:
        Each run and its record.

    Raises:
        TfxpError: a program ended without a result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for run in runs:
        settings = _settings(run, common, folder)
        path = folder / f"{run.name}.json"
        if path.exists() and read_json(path, "run")["settings"] == settings:
            yield run, read_json(path, "run")
            continue
        print(f"{run.name} ...", flush=True)
        record = {"settings": settings, "command": command, "python": sys.version.split()[0]}
        try:
            python = python_of(run.peer, PEERS[run.peer], cache)
        except DependencyError as error:
            record["error"] = str(error)
        else:
            record |= _result(run, settings, python, folder, threads)
        write_json(path, record)
        yield run, record


def _settings(run: Run, common: Common, folder: Path) -> dict[str, Any]:
    file = str((folder / f"{run.name}.tflite").absolute())
    used = common if run.epochs else dataclasses.replace(common, images=0)
    return {**dataclasses.asdict(run), **dataclasses.asdict(used), "file": file}


def all_records(folder: Path) -> list[dict[str, Any]]:
    """The records of all runs in a folder, those of fewer bits last."""
    paths = [path for path in sorted(folder.glob("*_s*.json")) if path.name.count(".") == 1]
    records = [read_json(path, "run") for path in paths]
    order = list(PEERS)

    def key(record: dict[str, Any]) -> tuple[int, ...]:
        s = record["settings"]
        bits = -s["weight_bits"], -s["activation_bits"]
        return *bits, s["epochs"], order.index(s["peer"]), s["seed"]

    return sorted(records, key=key)


def _result(
    run: Run, settings: dict[str, Any], python: str, folder: Path, threads: int
) -> dict[str, Any]:
    """Start a peer's program and read what it found."""
    program = str(PROGRAMS / PEERS[run.peer].program)
    log = folder / f"{run.name}.log"
    with tempfile.TemporaryDirectory() as temporary, open(log, "w", encoding="utf-8") as output:
        given, found = os.path.join(temporary, "settings.json"), os.path.join(temporary, "result")
        Path(given).write_text(json.dumps(settings), encoding="utf-8")
        done = subprocess.run(
            [python, program, given, found],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(threads),
        )
        if not os.path.exists(found):
            raise TfxpError(
                f"{run.name}: its program ended with {done.returncode} and no result; see {log}. "
                "Start the same command again to go on from there."
            )
        return {**json.loads(Path(found).read_text(encoding="utf-8")), "load": os.getloadavg()[0]}
