"""A table of costs: one row per layer, totals, and for each figure its unit and source."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = 1
_LONGEST_NAME = 40
_LEAD = ("layer", "kind", "input_bits", "weight_bits", "activation_bits")


@dataclasses.dataclass(frozen=True)
class Figure:
    """What one number means.

    Args:
        unit: its unit; "1" for ratios.
        source: which paper defines it, or how it is counted.
        heading: short title of its column in the text table.
        per_layer: whether the text table has a column of it; otherwise it shows the total only.
    """

    unit: str
    source: str
    heading: str
    per_layer: bool = True


@dataclasses.dataclass(frozen=True)
class CostReport:
    """Costs of a network under a precision map.

    Args:
        rows: per layer, names of figures to values, with `layer`, `kind` and the bits.
        totals: names of figures to values.
        figures: what the names mean.
        settings: batch size and the choices made in counting.

    Example:
        >>> report = CostReport(
        ...     ({"layer": "conv", "kind": "conv", "macs": 9},), {"macs": 9},
        ...     {"macs": Figure("MAC", "count", "MACs")})
        >>> report.total("macs")
        9
    """

    rows: tuple[Mapping[str, Any], ...]
    totals: Mapping[str, float]
    figures: Mapping[str, Figure]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def total(self, name: str) -> float:
        """One figure of the whole network."""
        return self.totals[name]

    def layer(self, name: str) -> Mapping[str, Any]:
        """The row of one layer."""
        return next(row for row in self.rows if row["layer"] == name)

    def to_dict(self) -> dict[str, Any]:
        """All figures by name, ready for JSON."""
        used = [name for name in self.figures if name in self.totals or name in self.columns]
        return {
            "schema": SCHEMA,
            "settings": dict(self.settings),
            "figures": {
                name: {"unit": self.figures[name].unit, "source": self.figures[name].source}
                for name in used
            },
            "totals": dict(self.totals),
            "layers": [dict(row) for row in self.rows],
        }

    @property
    def columns(self) -> list[str]:
        """Names of the figures that rows have, in the order of `figures`."""
        return [name for name in self.figures if any(name in row for row in self.rows)]

    def to_csv(self) -> str:
        """Comma-separated values: a line per layer and one of totals; units in the heading."""
        lead = [name for name in _LEAD if any(name in row for row in self.rows)]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(lead + [f"{name} [{self.figures[name].unit}]" for name in self.columns])
        for row in [*self.rows, {"layer": "total", **self.totals}]:
            writer.writerow([_plain(row.get(name)) for name in [*lead, *self.columns]])
        return out.getvalue()

    def __str__(self) -> str:
        lead = [name for name in _LEAD if any(name in row for row in self.rows)]
        short = {"input_bits": "in", "weight_bits": "w", "activation_bits": "out"}
        shown = [name for name in self.columns if self.figures[name].per_layer]
        names = [*lead, *shown]
        table = [[*(short.get(n, n) for n in lead), *(self.figures[n].heading for n in shown)]]
        for row in [*self.rows, {"layer": "total", **self.totals}]:
            table.append([_cell(row.get(name)) for name in names])
            table[-1][0] = _short(table[-1][0])
        lines = _align(table, left=2)
        only_total = [name for name in self.figures if name in self.totals and name not in shown]
        for name in only_total:
            figure = self.figures[name]
            lines.append(
                f"{figure.heading}: {_cell(self.totals[name])} {_unit(figure.unit)}".rstrip()
            )
        return "\n".join(lines)

    def legend(self) -> str:
        """A line per figure with its unit and source."""
        used = [name for name in self.figures if name in self.totals or name in self.columns]
        return "\n".join(
            f"{self.figures[name].heading} [{self.figures[name].unit}]: {self.figures[name].source}"
            for name in used
        )


def _align(table: Sequence[Sequence[str]], left: int) -> list[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [
            text.ljust(width) if column < left else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _short(name: str) -> str:
    """Names of `.tflite` tensors can run to hundreds of characters; their ends differ."""
    return name if len(name) <= _LONGEST_NAME else "..." + name[3 - _LONGEST_NAME :]


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,d}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def _plain(value: object) -> Any:
    return "" if value is None else value


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit
