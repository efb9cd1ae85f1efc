"""A small residual classifier that works, without training it, for tests of searches."""

import numpy as np

from tests.cases import randomize
from tfxp.keras import keras, layers

CLASSES = 4


def classifier():
    """Three convolutions, an addition, a mean: seven parameters to search."""
    inputs = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(inputs)
    y = layers.Conv2D(6, 3, padding="same", name="inner")(x)
    x = layers.ReLU(name="relu")(layers.Add(name="add")([x, y]))
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dense(CLASSES, activation="softmax", name="head")(x)
    return randomize(keras.Model(inputs, x))


def labelled(model, samples, noise=0.6, seed=3):
    """Noisy copies of one image per class; the head is fitted to them by least squares."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=samples)
    images = rng.normal(size=(CLASSES, 6, 6, 2))
    x = (images[labels] + noise * rng.normal(size=(samples, 6, 6, 2))).astype(np.float32)
    features = keras.Model(model.input, model.get_layer("mean").output).predict(x, verbose=0)
    padded = np.c_[features, np.ones(samples)]
    wanted = 4.0 * np.eye(CLASSES)[labels]
    solution = np.linalg.solve(
        padded.T @ padded + 1e-3 * np.eye(padded.shape[1]), padded.T @ wanted
    )
    head = model.get_layer("head")
    head.set_weights([solution[:-1].astype(np.float32), solution[-1].astype(np.float32)])
    return x, labels
