"""Metrics against loops that do not share their code."""

import numpy as np
import pytest

from tfxp.data import Dataset, evaluate_metric
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
