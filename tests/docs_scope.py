"""What code blocks of the docs may take as given: a small trained network, images, and files.

Names that a page uses before it defines them stand here, so that a block can be as short as a
reader wants it and still run as it is written.
"""

import functools

import numpy as np

import tfxp
from tfxp.keras import keras, layers

SAMPLES = 1000


def small_network():
    """Convolution, pool, two dense layers: trained for an epoch on a seeded task."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Conv2D(4, 3, strides=2, activation="relu", input_shape=(8, 8, 3)),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@functools.cache
def _samples():
    draws = np.random.default_rng(0)
    x = draws.uniform(0, 1, (SAMPLES, 8, 8, 3)).astype("float32")
    return x, draws.integers(4, size=SAMPLES)


def given(folder):
    """Names that the pages take as given; their files are written to `folder`."""
    x, y = _samples()
    model = small_network()
    model.fit(x, y, epochs=1, verbose=0)
    for name in ("resnet8.h5", "net.h5"):
        model.save(folder / name)
    np.savez(folder / "calibration.npz", x=x[:64], y=y[:64])
    np.savez(folder / "test.npz", x=x, y=y)
    wrpn = tfxp.quantize_model(model, tfxp.wrpn_precision(model, 2, 4), fold_batch_norm=False)
    tfxp.export_tflite(
        tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x[:64])),
        folder / "model.tflite",
    )
    return {
        "__name__": "__main__",
        "tfxp": tfxp,
        "model": model,
        "trained": wrpn,
        "x": x[:64],
        "y": y[:64],
        "x_calibration": x[:64],
        "x_train": x[:128],
        "y_train": y[:128],
        "x_test": x,
        "images": np.round(x[:8] * 255 - 128).astype(np.int8),
    }
