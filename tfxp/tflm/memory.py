"""The memory that LiteRT for Microcontrollers takes for a file, asked of TFLM itself."""

from __future__ import annotations

import contextlib
import dataclasses
import re

import numpy as np

from tfxp.errors import EngineError
from tfxp.graph import read_tflite
from tfxp.runtimes.child_engine import ChildEngine
from tfxp.runtimes.runtime import runtime_named

#: TFLM aligns the arena to this.
_STEP = 16


def arena_bytes(content: bytes, name: str = "the file", patience: float | None = 300.0) -> int:
    """Bytes of the smallest tensor arena in which TFLM runs a file, a multiple of 16.

    TFLM's recording allocator counts what a run took, in a process of its own. Where preparing the
    operators takes more than the run, a search goes up from there. Pointers have 64 bits in that
    process; a microcontroller of 32 bits needs somewhat less.

    Args:
        content: the file.
        name: what errors call it.
        patience: longest time for one call in seconds; None waits for ever.

    Raises:
        EngineError: tflite-micro is missing, refuses the file, or ends its process.
    """
    said = _run(content, name, patience)
    found = re.search(r"Arena allocation total (\d+) bytes", said)
    if found is None:
        raise EngineError(
            f"model {name}: LiteRT for Microcontrollers does not say how much memory it takes. "
            "Another version of tflite-micro may.",
            "refused",
        )
    steps = -(-int(found[1]) // _STEP)
    more = 0
    while not _fits(content, name, patience, _STEP * (steps + more)):
        more = 2 * more + 1
    enough, too_small = more, (more - 1) // 2
    while enough - too_small > 1:
        middle = (enough + too_small) // 2
        if _fits(content, name, patience, _STEP * (steps + middle)):
            enough = middle
        else:
            too_small = middle
    return _STEP * (steps + enough)


def _fits(content: bytes, name: str, patience: float | None, arena: int) -> bool:
    """Whether TFLM runs the file in an arena of so many bytes."""
    try:
        _run(content, name, patience, arena)
    except EngineError as error:
        if error.outcome not in ("refused", "crashed"):  # it does not always check
            raise
        return False
    return True


def _run(content: bytes, name: str, patience: float | None, arena: int | None = None) -> str:
    """What TFLM says of its memory after one run."""
    graph = read_tflite(content)
    runtime = runtime_named("tflm")
    if arena is not None:
        runtime = dataclasses.replace(runtime, options=(("arenas", (arena,)),))
    feeds = [np.zeros(tuple(graph.tensors[i].shape), graph.tensors[i].dtype) for i in graph.inputs]
    with contextlib.closing(ChildEngine(runtime, content, 1, patience, name)) as engine:
        engine.run(feeds, whole=True)
        return engine.measure()
