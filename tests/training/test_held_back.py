"""The judge of epochs: a teacher's loss where there is one, right decisions by labels."""

import types

import pytest

from tfxp.training.repair.held_back import HeldBack

# (right decisions, loss) before the training and after each of two epochs
SCORES = [(50.0, 0.9), (90.0, 0.5), (88.0, 0.3)]


class Model:
    """Its weights are the number of the epoch."""

    weights = 0

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights


@pytest.mark.parametrize(("is_taught", "best"), [(True, 2), (False, 1)])
def test_who_judges(is_taught, best):
    model = Model()
    objective = types.SimpleNamespace(is_taught=is_taught, examine=lambda: SCORES[model.weights])
    samples = types.SimpleNamespace(judging=lambda: [((), 100)], held=100, samples=1000)
    judge = HeldBack(model, objective, samples)
    for model.weights in (1, 2):
        judge.look(model.weights)
    assert judge.finish("a training") == judge.best == best
    assert model.weights == best
