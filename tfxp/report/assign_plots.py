"""Pictures of assigned precision as image files: front, sensitivity, bits, size curve, bounds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfxp.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _PALE, _ORANGE, _GREY = "#2b6cb0", "#a0c4e8", "#dd8452", "#718096"


def plot_result(
    figures: Mapping[str, Any],
    weights: Mapping[str, tuple[int, int]],
    path: str | os.PathLike[str],
) -> None:
    """The picture that goes with a method: front, size curve, bound, or bits of weights.

    Args:
        figures: what the assigner found.
        weights: layer -> bits of its weights and how many there are.
        path: file to write; its suffix says of which kind.
    """
    metric = figures.get("metric", "accuracy")
    if "visited" in figures:
        plot_descent(figures, path, metric)
    elif "sizes" in figures:
        plot_size_curve(figures["sizes"], path, figures["baseline"], metric)
    elif "mismatch_bounds" in figures:
        plot_mismatch(figures, path)
    else:
        plot_bits(weights, path)


def plot_descent(
    figures: Mapping[str, Any], path: str | os.PathLike[str], metric: str = "accuracy"
) -> None:
    """Every visited map, and the Pareto front.

    Args:
        figures: what `JuddAssigner` found: visited, front, baseline.
        path: file to write; its suffix says of which kind.
        metric: name of the score.
    """
    figure, axes = _axes()
    whole = [e for e in figures["visited"] if e.get("complete", True)]
    front = set(figures["front"])
    axes.scatter(
        [e["traffic_ratio"] for e in whole], [e["accuracy"] for e in whole],
        s=8, c=_PALE, label="visited",
    )  # fmt: skip
    best = sorted((e["traffic_ratio"], e["accuracy"]) for e in whole if e["configuration"] in front)
    axes.plot(*zip(*best, strict=True), "o-", ms=3, c=_BLUE, label="Pareto front")
    axes.axhline(figures["baseline"], c=_GREY, ls="--", label="float")
    axes.set_xlabel("batch traffic over 32 bits")
    axes.set_ylabel(metric)
    # Maps that fail altogether are visited too; what is to be chosen from lies on top.
    axes.set_ylim(bottom=0.85 * figures["baseline"])
    axes.legend()
    _save(figure, path)


def plot_size_curve(
    points: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    baseline: float | None = None,
    metric: str = "accuracy",
) -> None:
    """Score against the size of the weights, allocated and equal bits.

    Args:
        points: `SizePoint.to_dict` of each.
        path: file to write.
        baseline: score of the float network.
        metric: name of the score.
    """
    figure, axes = _axes()
    for kind, colour, label in (
        ("equal", _ORANGE, "equal bits"), ("allocated", _BLUE, "allocated by SQNR (Lin)")
    ):  # fmt: skip
        line = sorted((p["size_bits"] / 1e3, p["accuracy"]) for p in points if p["kind"] == kind)
        axes.plot(*zip(*line, strict=True), "o-", ms=3.5, c=colour, label=label)
    if baseline is not None:
        axes.axhline(baseline, c=_GREY, ls="--", label="float")
    axes.set_xlabel("weights, kbit")
    axes.set_ylabel(metric)
    axes.legend()
    _save(figure, path)


def plot_mismatch(figures: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Sakr's bound on the mismatch probability against B_min."""
    figure, axes = _axes()
    bounds = figures["mismatch_bounds"]
    axes.semilogy([int(b) for b in bounds], list(bounds.values()), "o-", c=_BLUE)
    axes.axhline(figures["mismatch_bound"], c=_GREY, ls="--")
    axes.axvline(figures["b_min"], c=_ORANGE)
    axes.set_xlabel("B_min")
    axes.set_ylabel("bound on p_m")
    _save(figure, path)


def plot_bits(weights: Mapping[str, tuple[int, int]], path: str | os.PathLike[str]) -> None:
    """Bars of weight bits per layer, and the layers' sizes as dots."""
    figure, axes = _axes()
    names = list(weights)
    axes.bar(names, [bits for bits, _ in weights.values()], color=_BLUE)
    axes.set_ylabel("bits of weights")
    axes.tick_params(axis="x", rotation=60)
    other = axes.twinx()
    other.semilogy(names, [count for _, count in weights.values()], "o", c=_ORANGE)
    other.set_ylabel("weights (dots)")
    _save(figure, path)


def plot_profile(points: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """One panel per family: relative error against bits, a line per layer.

    Args:
        points: `SweepPoint.to_dict` of each.
        path: file to write.
    """
    families = list(dict.fromkeys(point["family"] for point in points))
    figure, panels = _figure(1, len(families), (4.5 * len(families), 4))
    colours = {unit: f"C{i}" for i, unit in enumerate(dict.fromkeys(p["unit"] for p in points))}
    for axes, family in zip(panels[0], families, strict=True):
        for unit in dict.fromkeys(p["unit"] for p in points if p["family"] == family):
            line = [p for p in points if p["unit"] == unit and p["family"] == family]
            errors = [100 * p["relative_error"] for p in line]
            axes.plot([p["value"] for p in line], errors, ".-", label=unit, color=colours[unit])
        axes.set_xlabel(family.replace("_", " "))
        axes.set_ylabel("relative error, %")
        axes.set_ylim(-2, 50)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.invert_xaxis()
    widest = max(panels[0], key=lambda axes: len(axes.get_lines()))
    handles, labels = widest.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="x-small")
    _save(figure, path)


def _axes() -> tuple[Any, Any]:
    figure, panels = _figure(1, 1, (8, 4.5))
    return figure, panels[0][0]


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    from matplotlib import pyplot

    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    pyplot.close(figure)
