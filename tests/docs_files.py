"""Files that the commands of the docs take as given: small networks and a few samples.

A name stands for the network that the page means, as far as a command can tell the difference:
weights are random, filters few, layers as many as the commands name. Samples have the shape of the
model that the command reads, or else of the data set that they are called after.
"""

import json

import numpy as np

import tfxp
from tfxp.keras import keras, layers
from tfxp.models import lenet
from tools.quickstart import build_model as digits_network

SAMPLES = 144  # the largest batch of the recipes, and 16 that are held out
CLASSES = 10
SHAPES = {"cifar10": (32, 32, 3), "mnist": (28, 28), "usps": (16, 16), "digits": (8, 8, 1)}


def pictures():
    """A residual block for pictures of CIFAR-10's size: ResNet-8 as far as commands can tell."""
    image = layers.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    y = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Flatten()(layers.AveragePooling2D(16)(x))
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax")(x))


def digits():
    """A convolution and a dense layer, for the digits' images."""
    return keras.Sequential(
        [
            layers.Conv2D(4, 3, use_bias=False, input_shape=(8, 8, 1)),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def keywords():
    """Twelve spoken words."""
    return keras.Sequential(
        [
            layers.Conv2D(8, (10, 4), strides=2, activation="relu", input_shape=(49, 10, 1)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(12, activation="softmax"),
        ]
    )


def autoencoder():
    """An image of a digit and back."""
    return keras.Sequential(
        [
            layers.Dense(16, activation="relu", input_shape=(64,)),
            layers.Dense(64),
        ]
    )


def housing():
    """One figure from thirteen columns."""
    return keras.Sequential(
        [layers.Dense(16, activation="relu", input_shape=(13,)), layers.Dense(1)]
    )


def photographs():
    """Four classes of pictures in ImageNet's size."""
    return keras.Sequential(
        [
            layers.Conv2D(4, 3, strides=8, activation="relu", input_shape=(224, 224, 3)),
            layers.DepthwiseConv2D(3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, activation="softmax"),
        ]
    )


NETWORKS = {
    "resnet8.h5": pictures, "cifar10.h5": pictures, "pretrainedResnet.h5": pictures,
    "resnet.h5": pictures,
    "lenet.h5": lenet, "mnist_cnn.h5": lenet,
    "float.keras": digits_network, "net.h5": digits, "net.keras": digits, "kws.keras": keywords,
    "autoencoder.keras": autoencoder, "housing.keras": housing, "mobilenet.keras": photographs,
}  # fmt: skip
QUANTIZED = {
    "q.keras": digits, "digits.keras": digits, "resnet8_w4a4.keras": pictures,
}  # fmt: skip
EXPORTED = {
    "deployed.tflite": "q.keras", "a.tflite": "q.keras", "b.tflite": "q.keras",
    "q.tflite": "q.keras", "resnet8.tflite": "resnet8_w4a4.keras",
    "resnet8_w4a4.tflite": "resnet8_w4a4.keras",
}  # fmt: skip
# Written by the page itself: a JSON block, a script of the recorded session.
SHOWN = {"own.keras", "pipeline.json", "steps.json"}
PICTURES = ("imagenet", "train", "val")  # folders of pictures by class
ELSEWHERE = {"vgg16.h5"}  # commands that read it run in a test of their own (`why_not_run`)
GIVEN = {*NETWORKS, *QUANTIZED, *EXPORTED, *SHOWN, *ELSEWHERE, "recipe.json", *PICTURES}
RECIPE = {
    "schema": 1, "description": "a stand-in", "model": {"file": "net.keras"}, "epochs": 1,
    "batch_size": 16,
}  # fmt: skip


def write_stand_in(path, model=None):
    """Write what a file of this name stands for.

    Args:
        path: where; its last part says what is wanted.
        model: the model that the same command reads, if it reads one.

    Raises:
        AssertionError: there is nothing of this name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name in NETWORKS:
        built(NETWORKS[path.name]).save(path)
    elif path.name in QUANTIZED:
        quantized(QUANTIZED[path.name]).save(path)
    elif path.name in EXPORTED:
        source = path.parent / EXPORTED[path.name]  # the page's own, where a command has made it
        given = source.exists()
        model = tfxp.load_model(source) if given else quantized(QUANTIZED[source.name])
        tfxp.export_tflite(model, path)
    elif path.name == "recipe.json":
        if not (path.parent / "net.keras").exists():
            write_stand_in(path.parent / "net.keras")
        path.write_text(json.dumps(RECIPE))
    elif path.suffix == ".npz":
        write_samples(path, model)
    elif path.name in PICTURES:
        write_pictures(path)
    else:
        raise AssertionError(f"{path.name} comes from nowhere")


def built(network):
    """A network with seeded weights, whose layers are numbered from the first."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    return network()


def quantized(network):
    """The network in 4 bits."""
    model = built(network)
    x = np.random.default_rng(0).uniform(0, 1, (8, *model.input_shape[1:])).astype("float32")
    return tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x))


def write_samples(path, model):
    """Seeded samples with answers, both halves where a file of this name has both."""
    shape, answers = _shape_by_name(path.name) if model is None else _shape_of(model)
    draws = np.random.default_rng(0)
    halves = ["_train", "_test"] if path.stem in (*SHAPES, "housing", "anomalies") else [""]
    arrays = {}
    for half in halves:
        x = draws.integers(0, 256, (SAMPLES, *shape), dtype=np.uint8)
        y = draws.uniform(0, 5, SAMPLES) if answers == 1 else np.arange(SAMPLES) % answers
        arrays |= {f"x{half}": x if answers > 1 else x.astype("float32"), f"y{half}": y}
    np.savez(path, **arrays)


def _shape_of(model):
    """Shape of a sample, and how many classes there are (1: a figure)."""
    if model.suffix == ".tflite":
        runner = tfxp.Interpreter(model)
        shapes = [
            one["shape"] for one in (*runner.get_input_details(), *runner.get_output_details())
        ]
    else:
        loaded = tfxp.load_model(model)
        shapes = loaded.input_shape, loaded.output_shape
    answers = 2 if shapes[0][-1] == shapes[1][-1] else int(shapes[1][-1])
    return tuple(int(size) for size in shapes[0][1:]), answers


def _shape_by_name(name):
    found = [shape for start, shape in SHAPES.items() if name.startswith(start)]
    assert found, f"{name}: of which data set?"
    return found[0], CLASSES


def write_pictures(folder):
    """Four classes with a few pictures each."""
    draws = np.random.default_rng(0)
    for name in ("n01", "n02", "n03", "n04"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(4):
            pixels = draws.integers(0, 256, (260, 300, 3)).astype("uint8")
            keras.utils.save_img(folder / name / f"{index}.png", pixels)
