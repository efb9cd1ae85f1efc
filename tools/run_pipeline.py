#!/usr/bin/env python3
"""Run a pipeline file: measure, assign or search, quantize, fine-tune, export, verify, report.

    tfxp run-all pipeline.json
    tools/run_pipeline.py --pipeline=pipeline.json --again

A pipeline is a list of commands with their flags; paths start at its folder:

    {"schema": 1, "steps": [
      {"command": "measure", "flags": {"model": "float.keras", "data": "digits.npz",
                                       "output": "stats.json"}},
      {"command": "quantize", "flags": {"model": "float.keras", "stats": "stats.json",
                                        "precision": "w4a4e8", "output": "q.keras"}}]}

A step is done again only if its flags, a file that it reads, or the version of tfxp has changed, or
if a file that it wrote is gone; so the same command goes on after a stop of any kind.
"""

from __future__ import annotations

import os
import time

from tfxp import cli
from tfxp.commands.pipeline import read_pipeline, run_pipeline

_FLAGS = cli.ToolFlags(__doc__)
_FLAGS.resumable()
_PIPELINE = _FLAGS.DEFINE_string("pipeline", None, "The pipeline file (.json).", required=True)
_AGAIN = _FLAGS.DEFINE_boolean("again", False, "Run every step, whatever is there.")


def main() -> None:
    """Read, run, count."""
    steps = read_pipeline(_PIPELINE.value)
    folder = os.path.dirname(os.path.abspath(_PIPELINE.value))
    started = time.monotonic()
    done = run_pipeline(steps, folder, _AGAIN.value, lambda line: print(line, flush=True))
    kept = sum(state == "kept" for state in done.values())
    seconds = time.monotonic() - started
    print(f"{len(done) - kept} steps done, {kept} kept, in {seconds:.1f} s")


run = cli.entry_point(main, _FLAGS)

if __name__ == "__main__":
    run()
