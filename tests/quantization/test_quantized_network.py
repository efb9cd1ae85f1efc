"""A quantized model is read once: by every consumer, and by one piece of code."""

import ast
from pathlib import Path

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tfxp.export import KerasTracer, check_nullhop, integer_weights, nullhop_network, save_nullhop
from tfxp.keras import keras, layers
from tfxp.quantization import is_quantized, read_network
from tfxp.transforms.layer_graph import LayerGraph

PACKAGE = Path(tfxp.__file__).parent


@pytest.fixture(scope="module")
def setting():
    """A chain that NullHop takes too, and an input for it."""
    x = inputs = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(3, 3, activation="relu", name="conv")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dense(3, activation="softmax", name="head")(x)
    model = randomize(keras.Model(inputs, x))
    data = np.random.default_rng(5).normal(size=(4, 6, 6, 2)).astype(np.float32)
    stats = tfxp.measure_model(model, data)
    return tfxp.quantize_model(model, "w8a8", stats), data


def export(qmodel, data, folder):
    tfxp.export_tflite(qmodel, folder / "net.tflite", verify=data, softmax=True)


def check_text(qmodel, data, folder):
    save_nullhop(folder / "net.txt", nullhop_network(qmodel, data[0]))
    check_nullhop(folder / "net.txt", qmodel, data[0])


@pytest.mark.parametrize(
    ("task", "reads"),
    [
        (export, 1),
        (check_text, 2),  # a conversion and a check
        (lambda qmodel, data, folder: KerasTracer(qmodel).trace([data]), 1),
        (lambda qmodel, data, folder: integer_weights(qmodel), 1),
        (lambda qmodel, data, folder: tfxp.precision_of(qmodel), 1),
        (lambda qmodel, data, folder: tfxp.set_precision(qmodel, "w8a8"), 1),
        (lambda qmodel, data, folder: tfxp.measure_model(qmodel, data), 1),
        (lambda qmodel, data, folder: tfxp.strip(qmodel), 1),
    ],
    ids=["export", "nullhop", "trace", "weights", "precision", "set", "measure", "strip"],
)
def test_a_model_is_read_once(setting, tmp_path, monkeypatch, task, reads):
    qmodel, data = setting
    found = []
    original = LayerGraph.from_model.__func__

    def counted(cls, model):
        found.append(model.name)
        return original(cls, model)

    monkeypatch.setattr(LayerGraph, "from_model", classmethod(counted))
    task(qmodel, data, tmp_path)
    assert found == [qmodel.name] * reads


def test_what_is_read(setting):
    qmodel, _ = setting
    network = read_network(qmodel)
    assert network.precision == tfxp.precision_of(qmodel)
    image, conv = network.formats["image"].activations, network.formats["conv"]
    assert network.input_grids("conv") == network.integer_inputs("conv") == [image]
    assert network.accumulator_step("conv").tolist() == [image.scale * conv.weights[0].scale]
    assert set(network.wrappers) == {"conv", "conv_relu", "mean", "head"}
    assert list(network.input_quantizers) == ["image"]
    assert network.integers("conv") is network.integers("conv")


def test_what_reads_a_float_tensor_has_no_accumulator():
    model = keras.Sequential([layers.Dense(2, input_shape=(3,), name="d")])
    rules = {"layers": {model.input_names[0]: {"activations": "float"}}}
    pmap = tfxp.PrecisionMap.from_dict(
        {"schema": 1, "default": {"weights": "Q0.3", "activations": "Q2.5"}, **rules}
    )
    network = read_network(tfxp.quantize_model(model, pmap))
    assert network.input_grids("d") == [None] and network.integer_inputs("d") == []
    assert network.accumulator_step("d") is None and network.integers("d").bias is None


def test_what_is_quantized(setting):
    qmodel, _ = setting
    assert is_quantized(qmodel) and not is_quantized(tfxp.strip(qmodel))
    assert tfxp.measure.is_quantized is is_quantized


def test_plan_and_formats_travel_as_one():
    """No function takes a plan and formats of the same network as two arguments."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                taken = {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
                if {"plan", "formats"} <= taken:
                    found.append(f"{path.name}: {node.name}")
    assert found == []
