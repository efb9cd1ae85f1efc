"""Models that take turns: every round times each once, and ratios are taken within a round."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

_WARM_UP_STEPS = 3

Step = Callable[[], Any]


@dataclasses.dataclass
class Row:
    """Seconds of every turn of one model, wall time and processor time."""

    name: str
    steps: dict[str, Step]
    wall: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    cpu: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def turn(self, what: str, count: int) -> None:
        """Time `count` steps."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            self.steps[what]()
        self.cpu.setdefault(what, []).append((time.process_time() - cpu) / count)
        self.wall.setdefault(what, []).append((time.perf_counter() - wall) / count)


def time_column(rows: list[Row], what: str, rounds: int, steps: int) -> None:
    """One column of all rows, each round from another start."""
    for row in rows:
        for _ in range(_WARM_UP_STEPS):
            row.steps[what]()
    for number in range(rounds):
        start = number % len(rows)
        for row in rows[start:] + rows[:start]:
            row.turn(what, steps)


def time_in_order(rows: list[Row], columns: Sequence[str], rounds: int) -> None:
    """All columns of a row, one after the other; the first round, which loads code, is not kept."""
    for number in range(1 + rounds):
        start = number % len(rows)
        for row in rows[start:] + rows[:start]:
            for what in columns:
                row.turn(what, 1)
    for row in rows:
        for what in columns:
            del row.wall[what][0], row.cpu[what][0]


def figures_of(row: Row, reference: Row, columns: Sequence[str]) -> dict[str, Any]:
    """Ratios to a reference row within each round: the median and the quartiles; milliseconds."""
    result: dict[str, Any] = {"name": row.name}
    for what in columns:
        for clock in ("wall", "cpu"):
            own, base = getattr(row, clock)[what], getattr(reference, clock)[what]
            ratios = [a / b for a, b in zip(own, base, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            result[f"{what}_{clock}"] = {
                "ratio": middle,
                "quartiles": [low, high],
                "milliseconds": 1e3 * statistics.median(own),
            }
    return result
