"""Counters as a table: one row per operator that multiplies, and the sums."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tfxp.interpreter.counters import Counters
from tfxp.interpreter.registry import Node


@dataclass(frozen=True)
class LayerRow:
    """Figures of one operator; sums over all images run since the last reset.

    Args:
        index: of the operator.
        name: of the layer that it computes.
        type: the operator's name in the file.
        input_shape, weight_shape, output_shape: shapes of its tensors.
        counters: what it did.
    """

    index: int
    name: str
    type: str
    input_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    counters: Counters

    @property
    def zero_fraction_input(self) -> float:
        """Share of activation codes read that equal the zero point."""
        return _share(self.counters.input_zeros, self.counters.input_elements)

    @property
    def zero_fraction_weights(self) -> float:
        """Share of weight codes that equal the zero point."""
        return _share(self.counters.weight_zeros, self.counters.weight_elements)

    def to_dict(self) -> dict[str, Any]:
        """All figures by name, ready for JSON."""
        return {
            "index": self.index,
            "name": self.name,
            "type": self.type,
            "input_shape": list(self.input_shape),
            "weight_shape": list(self.weight_shape),
            "output_shape": list(self.output_shape),
            **asdict(self.counters),
            "zero_fraction_input": self.zero_fraction_input,
            "zero_fraction_weights": self.zero_fraction_weights,
            "zero_fraction_output": _share(
                self.counters.output_zeros, self.counters.output_elements
            ),
            "accumulator_bits": self.counters.accumulator_bits,
        }


@dataclass(frozen=True)
class Report:
    """What zeros saved: a row per multiplying operator, and sums over them.

    Args:
        rows: one per operator, in the order they run.

    Example:
        >>> Report(()).macs_total
        0
    """

    rows: tuple[LayerRow, ...]

    @property
    def macs_total(self) -> int:
        """Multiply-accumulates of the dense model, padding taps included."""
        return sum(row.counters.macs_total for row in self.rows)

    @property
    def macs_executed(self) -> int:
        """Multiply-accumulates with neither operand zero."""
        return sum(row.counters.macs_executed for row in self.rows)

    @property
    def saturations(self) -> int:
        """Output codes that were clamped to the range of their type."""
        return sum(row.counters.saturations for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """All figures by name, ready for JSON."""
        names = (
            "macs_total",
            "macs_executed",
            "macs_skipped_activation",
            "macs_skipped_weight",
            "bits_dense",
            "bits_compressed",
            "saturations",
            "accumulator_overflows",
        )
        sums = {name: sum(getattr(row.counters, name) for row in self.rows) for name in names}
        return {**sums, "layers": [row.to_dict() for row in self.rows]}

    def __str__(self) -> str:
        wide = max([18, *(len(row.type) for row in self.rows)])
        head = (
            f"{'op':>3} {'type':{wide}s} {'output':>16s} {'MACs':>14s} {'executed':>14s} {'%':>6s}"
            f" {'zero in':>8s} {'zero w':>7s} {'saturated':>9s} {'acc bits':>8s}"
            f" {'bits/dense':>10s}"
        )
        lines = [head, *(_line(row, wide) for row in self.rows)]
        total, executed = self.macs_total, self.macs_executed
        share = 100 * _share(executed, total)
        lines.append(
            f"{'':3} {'total':{wide}s} {'':>16s} {total:14,d} {executed:14,d} {share:6.2f}"
        )
        return "\n".join(lines)


def _line(row: LayerRow, wide: int) -> str:
    c = row.counters
    shape = "x".join(str(size) for size in row.output_shape)
    return (
        f"{row.index:3d} {row.type:{wide}s} {shape:>16s} {c.macs_total:14,d} {c.macs_executed:14,d}"
        f" {100 * _share(c.macs_executed, c.macs_total):6.2f} {row.zero_fraction_input:8.3f}"
        f" {row.zero_fraction_weights:7.3f} {c.saturations:9,d}"
        f" {c.accumulator_bits:3d}/{c.accumulator_bits_worst:<4d}"
        f" {_share(c.bits_compressed, c.bits_dense):10.3f}"
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def layer_row(node: Node, counters: Counters) -> LayerRow:
    """The row of one operator."""
    shapes = [() if t is None else t.shape for t in (*node.inputs[:2], node.outputs[0])]
    constants = [t for t in node.inputs[1:2] if t is not None]
    weights = constants[0].shape if constants else ()
    return LayerRow(
        node.index,
        node.outputs[0].name,
        node.operator.name,
        shapes[0],
        weights,
        node.outputs[0].shape,
        counters,
    )
