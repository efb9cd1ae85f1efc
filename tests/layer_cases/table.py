"""The table of tiny networks: what a case is, how it is built and what is fed to it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.cases import randomize
from tfxp.keras import keras as keras2


@dataclasses.dataclass
class LayerCase:
    """A network, what becomes of it, and its inputs' range where it must not be normal."""

    build: Callable[[Any, Any], Any]
    outcome: str
    tokens: int = 0


LAYER_CASES: dict[str, LayerCase] = {}


def case(outcome="exact", tokens=0):
    def register(build):
        LAYER_CASES[build.__name__] = LayerCase(build, outcome, tokens)
        return build

    return register


def build(name, seed=5):
    """A case's network in tf_keras with random weights."""
    keras2.backend.clear_session()
    return randomize(LAYER_CASES[name].build(keras2, keras2.layers), seed)


def inputs_of(name, model, count=16, seed=8):
    """Random inputs: normal, or tokens."""
    rng, tokens = np.random.default_rng(seed), LAYER_CASES[name].tokens
    arrays = []
    for tensor in model.inputs:
        shape = (count, *(size or 7 for size in tensor.shape[1:]))
        x = rng.integers(0, tokens, shape) if tokens else rng.normal(size=shape)
        arrays.append(x.astype(np.int32 if tokens else np.float32))
    return arrays if len(arrays) > 1 else arrays[0]


def chain(keras, *steps, shape=(8, 6, 3), **options):
    x = inputs = keras.Input(shape, **options)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)


SEQUENCE = (12, 4)
