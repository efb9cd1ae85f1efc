"""From the JSON of `assign_precision` to the figures of a search's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfxp.report.search_report import Choice, SearchFigures

_METHODS = {
    "uniform": "equal bits everywhere",
    "lin": "SQNR allocation (Lin et al. 2016)",
    "judd": "slowest descent (Judd et al. 2015)",
    "ilp": "an integer linear program over measured losses",
    "adaption": "ranges, a bit budget and a clip budget (Milde et al. 2017)",
    "sakr": "five criteria for training in fixed point (Sakr and Shanbhag 2019)",
}


def search_figures(result: Mapping[str, Any], name: str, tolerance: float = 0.01) -> SearchFigures:
    """What `tools/assign_precision.py --json` wrote, as the figures of its page.

    Args:
        result: the JSON's content.
        name: the network's name.
        tolerance: which choice comes first.

    Example:
        >>> data = {"method": "judd", "figures": {"baseline": 0.9, "visited": [], "front": []}}
        >>> search_figures(data, "net").method
        'slowest descent (Judd et al. 2015)'
    """
    figures = result["figures"]
    visited = [e for e in figures.get("visited", ()) if e.get("complete", True)]
    points = {e["configuration"]: (100 * e["traffic_ratio"], e["accuracy"]) for e in visited}
    saving = figures.get("best_saving")
    return SearchFigures(
        name=name,
        method=_METHODS.get(result["method"], result["method"]),
        baseline=figures.get("baseline"),
        metric=figures.get("metric", "accuracy"),
        cost=f"batch traffic, % of {figures.get('settings', {}).get('baseline_bits', 32)} bits",
        visited=list(points.values()),
        front=[points[key] for key in figures.get("front", ())],
        choices=_choices(figures, tolerance),
        bits={name: (pair[0], pair[1]) for name, pair in result.get("bits", {}).items()},
        profile=figures.get("profile", ()),
        sqnr=figures.get("sqnr", ()),
        sizes=figures.get("sizes", ()),
        saving=(saving["share"], saving["accuracy"]) if saving else None,
        report_baseline=figures.get("report_baseline"),
        notes=_notes(figures, result.get("stop_reason", "")),
    )


def _choices(figures: Mapping[str, Any], tolerance: float) -> list[Choice]:
    selected = {float(t): entry for t, entry in figures.get("selected", {}).items() if entry}
    return [
        Choice(
            f"within {100 * t:g} %",
            selected[t]["accuracy"],
            100 * selected[t]["traffic_ratio"],
            {layer: (pair[0], pair[1]) for layer, pair in selected[t]["bits"].items()},
            selected[t].get("report_accuracy"),
        )
        for t in sorted(selected, key=lambda t: (t != tolerance, t))
    ]


def _notes(figures: Mapping[str, Any], reason: str) -> list[str]:
    notes = []
    settings = figures.get("settings", {})
    if "batch_size" in settings:
        notes.append(f"Traffic is counted for batches of {settings['batch_size']}.")
    if figures.get("arithmetic") == "storage":
        notes.append("Values are rounded where they are stored; arithmetic is float.")
    elif figures.get("arithmetic") == "quantized":
        notes.append("Every tensor is on its grid, as in the integer engine.")
    if figures.get("samples"):
        notes.append(f"Evaluated on {figures['samples']:,} samples.")
    if figures.get("report_samples"):
        notes.append(f"Reported on {figures['report_samples']:,} others.")
    if figures.get("stop_reason"):
        notes.append(f"Stopped: {figures['stop_reason']}.")
    elif reason:
        notes.append(f"{reason[0].upper()}{reason[1:]}.")
    return notes
