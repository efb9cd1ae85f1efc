"""What assigners found as tables for people: a header and rows for `tfxp.cli.format_table`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfxp.assign.assignment import Assignment
from tfxp.assign.sakr import TENSORS
from tfxp.assign.size_curve import Saving, SizePoint
from tfxp.precision import ModelStats, PrecisionMap

Table = tuple[list[str], list[list[Any]]]


def lin_table(result: Assignment, stats: ModelStats, sqnr: Iterable[Mapping[str, Any]]) -> Table:
    """Bits of weights by layer, with the noise that was predicted and measured.

    Args:
        result: what `LinAssigner` found.
        stats: the network's figures.
        sqnr: rows of `tfxp.search.sqnr_table`.
    """
    by_layer = {row["layer"]: row for row in sqnr}
    keys = ("kappa", "kappa_data", "weights_db", "predicted_db", "power_db", "measured_db")
    rows = [
        [made.layer, stats[made.layer].weight_count, stats[made.layer].macs, made.value,
         *(by_layer.get(made.layer, {}).get(key) for key in keys), made.reason]
        for made in result.trace
    ]  # fmt: skip
    header = ["layer", "weights", "MACs", "bits", "dB/bit w", "dB/bit out", "SQNR w"]
    return [*header, "out: harmonic", "powers", "measured", "why"], rows


def zero_table(result: Assignment) -> Table:
    """What `AdaptionAssigner` expects of zeros: shares, operations, cycles, traffic."""
    header = ["layer", "zero weights", "zeros read", "float", "MACs", "executed", "cycles",
              "skipping", "traffic"]  # fmt: skip
    rows: list[list[Any]] = []
    for row in result.figures["zero_skip"]:
        zeros = result.figures["zeros"][row["name"]]
        traffic = row["compressed_bits"] / row["input_bits"] if row["input_bits"] else 1.0
        shares = [f"{share:.1%}" for share in (zeros["weights"], row["zeros"], row["zeros_before"])]
        executed = round(row["macs_executed"])
        cycles = [round(row["cycles_dense"]), round(row["cycles"])]
        rows.append([row["name"], *shares, row["macs"], executed, *cycles, f"{traffic:.1%}"])
    return header, rows


def size_table(points: Sequence[SizePoint], metric: str) -> Table:
    """Accuracy against the size of the weights, map by map."""
    rows = [[p.kind, p.knob, p.size_bits / 1e3, p.accuracy] for p in points]
    return ["map", "bits", "weights [kbit]", metric], rows


def saving_table(found: Sequence[Saving], metric: str) -> Table:
    """What allocated bits save against equal ones at the same accuracy; sizes in kbit."""
    rows = [[s.accuracy, s.allocated_bits / 1e3, s.equal_bits / 1e3, s.share] for s in found]
    return [metric, "allocated", "equal", "saved"], rows


def selected_table(selected: Mapping[str, Mapping[str, Any] | None], metric: str) -> Table:
    """The map that a descent chose for every tolerance; dashes where none is good enough."""
    rows: list[list[Any]] = []
    for tolerance, entry in selected.items():
        cells: list[Any] = [None] * 4
        if entry is not None:
            bits = " ".join(f"{w or '-'}/{a}" for w, a in entry["bits"].values())
            known = (entry["accuracy"], entry.get("report_accuracy"), entry["traffic_ratio"])
            cells = [*known, bits]
        rows.append([f"{100 * float(tolerance):g} %", *cells])
    return ["tolerance", metric, "on --report_data", "traffic", "bits w/data by layer"], rows


def loss_table(result: Assignment) -> Table:
    """Of `IlpAssigner`, the word length of every tensor, and the loss that each length has."""
    losses = result.figures["losses"]
    lengths = sorted({bits for table in losses.values() for bits in table})
    rows: list[list[Any]] = []
    for made in result.trace:
        table = losses[f"{made.layer} {made.tensor}"]
        cells = [f"{table[bits]:.2e}" if bits in table else None for bits in lengths]
        rows.append([made.layer, made.tensor, made.value, *cells])
    return ["layer", "tensor", "bits", *(f"loss at {bits}" for bits in lengths)], rows


def trace_table(result: Assignment) -> Table:
    """Every decision of an assigner and its reason."""
    rows = [[made.layer, made.tensor, made.value, made.reason] for made in result.trace]
    return ["layer", "tensor", "format", "why"], rows


def training_table(pmap: PrecisionMap) -> Table:
    """The formats of the five tensors of fixed-point training, layer by layer."""
    rows = [
        [name, *(None if (fmt := getattr(rule, t)) is None else str(fmt) for t in TENSORS)]
        for name, rule in pmap.layers.items()
    ]
    return ["layer", *TENSORS], rows
