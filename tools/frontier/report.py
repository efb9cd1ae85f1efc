"""Table and plot of runs, from their records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfxp.files import PathLike, atomic_path
from tfxp.precision import ModelStats
from tools.frontier.peers import PEERS

Record = Mapping[str, Any]
_HEADER = (
    "precision", "epochs", "peer", "accuracy", "seeds", "measured on", "kept in float",
    "kernels and biases [KiB]", "MACs x bits [M]", "file [KiB]", "seconds",
)  # fmt: skip
_MARKS = "osDv^P*"
_INPUT_BITS = 8


def kernel_kib(network: ModelStats, record: Record) -> float:
    """Size of kernels at their bits and of biases at 32, in KiB."""
    bits = record["settings"]["weight_bits"]
    layers = network.layers.values()
    return sum(layer.weight_count * bits + layer.bias_count * 32 for layer in layers) / 8192


def mac_bits(network: ModelStats, record: Record) -> float:
    """MACs times weight bits times activation bits, in millions; the input has 8 bits."""
    weights, activations = (record["settings"][f"{k}_bits"] for k in ("weight", "activation"))
    layers = network.layers
    inputs = {name for name, layer in layers.items() if layer.kind == "input"}
    return (
        sum(
            layer.macs * weights * (_INPUT_BITS if set(layer.inputs) & inputs else activations)
            for layer in layers.values()
        )
        / 1e6
    )


def grouped(records: Sequence[Record]) -> dict[tuple[str, int, str], list[Record]]:
    """(precision, epochs, peer) -> its records, one a seed, in the order of first sight."""
    result: dict[tuple[str, int, str], list[Record]] = {}
    for record in records:
        settings = record["settings"]
        key = settings["precision"], settings["epochs"], settings["peer"]
        result.setdefault(key, []).append(record)
    return result


def rows(records: Sequence[Record], network: ModelStats) -> list[list[str]]:
    """Cells of the table; a peer that could not has a row that says so."""
    result = []
    for (precision, epochs, peer), group in grouped(records).items():
        done = [record for record in group if "accuracy" in record]
        start = [precision, str(epochs), PEERS[peer].title]
        if not done:
            result.append([*start, "-", "-", _said(group[0]["error"]), *["-"] * 5])
            continue
        first = done[0]
        values = [100 * record["accuracy"] for record in done]
        size = first.get("file_bytes")
        result.append(
            [
                *start,
                " / ".join(f"{value:.2f} %" for value in values),
                ", ".join(str(record["settings"]["seed"]) for record in done),
                f"{first['measured_on']} ({first['recipe']})",
                first["float"] or "nothing",
                f"{kernel_kib(network, first):.1f}",
                f"{mac_bits(network, first):.0f}",
                f"{size / 1024:.1f}" if size else "none",
                f"{sum(record['seconds'] for record in done) / len(done):.0f}",
            ]
        )
    return result


def markdown(records: Sequence[Record], network: ModelStats) -> str:
    """The table in Markdown, then the versions."""
    lines = [_HEADER, ["---"] * len(_HEADER), *rows(records, network)]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{text}\n{_versions(records)}"


def _versions(records: Sequence[Record]) -> str:
    """One line a peer."""
    shown: dict[str, str] = {}
    for record in records:
        found = ", ".join(f"{k} {v}" for k, v in record.get("versions", {}).items())
        title = PEERS[record["settings"]["peer"]].title
        if found and found not in shown.get(title, ""):
            shown[title] = f"{shown[title]}; {found}" if title in shown else found
    return "".join(f"- {title}: {found}\n" for title, found in shown.items())


def _said(message: str) -> str:
    return f"cannot: {message.replace('|', '/')}"


def plot(
    records: Sequence[Record], network: ModelStats, float_accuracy: float | None, path: str
) -> None:
    """Accuracy against MACs x bits; hollow marks stand for simulations.

    Args:
        records: of all runs.
        network: the float network's layers.
        float_accuracy: a line in the picture, if it was measured.
        path: the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.8), layout="constrained")
    if float_accuracy is not None:
        axes.axhline(100 * float_accuracy, color="grey", lw=0.8, ls=":", label="float")
    for number, peer in enumerate(PEERS):
        own = [r for r in records if r["settings"]["peer"] == peer and "accuracy" in r]
        colour, title = f"C{number}", PEERS[peer].title
        for record in own:
            hollow = "simulation" in record["measured_on"]
            offset = 1 + 0.012 * (number - len(PEERS) / 2)  # marks at equal bits lie side by side
            axes.plot(
                mac_bits(network, record) * offset,
                100 * record["accuracy"],
                _MARKS[number % len(_MARKS)],
                ms=7,
                color=colour,
                mfc="none" if hollow else colour,
                label=title,
            )
            title = "_"  # one entry in the legend
    axes.set_xscale("log")
    axes.set_xlabel("MACs x weight bits x activation bits, million")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    save(figure, path)
    pyplot.close(figure)


def save(figure: Any, path: PathLike) -> None:
    """Write a picture whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
