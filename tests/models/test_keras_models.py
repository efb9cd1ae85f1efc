"""The Keras builders against the counted networks and the published models."""

import numpy as np
import pytest

from tfxp.errors import ConfigError
from tfxp.keras import keras
from tfxp.measure.workload import count_model
from tfxp.models import KERAS_MODELS, build_model, count_network, vgg16

RESNET8 = (
    "models/mlcommons+tiny/benchmark/training/image_classification/trained_models/"
    "pretrainedResnet.h5"
)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_convnet_is_the_counted_one(batch_norm):
    counted = count_network("sakr_convnet")
    built = count_model(build_model("convnet", batch_norm=batch_norm))
    for name, layer in counted.layers.items():
        if layer.weight_count:
            assert built[name].weight_shape == layer.weight_shape
            assert built[name].macs == layer.macs
    half = count_model(build_model("convnet", width=0.5))
    assert half["conv2_1"].weight_shape == (3, 3, 128, 128)


def test_resnet8_is_the_benchmark_s(shared):
    theirs = keras.models.load_model(shared / RESNET8, compile=False)
    ours = build_model("resnet8", softmax=True)
    assert ours.count_params() == theirs.count_params() == 78666
    # the same layers in another order: weights carried over by shape and order of calls
    order = [layer for layer in theirs.layers if layer.weights]
    names = [layer for layer in ours.layers if layer.weights]
    by_kind = {}
    for layer in order:
        by_kind.setdefault((type(layer).__name__, layer.get_weights()[0].shape), []).append(layer)
    for layer in names:
        key = (type(layer).__name__, layer.get_weights()[0].shape)
        layer.set_weights(by_kind[key].pop(0).get_weights())
    x = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.float32)
    difference = np.abs(ours(x, training=False) - theirs(x, training=False)).max()
    assert difference < 1e-4


def test_resnet8_half_width():
    model = build_model("resnet8", width=0.5)
    filters = [layer.filters for layer in model.layers if hasattr(layer, "filters")]
    assert filters == [8, 8, 8, 16, 16, 16, 32, 32, 32]
    assert count_model(build_model("resnet8")).macs == 12_501_632


def read_by(layer, model):
    """Layers that read a layer's output."""
    after = [node.outbound_layer for node in layer._outbound_nodes]
    return [each for each in after if each in model.layers]


@pytest.mark.parametrize("branch_norm", [False, True])
def test_pre_activation(branch_norm):
    """Sums have no ReLU and are read by normalizations and sums; convolutions read ReLUs."""
    model = build_model("preact_resnet8", width=0.5, branch_norm=branch_norm, norm_start=[0.4, 0.3])
    kinds = {layer.name: type(layer).__name__ for layer in model.layers}
    for name in ("conv0", "add1", "add2", "add3"):
        readers = {kinds[layer.name] for layer in read_by(model.get_layer(name), model)}
        assert readers <= {"BatchNormalization", "Add"}
    for name in ("conv1_0", "conv1_1", "shortcut2", "conv3_1"):
        (reader,) = read_by(model.get_layer(name), model)
        assert model.get_layer(name).input.name.split("/")[0].endswith("_relu")
        wanted = ["Add", "BatchNormalization"] if branch_norm else ["Add"]
        assert kinds[reader.name] in wanted or name.endswith("_0")
    same = count_model(build_model("resnet8", width=0.5))
    found = count_model(model)
    for name, layer in same.layers.items():
        if layer.weight_count:
            assert found[name].weight_shape == layer.weight_shape
    starts = {
        (float(layer.gamma[0]), float(layer.beta[0]))
        for layer in model.layers
        if kinds[layer.name] == "BatchNormalization"
    }
    before_relu = (np.float32(0.4), np.float32(0.3))
    assert starts == ({before_relu, (1, 0)} if branch_norm else {before_relu})


@pytest.mark.parametrize("start", [0.4, [0.4], [0.4, "0.3"], [0.4, float("nan")], [True, [0.3]]])
def test_impossible_starts(start):
    with pytest.raises(ConfigError, match="norm_start: got .*; expected two numbers"):
        build_model("preact_resnet8", norm_start=start)


def test_vgg16_is_the_counted_one():
    built, counted = count_model(build_model("vgg16")), vgg16()
    for name, layer in counted.layers.items():
        if layer.weight_count:
            assert built[name].weight_shape == layer.weight_shape
            assert built[name].macs == layer.macs


def test_plain6_and_lenet():
    stats = count_model(build_model("plain6"))
    convolutions = [layer for layer in stats.layers.values() if layer.kind == "conv"]
    assert len(convolutions) == 6
    assert max(x.weight_count for x in convolutions) > 100 * convolutions[0].weight_count
    lenet = count_model(build_model("lenet"))
    assert lenet.weight_count == 500 + 25_000 + 400_000 + 5_000
    assert lenet.macs == 24**2 * 500 + 8**2 * 25_000 + 405_000


@pytest.mark.parametrize("name", sorted(set(KERAS_MODELS) - {"vgg16"}))
def test_every_builder_runs_and_widens(name):
    model = build_model(name, classes=3, width=0.25)
    x = np.zeros((2, *model.input_shape[1:]), np.float32)
    assert model(x, training=False).shape == (2, 3)
    keras.backend.clear_session()


def test_lenet_for_smaller_images_and_for_grids():
    model = build_model("lenet", width=0.1, size=16, batch_norm=True)
    assert model.input_shape == (None, 16, 16, 1)
    assert [layer.use_bias for layer in model.layers if hasattr(layer, "use_bias")] == [
        False, False, False, True
    ]  # fmt: skip
    norms = [layer.name for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    assert norms == ["conv0_norm", "conv1_norm", "dense0_norm"]
    with pytest.raises(ConfigError, match="size: got 15; expected at least 16"):
        build_model("lenet", size=15)


def test_relu_max_and_unknown_names():
    model = build_model("convnet", width=0.25, relu_max=2.0)
    assert model.get_layer("conv0_0_relu").max_value == 2.0
    with pytest.raises(ConfigError, match="Did you mean 'resnet8'"):
        build_model("resnet9")
    with pytest.raises(ConfigError, match="width: got 0"):
        build_model("lenet", width=0)
