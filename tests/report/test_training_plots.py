"""Tables and pictures of trainings."""

import numpy as np
import pytest

from tfxp.errors import DataError
from tfxp.report.training_plots import _curves, _last_epochs, bits_table, plot_trainings


def run(*accuracies):
    epochs = [{"epoch": i + 1, "val_accuracy": a} for i, a in enumerate(accuracies)]
    return {"accuracy": accuracies[-1], "epochs": epochs}


def test_bits_down_and_across():
    results = {"w4a8_seed0": run(0.5), "w4a8_seed1": run(0.7), "wfa8_seed0": run(0.9),
               "w16af_seed0": run(0.8)}  # fmt: skip
    down, across, table = bits_table(results)
    assert (down, across) == (["8", "float"], ["4", "16", "float"])
    expected = [[0.6, np.nan, 0.9], [np.nan, 0.8, np.nan]]
    assert np.allclose(table, expected, equal_nan=True)
    assert bits_table({"co_seed0": run(0.5)}) is None


@pytest.mark.parametrize("names", [("float_seed0", "float_seed1"), ("w4a4_seed0", "wfaf_seed0")])
def test_pictures(names, tmp_path):
    path = tmp_path / "plot.png"
    plot_trainings({name: run(0.3, 0.6) for name in names}, path)
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_one_epoch_is_a_bar_and_not_an_empty_plot():
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    runs = {name: run(value) for name, value in (("a_seed0", 0.2), ("a_seed1", 0.4), ("b", 0.9))}
    _last_epochs(axes, runs)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([30, 90])
    pyplot.close(figure)


def test_one_epoch_beside_more_is_a_dot():
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    _curves(axes, {"a": run(0.2), "b": run(0.3, 0.6)})
    assert [line.get_marker() for line in axes.lines] == ["o", ""]
    pyplot.close(figure)


def test_nothing_to_show(tmp_path):
    with pytest.raises(DataError, match="got no accuracy"):
        plot_trainings({"a": {"accuracy": None, "epochs": []}}, tmp_path / "plot.png")
