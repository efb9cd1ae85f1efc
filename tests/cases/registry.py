"""The registry of networks, and what gives them weights and inputs."""

import numpy as np

from tfxp.keras import keras

CASES = {}


def case(build):
    CASES[build.__name__] = build
    return build


def built(name, seed=5):
    """The network of a case with random weights; the same ones for the same seed."""
    keras.backend.clear_session()
    return randomize(CASES[name](), seed)


def randomize(model, seed=5):
    """Replace all weights: outputs of about unit size, so that formats saturate here and there."""
    rng = np.random.default_rng(seed)
    model.set_weights([_values(w, rng) for w in model.weights])
    return model


def _values(variable, rng):
    name, shape = variable.name.split("/")[-1], tuple(variable.shape)
    value = rng.normal(size=shape)
    if "kernel" in name:
        depthwise = "depthwise" in name
        taps = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
        return value * np.sqrt(1.5 / max(taps, 1))
    if "variance" in name:
        return rng.uniform(0.3, 2, shape)
    if "gamma" in name:
        return rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
    return 0.4 * value  # bias, beta, moving mean


def inputs_of(model, count=16, seed=8, low=None):
    """Random inputs of a model: normal, or from `low` up; a list where there are several."""
    rng = np.random.default_rng(seed)
    arrays = []
    for tensor in model.inputs:
        x = rng.normal(size=(count, *tensor.shape[1:]))
        arrays.append((x if low is None else np.abs(x) + low).astype(np.float32))
    return arrays if len(arrays) > 1 else arrays[0]


def image_input(height=8, width=6, channels=3):
    return keras.Input((height, width, channels))


def chain(*steps, shape=(8, 6, 3)):
    x = inputs = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(inputs, x)
