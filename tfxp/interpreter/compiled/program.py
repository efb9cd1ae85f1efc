"""Runs a list of steps as one compiled call: the one way from Python into compiled kernels."""

from __future__ import annotations

from tfxp.interpreter.compiled.memory import call, longs_at


def program(
    x_at: int, y_at: int, out_at: int, steps: int, table_at: int, scratch_at: int, counts_at: int
) -> None:  # fmt: skip
    """Runs steps in order.

    Args:
        x_at, y_at, out_at, scratch_at: not used.
        steps: how many.
        table_at: int64 (steps, 8), rows of `Step.row`: address of the kernel; of both inputs and of
            the output; count; addresses of record and scratch memory; 0.
        counts_at: int64 (steps, 6), added to.
    """
    for i in range(steps):
        row = longs_at(table_at + 64 * i)
        call(row[0], row[1], row[2], row[3], row[4], row[5], row[6], counts_at + 48 * i)
