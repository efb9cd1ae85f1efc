"""Two runs of a network side by side: the first layer where they part, and by how much."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfxp.comparison.trace import Constant, Trace, TracedTensor
from tfxp.errors import DataError
from tfxp.interpreter.registry import Array

_FLOAT_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class TensorDifference:
    """How one tensor differs between two runs.

    Args:
        name: the tensor, in the first run.
        operator: what computes it.
        elements: elements compared.
        differing: elements that differ by half a step or more.
        max_lsb: largest difference, in steps of the coarser of both scales; for floats 0, or 1 if
            any differs by more than 1e-5 of the tensor's largest value.
        notes: what differs of scales, zero points and constants.
    """

    name: str
    operator: str
    elements: int
    differing: int
    max_lsb: int
    notes: tuple[str, ...] = ()

    def parts(self, tolerance: int = 0) -> bool:
        """Whether the runs differ here: by more than `tolerance` steps, or in what was written."""
        return self.max_lsb > tolerance or bool(self.notes)

    def sentence(self) -> str:
        """What differs, for people."""
        texts = list(self.notes)
        if self.differing:
            texts.append(
                f"{self.differing:,} of {self.elements:,} values differ, by up to "
                f"{self.max_lsb:,} LSB"
            )
        if not self.elements:
            texts.append("no values of it to compare")
        return "; ".join(texts) or f"all {self.elements:,} values agree"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two runs, tensor by tensor in the order of the first one.

    Args:
        engines: names of the runs.
        rows: tensors that both runs have.
        unmatched: tensors that only one of them has.
    """

    engines: tuple[str, str]
    rows: tuple[TensorDifference, ...]
    unmatched: tuple[str, ...] = ()

    def first(self, tolerance: int = 0) -> TensorDifference | None:
        """The first tensor where the runs part; None if they nowhere do."""
        return next((row for row in self.rows if row.parts(tolerance)), None)

    def sentence(self, tolerance: int = 0) -> str:
        """The result for people."""
        who, first = f"{self.engines[0]} and {self.engines[1]}", self.first(tolerance)
        if first is None:
            within = f" within {tolerance} LSB" if tolerance else ""
            compared = sum(row.elements > 0 for row in self.rows)
            if not compared:
                return f"{who}: no values to compare; scales and constants agree."
            rest = len(self.rows) - compared
            without = f"; of {rest} more one of them has no values" if rest else ""
            return f"{who} agree{within} on all {compared} tensors{without}."
        return f"{who} part at {first.name!r} ({first.operator}): {first.sentence()}."

    def to_dict(self, tolerance: int = 0) -> dict[str, Any]:
        """JSON form."""
        first = self.first(tolerance)
        return {
            "engines": list(self.engines),
            "first": None if first is None else first.name,
            "first_operator": None if first is None else first.operator,
            "sentence": self.sentence(tolerance),
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "unmatched": list(self.unmatched),
        }


def compare_traces(one: Trace, other: Trace) -> Comparison:
    """Compare all tensors that two runs share.

    Tensors are matched by name. Where the runs share no names but have the same operators in the
    same order, by position; outputs are matched by position in any case.

    Args:
        one, other: runs on the same samples.

    Raises:
        DataError: no tensor of one run has a counterpart in the other.
    """
    pairs = _pairs(one, other)
    if not pairs:
        raise DataError(
            f"runs {one.engine!r} and {other.engine!r}: got no tensor of the same name and size; "
            "expected two forms of one network."
        )
    rows = tuple(_difference(one.tensors[a], other.tensors[b]) for a, b in pairs)
    matched = ({a for a, _ in pairs}, {b for _, b in pairs})
    unmatched = [name for name in one.tensors if name not in matched[0]]
    unmatched += [name for name in other.tensors if name not in matched[1]]
    return Comparison((one.engine, other.engine), rows, tuple(dict.fromkeys(unmatched)))


def _pairs(one: Trace, other: Trace) -> list[tuple[str, str]]:
    def same_size(a: str, b: str) -> bool:
        codes = one.tensors[a].codes, other.tensors[b].codes
        return codes[0] is None or codes[1] is None or codes[0].size == codes[1].size

    pairs = [(n, n) for n in one.tensors if n in other.tensors and same_size(n, n)]
    inner = [a for a, _ in pairs if one.tensors[a].operator != "INPUT"]
    kinds = [[t.operator for t in trace.tensors.values()] for trace in (one, other)]
    if not inner and kinds[0] == kinds[1]:
        return list(zip(one.tensors, other.tensors, strict=True))
    matched = {a for a, _ in pairs}
    for a, b in zip(one.outputs, other.outputs, strict=False):
        if a not in matched and a in one.tensors and b in other.tensors and same_size(a, b):
            pairs.append((a, b))
    order = {name: place for place, name in enumerate(one.tensors)}
    return sorted(pairs, key=lambda pair: order[pair[0]])


def _difference(one: TracedTensor, other: TracedTensor) -> TensorDifference:
    lsb = np.zeros(0) if one.codes is None or other.codes is None else _in_steps(one, other)
    return TensorDifference(
        one.name,
        one.operator,
        lsb.size,
        int((lsb > 0).sum()),
        int(lsb.max(initial=0)),
        tuple(_scheme_notes(one, other) + _constant_notes(one, other)),
    )


def _in_steps(one: TracedTensor, other: TracedTensor) -> np.ndarray:
    """|difference| of two tensors in steps of the coarser scale, element by element."""
    scales = [scale for scale in (one.scale, other.scale) if scale]
    if not scales:
        assert one.codes is not None and other.codes is not None
        return steps_apart(one.codes.ravel(), other.codes.ravel())
    difference = np.abs(one.real.ravel() - other.real.ravel())
    # Half a step of the finer grid is a difference too.
    return np.maximum(np.rint(difference / max(scales)), difference > 0.5 * min(scales))


def steps_apart(one: Array, other: Array) -> NDArray[np.int64]:
    """|difference| of two results for one tensor, element by element.

    Integers differ by codes. Floats differ by 1 where they are more than 1e-5 of the tensor's
    largest value apart, or where one of them is no number.

    Args:
        one, other: arrays of one shape.
    """
    if one.dtype.kind != "f" and other.dtype.kind != "f":
        return np.abs(one.astype(np.int64) - other.astype(np.int64))
    a, b = one.astype(np.float64), other.astype(np.float64)
    finite = [np.abs(x[np.isfinite(x)]).max(initial=0) for x in (a, b)]
    near = np.isclose(a, b, rtol=0, atol=_FLOAT_TOLERANCE * max(*finite, 1e-30), equal_nan=True)
    return (~near).astype(np.int64)


def _scheme_notes(one: TracedTensor, other: TracedTensor) -> list[str]:
    notes = []
    if not _close(one.scale, other.scale):
        notes.append(f"scale {one.scale:.6g} against {other.scale:.6g}")
    if one.zero_point != other.zero_point:
        notes.append(f"zero point {one.zero_point} against {other.zero_point}")
    return notes


def _constant_notes(one: TracedTensor, other: TracedTensor) -> list[str]:
    notes = []
    for role, mine in one.constants.items():
        if role in other.constants:
            notes += _constant_difference(role, mine, other.constants[role])
    return notes


def _constant_difference(role: str, one: Constant, other: Constant) -> list[str]:
    notes = []
    if one.codes.shape != other.codes.shape:
        return [f"{role} of shape {one.codes.shape} against {other.codes.shape}"]
    difference = np.abs(one.codes.astype(np.float64) - other.codes.astype(np.float64))
    if difference.any():
        notes.append(
            f"{role}: {int((difference > 0).sum()):,} of {difference.size:,} codes differ, by up "
            f"to {difference.max():,.6g}"
        )
    scales, zeros = _aligned(one.scale, other.scale), _aligned(one.zero_point, other.zero_point)
    wrong = [(a, b) for a, b in zip(*scales, strict=True) if not _close(a, b)]
    if wrong:
        notes.append(f"{role}: scale {wrong[0][0]:.6g} against {wrong[0][1]:.6g}")
    moved = [(a, b) for a, b in zip(*zeros, strict=True) if a != b]
    if moved:
        notes.append(f"{role}: zero point {moved[0][0]} against {moved[0][1]}")
    return notes


def _aligned(one: NDArray[Any], other: NDArray[Any]) -> tuple[Any, Any]:
    """Both as rows of one length, since one number stands for all channels; empty if one is."""
    size = max(one.size, other.size)
    if {one.size, other.size} <= {1, size} and size:
        return np.broadcast_to(one, size), np.broadcast_to(other, size)
    return one[:0], other[:0]


def _close(one: float, other: float) -> bool:
    return bool(np.isclose(one, other, rtol=1e-6, atol=0.0))
