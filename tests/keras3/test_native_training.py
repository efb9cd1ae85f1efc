"""Two epochs of Keras 3 on real networks end in files that compute what Keras 3 computes."""

from pathlib import Path

import numpy as np
import pytest

import tfxp
from tfxp.data import load_digits
from tfxp.keras import keras as keras2
from tfxp.keras import keras3, layers
from tfxp.transforms.conversion.to_keras3 import as_keras3

K = keras3(load=True)
SHARED = Path(__file__).resolve().parents[3] / "shared"
RESNET = (
    SHARED / "models/mlcommons+tiny/benchmark/training/image_classification/trained_models"
    "/pretrainedResnet.h5"
)
IMAGES = SHARED / "data/cifar10_train_first20k.npz"
TEST_IMAGES = SHARED / "data/cifar10_test_first5k.npz"
RESNET_IMAGES, RESNET_TESTS = 512, 200  # a slice: trained once on each, in seconds


def train_and_export(model, precision, data, test, path, rate):
    """Two epochs in Keras 3, the file, and elements of logits that differ."""
    (x, y), (x_test, y_test) = data, test
    assert isinstance(model, K.Model)
    qmodel = tfxp.quantize_model(model, precision, tfxp.measure_model(model, x[:256]))
    native = tfxp.keras3.native_model(qmodel)
    loss = K.losses.SparseCategoricalCrossentropy()
    native.compile(K.optimizers.Adam(rate), loss, metrics=["accuracy"], jit_compile=False)
    before = native.evaluate(x_test, y_test, verbose=0)
    history = native.fit(x, y, batch_size=64, epochs=2, verbose=0).history["loss"]
    after = native.evaluate(x_test, y_test, verbose=0)
    tfxp.keras3.return_weights(native, qmodel)
    probabilities = native(x_test[:64], training=False)
    np.testing.assert_array_equal(probabilities, np.asarray(qmodel(x_test[:64])))
    found = tfxp.export_tflite(qmodel, path, verify=x_test).verification
    print(
        f"{model.name} {precision}: loss {history}, test loss and accuracy {before} -> {after}; "
        f"of {found.elements} logits differ {found.mismatches_interpreter} in the interpreter, "
        f"{found.mismatches_litert} in LiteRT"
    )
    assert found.samples == len(x_test)
    assert found.mismatches_interpreter == found.mismatches_litert == 0
    return before, after


@pytest.mark.slow
def test_digits(tmp_path):
    keras2.utils.set_random_seed(0)
    x = inputs = layers.Input((8, 8, 1))
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.MaxPooling2D(2)(x)
    outputs = layers.Dense(10, activation="softmax")(layers.Flatten()(x))
    model = keras2.Model(inputs, outputs, name="digits")
    model.compile(keras2.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    train, test = load_digits("train"), load_digits("test")
    model.fit(train.x, train.y, epochs=3, verbose=0)
    found = train_and_export(
        as_keras3(model), "w4a4", (train.x, train.y), (test.x, test.y), tmp_path / "d.tflite", 2e-3
    )
    assert found[1][1] > 0.9


@pytest.mark.slow
def test_resnet8(tmp_path):
    if not RESNET.exists() or not IMAGES.exists():
        pytest.skip("needs ../shared: pretrainedResnet.h5 and CIFAR-10")
    K.utils.set_random_seed(0)
    model = as_keras3(keras2.models.load_model(RESNET, compile=False))
    with np.load(IMAGES) as train, np.load(TEST_IMAGES) as test:
        data = [
            (part["x"][:count].astype("float32"), part["y"][:count].ravel())
            for part, count in ((train, RESNET_IMAGES), (test, RESNET_TESTS))
        ]
    before, after = train_and_export(model, "w4a4c", *data, tmp_path / "r.tflite", 1e-4)
    assert after[0] < before[0]
