"""Metrics against loops that do not share their code."""

import numpy as np
import pytest

from tfxp.data import Dataset, choose_metric, evaluate_metric
from tfxp.errors import ConfigError, DataError


def test_accuracies_against_sorting(rng):
    outputs = rng.integers(-8, 8, (200, 10))  # many ties
    labels = rng.integers(0, 10, 200)
    data = Dataset(np.zeros((200, 1)), labels)
    for name, count in (("accuracy", 1), ("top5", 5)):
        hits = 0
        for row, label in zip(outputs.tolist(), labels.tolist(), strict=True):
            best_first = sorted(range(10), key=lambda i: (-row[i], i))
            hits += label in best_first[:count]
        assert evaluate_metric(name, outputs, data) == hits / 200
    assert evaluate_metric("accuracy", outputs, data) == np.mean(outputs.argmax(1) == labels)


def test_errors_by_hand():
    data = Dataset(np.zeros((2, 1)), np.array([1.0, 3.0]))
    assert evaluate_metric("mae", np.array([[2.0], [0.0]]), data) == 2.0
    assert evaluate_metric("mse", np.array([[2.0], [0.0]]), data) == 5.0


def test_what_cannot_be_counted():
    data = Dataset(np.zeros((2, 1)), np.array([0, 1]))
    with pytest.raises(ConfigError, match="Did you mean 'accuracy'"):
        evaluate_metric("acuracy", np.zeros((2, 2)), data)
    for name, outputs in [
        ("accuracy", np.zeros((3, 2))),
        ("accuracy", np.zeros((2, 1))),
        ("mse", np.zeros((2, 2))),
    ]:
        with pytest.raises(DataError):
            evaluate_metric(name, outputs, data)
    with pytest.raises(DataError, match="got none"):
        evaluate_metric("mae", np.zeros((2, 1)), Dataset(np.zeros((2, 1))))


def test_positions_and_one_hot_rows(rng):
    outputs = rng.normal(size=(6, 4, 5, 3))
    numbers = rng.integers(0, 3, (6, 4, 5))
    wanted = np.mean(outputs.argmax(-1) == numbers)
    for y in (numbers, numbers[..., None], np.eye(3)[numbers], numbers.astype(float)):
        data = Dataset(np.zeros((6, 1)), y)
        assert choose_metric(outputs.shape, data) == "accuracy"
        assert evaluate_metric("auto", outputs, data) == pytest.approx(wanted)
    with pytest.raises(DataError, match="got 4 a sample; expected 20, one a position"):
        evaluate_metric("accuracy", outputs, Dataset(np.zeros((6, 1)), numbers[..., 0]))


def test_yes_or_no_from_probabilities_and_logits(rng):
    logits = rng.normal(size=(50, 1))
    y = rng.integers(0, 2, 50)
    wanted = np.mean((logits[:, 0] > 0) == (y == 1))
    for labels in (y, y[:, None], y.astype(float), y.astype(bool)):
        data = Dataset(np.zeros((50, 1)), labels)
        assert evaluate_metric("auto", logits, data) == wanted
        assert evaluate_metric("binary_accuracy", 1 / (1 + np.exp(-logits)), data) == wanted
    with pytest.raises(DataError, match="got -1 to 1; expected 0 and 1"):
        evaluate_metric("binary_accuracy", logits, Dataset(np.zeros((50, 1)), 2 * y - 1))
    with pytest.raises(DataError, match="Use --metric=binary_accuracy, mae or mse"):
        evaluate_metric("accuracy", logits, Dataset(np.zeros((50, 1)), y))


@pytest.mark.parametrize(
    ("shape", "y", "wanted"),
    [
        ((5, 10), np.arange(5), "accuracy"),
        ((5, 10), np.eye(10)[:5], "accuracy"),
        ((5, 1, 1, 10), np.arange(5)[:, None], "accuracy"),
        ((5, 1), np.array([0, 1, 1, 0, 1]), "binary_accuracy"),
        ((5, 4, 4, 1), np.ones((5, 4, 4)), "binary_accuracy"),
        ((5, 3), np.array([[1, 1, 0]] * 5), "binary_accuracy"),
        ((5, 1), np.array([20, 31, 45, 18, 70]), "mae"),
        ((5, 3), np.ones((5, 3)) * 0.5, "mae"),
        ((5, 8), np.ones((5, 8)) * 2, "mae"),
    ],
)
def test_the_metric_fits(shape, y, wanted):
    assert choose_metric(shape, Dataset(np.zeros((5, 1)), y)) == wanted
