"""The networks that are compared on every runtime, and real samples for them.

`python -m tests.parity.runtime_networks FOLDER` trains them for a moment and writes NAME.keras and
NAME.npz of each, for tools/compare_runtimes.py. Samples come from the shared folder beside the
checkout; `NETWORKS` alone builds the networks without it.
"""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np

from tfxp.keras import keras, layers, tf
from tools.quickstart import build_model as digits

SHARED = Path(__file__).resolve().parents[3] / "shared"
TINY = SHARED / "models/mlcommons+tiny/benchmark/training"
SAMPLES = 1000


def _block(x, layer):
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(layer(x)))


def _separable(x, filters, strides=1):
    x = _block(x, layers.DepthwiseConv2D(3, strides, "same", use_bias=False))
    return _block(x, layers.Conv2D(filters, 1, use_bias=False))


def resnet8():
    """MLPerf Tiny's image classifier."""
    image = keras.Input((32, 32, 3))
    x = _block(image, layers.Conv2D(16, 3, padding="same"))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = _block(x, layers.Conv2D(filters, 3, strides, "same"))
        y = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(filters, 3, padding="same")(y))
        if strides > 1:
            x = layers.Conv2D(filters, 1, strides)(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(image, layers.Dense(10, "softmax")(x))


def keyword_spotting():
    """MLPerf Tiny's DS-CNN."""
    sound = keras.Input((49, 10, 1))
    x = _block(sound, layers.Conv2D(64, (10, 4), 2, "same", use_bias=False))
    for _ in range(4):
        x = _separable(x, 64)
    x = layers.AveragePooling2D(tuple(x.shape[1:3]))(layers.Dropout(0.4)(x))
    return keras.Model(sound, layers.Dense(12, "softmax")(layers.Flatten()(x)))


def mobilenet():
    """MLPerf Tiny's MobileNet v1 of a quarter's width, for visual wake words."""
    image = keras.Input((96, 96, 3))
    x = _block(image, layers.Conv2D(8, 3, 2, "same", use_bias=False))
    widths = (16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
    for place, filters in enumerate(widths):
        x = _separable(x, filters, 2 if place in (1, 3, 5, 11) else 1)
    x = layers.Flatten()(layers.AveragePooling2D(3)(x))
    return keras.Model(image, layers.Dense(2, "softmax")(x))


def anomaly():
    """MLPerf Tiny's autoencoder."""
    frames = x = keras.Input((640,))
    for width in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = _block(x, layers.Dense(width))
    return keras.Model(frames, layers.Dense(640)(x))


def mixed():
    """Conv1D, Add, Concatenate, pools, padding and Dense, on sequences of 49 frames."""
    sound = keras.Input((49, 10))
    x = _block(layers.ZeroPadding1D((2, 1))(sound), layers.Conv1D(16, 3))
    x = layers.MaxPooling1D(2)(layers.Add()([x, layers.Conv1D(16, 1)(x)]))
    y = layers.AveragePooling1D(3, 1, "same")(x)
    z = layers.Conv1D(16, 3, padding="same", dilation_rate=2, activation="relu")(x)
    x = layers.Concatenate()([y, z, x])
    x = _block(x, layers.Conv1D(24, 3, 2))
    pooled = [layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)]
    x = layers.Dense(32, "relu")(layers.Concatenate()(pooled))
    return keras.Model(sound, layers.Dense(12, "softmax")(x))


NETWORKS = {
    function.__name__: function
    for function in (resnet8, keyword_spotting, mobilenet, anomaly, mixed)
}
NETWORKS["digits"] = digits


def _digits_data():
    from tfxp.data import load_digits

    halves = [load_digits(name) for name in ("test", "train")]
    return [np.concatenate([getattr(half, key) for half in halves])[:SAMPLES] for key in "xy"]


def _cifar():
    with np.load(SHARED / "data/cifar10_test_first5k.npz") as data:
        return data["x"].astype(np.float32), data["y"].ravel()


def _keywords():
    with np.load(SHARED / "data/kws01_mfcc_int8.npz") as data:
        return data["x"].astype(np.float32) / 32, data["y"].ravel()


def _photos():
    """500 photographs at 96 x 96, and their mirror images."""
    found = []
    with zipfile.ZipFile(SHARED / "data/imagenet_sample_even500.zip") as photos:
        for name in sorted(n for n in photos.namelist() if n.endswith(".jpg")):
            image = tf.io.decode_jpeg(io.BytesIO(photos.read(name)).getvalue(), channels=3)
            found.append(tf.image.resize(image, (96, 96), method="area").numpy() / 255)
    x = np.stack(found).astype(np.float32)
    return np.concatenate([x, x[:, :, ::-1]]), None


def _frames():
    """32 x 20 grey pixels of photographs: 640 real numbers a sample."""
    grey = _cifar()[0][:, :, 6:26].mean(-1) / 64 - 2
    return grey.reshape(len(grey), 640), None


def _trained(name, x, y):
    """A network after some epochs on its samples: ranges and channels as after training."""
    model = NETWORKS[name]()
    loss = "mse" if y is None else "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(2e-3), loss)
    model.fit(x, x if y is None else y, 64, 8, verbose=0)
    return model


def write(folder):
    """All networks and their samples."""
    keras.utils.set_random_seed(0)
    files = {
        "digits": (None, _digits_data()),
        "resnet8": (TINY / "image_classification/trained_models/pretrainedResnet.h5", _cifar()),
        "keyword_spotting": (None, _keywords()),
        "mobilenet": (TINY / "visual_wake_words/trained_models/vww_96.h5", _photos()),
        "anomaly": (None, _frames()),
        "mixed": (None, [_keywords()[0].reshape(-1, 49, 10), _keywords()[1]]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (path, (x, y)) in files.items():
        model = keras.models.load_model(path, compile=False) if path else _trained(name, x, y)
        model.save(folder / f"{name}.keras")
        np.savez_compressed(folder / f"{name}.npz", x=x[:SAMPLES])
        print(name, x.shape, flush=True)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
