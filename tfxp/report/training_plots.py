"""Pictures of a table of trainings: learning curves, and accuracy by bits."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfxp.errors import DataError
from tfxp.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SEED = re.compile(r"(.*)_seed\d+")
_BITS = re.compile(r"w(\d+|f)a(\d+|f)")
_FLOAT = 1000  # sorts behind every number of bits


def accuracy_by_row(results: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Row -> accuracies of its seeds.

    Example:
        >>> accuracy_by_row({"a_seed0": {"accuracy": 0.5}, "a_seed1": {"accuracy": 0.75}})
        {'a': array([0.5 , 0.75])}
    """
    rows: dict[str, list[float]] = {}
    for name, result in results.items():
        if result.get("accuracy") is not None:
            rows.setdefault(row_of(name), []).append(result["accuracy"])
    return {name: np.array(values) for name, values in rows.items()}


def differences_by_row(results: Mapping[str, Any], against: str | None = None) -> dict[str, float]:
    """Row -> mean over seeds of its accuracy minus another row's with the same seed.

    Seeds that only one of the two rows has are left out, and so are rows without a common seed.

    Args:
        results: run -> what `train_recipe` returned.
        against: the other row; the first one by default.

    Example:
        >>> runs = {"a_seed0": 0.5, "b_seed0": 0.75, "a_seed1": 0.5, "b_seed1": 0.5, "c_seed2": 1}
        >>> differences_by_row({name: {"accuracy": value} for name, value in runs.items()})
        {'a': 0.0, 'b': 0.125}
    """
    done = {name: r["accuracy"] for name, r in results.items() if r.get("accuracy") is not None}
    against = against or row_of(next(iter(done), ""))
    rows: dict[str, list[float]] = {}
    for name, beside in runs_beside(done, against).items():
        rows.setdefault(row_of(name), []).append(done[name] - done[beside])
    return {name: float(np.mean(values)) for name, values in rows.items()}


def runs_beside(runs: Collection[str], row: str) -> dict[str, str]:
    """Run -> the run of a row with the same seed, where there is one.

    Example:
        >>> runs_beside(["a_seed0", "b_seed0", "b_seed1"], "a")
        {'a_seed0': 'a_seed0', 'b_seed0': 'a_seed0'}
    """
    beside = {name: row + name.removeprefix(row_of(name)) for name in runs}
    return {name: other for name, other in beside.items() if other in runs}


def row_of(name: str) -> str:
    """The row of a run such as "w4a8_seed1"."""
    match = _SEED.fullmatch(name)
    return match.group(1) if match else name


def bits_table(results: Mapping[str, Any]) -> tuple[list[str], list[str], np.ndarray] | None:
    """Mean accuracy by activation bits (down) and weight bits (across), as in Lin's table.

    Returns:
        Labels of the rows, of the columns, and the values, NaN where nothing was trained; None if
        the rows are not called w4a8, wfa4 and so on.
    """
    means: dict[tuple[int, int], float] = {}
    for name, values in accuracy_by_row(results).items():
        match = _BITS.fullmatch(name)
        if match is None:
            return None
        weights, activations = (_FLOAT if bits == "f" else int(bits) for bits in match.groups())
        means[activations, weights] = float(values.mean())
    down = sorted({key[0] for key in means})
    across = sorted({key[1] for key in means})
    table = np.array([[means.get((a, w), np.nan) for w in across] for a in down])
    return [_label(bits) for bits in down], [_label(bits) for bits in across], table


def plot_trainings(results: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Save a picture: accuracy by bits where the rows are precisions, else learning curves.

    Args:
        results: run -> what `train_recipe` returned.
        path: .png, .svg or .pdf.

    Raises:
        DataError: no run has an accuracy.
    """
    import matplotlib

    if not accuracy_by_row(results):
        raise DataError("results of trainings: got no accuracy; expected evaluated runs.")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    table = bits_table(results)
    if table is None and all(len(result["epochs"]) <= 1 for result in results.values()):
        _last_epochs(axes, results)
    elif table is None:
        _curves(axes, results)
    else:
        _heat(axes, *table)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    pyplot.close(figure)


def _curves(axes: Axes, results: Mapping[str, Any]) -> None:
    """Test accuracy by epoch: a line per row, its mean over seeds, a band from least to most."""
    curves: dict[str, list[list[tuple[int, float]]]] = {}
    for name, result in results.items():
        points = [
            (row["epoch"], 100 * row["val_accuracy"])
            for row in result["epochs"]
            if "val_accuracy" in row
        ]
        curves.setdefault(row_of(name), []).append(points)
    for number, (name, runs) in enumerate(curves.items()):
        epochs = [epoch for epoch, _ in runs[0]]
        values = np.array([[value for _, value in run] for run in runs if len(run) == len(epochs)])
        style = "-" if number < 10 else "--"
        mark = "o" if len(epochs) == 1 else ""  # a line of one point is none
        (line,) = axes.plot(
            epochs, values.mean(axis=0), style, marker=mark, color=f"C{number % 10}", label=name
        )
        axes.fill_between(
            epochs, values.min(axis=0), values.max(axis=0), alpha=0.15, color=line.get_color()
        )
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel("test accuracy, %")
    axes.legend(fontsize="small", ncols=2, loc="lower right")


def _last_epochs(axes: Axes, results: Mapping[str, Any]) -> None:
    """Where there is one epoch, no curve: a bar per row, and a line from its least to its most."""
    rows = {name: 100 * values for name, values in accuracy_by_row(results).items()}
    means = np.array([values.mean() for values in rows.values()])
    ends = np.array([(values.min(), values.max()) for values in rows.values()])
    errors = np.abs(ends - means[:, None]).T
    axes.barh(list(rows), means, xerr=errors, color="#2b6cb0", ecolor="#dd8452", capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel("test accuracy, %")


def _heat(axes: Axes, down: list[str], across: list[str], table: np.ndarray) -> None:
    picture = axes.imshow(100 * table, aspect="auto", cmap="viridis")
    axes.set_xticks(range(len(across)), across)
    axes.set_yticks(range(len(down)), down)
    axes.set_xlabel("bits of weights")
    axes.set_ylabel("bits of activations")
    for (i, j), value in np.ndenumerate(table):
        if np.isfinite(value):
            bright = np.asarray(picture.norm(100 * value)).item() > 0.6  # viridis ends in yellow
            ink = "black" if bright else "white"
            axes.text(j, i, f"{100 * value:.2f} %", ha="center", va="center", color=ink)


def _label(bits: int) -> str:
    return "float" if bits == _FLOAT else str(bits)
