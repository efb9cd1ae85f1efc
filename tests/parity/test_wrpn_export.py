"""WRPN networks as integers: codes by hand, BatchNormalization absorbed, three engines compared."""

import numpy as np
import pytest

import tfxp
from tests.cases import built, inputs_of, randomize
from tests.parity.compare import Trio
from tests.slow_cases import slow
from tfxp.export import integer_graph_of
from tfxp.formats import WrpnFormat
from tfxp.keras import keras, layers
from tfxp.quantization import wrpn_precision


@pytest.fixture(scope="module")
def model():
    """Residual, gammas of both signs, a first and a last layer."""
    keras.backend.clear_session()
    x = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(8, 3, padding="same", name="first")(x)
    y = layers.ReLU(name="r0")(layers.BatchNormalization(name="n0")(y))
    z = layers.Conv2D(8, 3, padding="same", use_bias=False, name="inner")(y)
    z = layers.ReLU(name="r1")(layers.BatchNormalization(name="n1")(z))
    z = layers.BatchNormalization(name="n2")(layers.Conv2D(8, 3, padding="same", name="deep")(z))
    y = layers.ReLU(name="r2")(layers.Add(name="sum")([y, z]))
    y = layers.GlobalAveragePooling2D(name="mean")(y)
    net = randomize(keras.Model(x, layers.Dense(4, name="last")(y)))
    for name in ("inner", "deep"):
        kernel = net.get_layer(name).kernel
        kernel.assign(np.clip(5 * kernel.numpy(), -1, 1))
    return net


def exportable(model, x, weights, activations, **options):
    """Quantized as it was trained, then with formats for all that stayed float."""
    precision = wrpn_precision(model, weights, activations, **options)
    trained = tfxp.quantize_model(model, precision, fold_batch_norm=False)
    stats = tfxp.measure_model(trained, x, fold_batch_norm=False)
    whole = tfxp.precision_of(trained).completed(8)
    return trained, tfxp.quantize_model(trained, whole, stats, fold_batch_norm=False)


def codes_by_hand(kernel, gamma, bits):
    """Paper's formula, and a minus sign where the channel's gamma is negative."""
    if bits == 1:
        codes = np.where(kernel >= 0, 1, -1)
    else:
        codes = np.rint(np.clip(kernel, -1, 1) * np.float32(2 ** (bits - 1) - 1)).astype(int)
    return codes * np.where(gamma < 0, -1, 1)


MORE = [slow(bits) for bits in ((2, 4), (4, 4), (8, 8))]


@pytest.mark.parametrize("bits", [(2, 2), (1, 1), *MORE])
def test_integers_of_a_trained_network(model, bits):
    x = inputs_of(model, 32)
    trained, whole = exportable(model, x, *bits)
    found = Trio(whole).compare(x)
    assert found.interpreter_litert == 0, found
    assert any("BatchNormalization" in note for note in found.notes)
    assert found.lsb <= 2 and found.keras_litert <= found.elements // 4, found
    # Without multiplied codes offsets are whole steps of accumulators that few bits make coarse.
    coarse = Trio(whole).compare(x, fine_bias=False)
    assert coarse.keras_litert >= found.keras_litert, (coarse, found)
    kernels = {
        t.name: t.data
        for t in integer_graph_of(whole, fine_bias=False).tensors
        if t.name.endswith("kernel")
    }
    for name, norm in (("inner", "n1"), ("deep", "n2")):
        kernel = model.get_layer(name).kernel.numpy()
        wanted = codes_by_hand(kernel, model.get_layer(norm).gamma.numpy(), bits[0])
        assert np.array_equal(kernels[f"{name}/kernel"], wanted.transpose(3, 0, 1, 2))
    assert (model.get_layer("n1").gamma.numpy() < 0).any()
    if bits[0] == 2:
        assert set(np.unique(kernels["inner/kernel"])) == {-1, 0, 1}
    fine = {t.name: t for t in integer_graph_of(whole).tensors}["inner/kernel"]
    multiple = 127 // WrpnFormat(bits[0]).qmax
    assert np.array_equal(fine.data, multiple * kernels["inner/kernel"].astype(int))


def test_a_pre_activation_block():
    """The stream of sums in 8 bits; factors of a lone BatchNormalization in a depthwise kernel."""
    keras.backend.clear_session()
    y = x = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(4, 3, padding="same", name="first")(y)
    z = layers.ReLU(name="r0")(layers.BatchNormalization(name="n0")(y))
    z = layers.Conv2D(4, 3, padding="same", name="inner")(z)
    y = layers.Add(name="sum")([y, layers.BatchNormalization(name="n1")(z)])
    y = layers.ReLU(name="r1")(layers.BatchNormalization(name="n2")(y))
    y = layers.GlobalAveragePooling2D(name="mean")(y)
    net = randomize(keras.Model(x, layers.Dense(4, name="last")(y)))
    x = inputs_of(net, 32)
    trained, whole = exportable(net, x, 4, 4)
    found = Trio(whole).compare(x)
    assert found.interpreter_litert == 0, found
    assert found.lsb <= 2 and found.keras_litert <= found.elements // 4, found
    graph = integer_graph_of(whole)
    kernel = {t.name: t.data for t in graph.tensors}["n0/kernel"]
    assert (np.abs(kernel) == np.abs(kernel).max()).all()  # ones; factors are in the scales
    assert "BatchNormalization" in [type(layer).__name__ for layer in trained.layers]


def test_completing_changes_little(model):
    x = inputs_of(model, 64)
    trained, whole = exportable(model, x, 4, 4)
    before, after = trained.predict(x, verbose=0), whole.predict(x, verbose=0)
    assert np.abs(before - after).mean() < 0.1 * np.abs(before).mean()
    rules = tfxp.precision_of(whole).layers
    assert rules["first"].weights != "float" and str(rules["inner"].weights) == "wrpn:4"
    assert rules["deep"].activations.bits == 8 and rules["image"].activations.bits == 8


def test_binary_kernels_with_one_scale_per_filter(model):
    x = inputs_of(model, 32)
    _, whole = exportable(model, x, 1, 4, per_channel=True)
    integers = tfxp.integer_weights(whole)["inner"]
    kernel = model.get_layer("inner").kernel.numpy()
    assert np.allclose(integers.weight_scale, np.abs(kernel).mean((0, 1, 2)))
    assert set(np.unique(integers.weights)) == {-1, 1}
    assert Trio(whole).compare(x).interpreter_litert == 0


def test_packed_kernels(model):
    x = inputs_of(model, 32)
    _, whole = exportable(model, x, 2, 4)
    plain = integer_graph_of(whole, fine_bias=False)
    packed = integer_graph_of(whole, pack_int4=True, fine_bias=False)
    types = {t.name: t.type for t in packed.tensors if t.name.endswith("kernel")}
    assert types == {
        "first/kernel": "INT8", "inner/kernel": "INT4", "deep/kernel": "INT4",
        "last/kernel": "INT8",
    }  # fmt: skip
    size = {t.name: t.data for t in plain.tensors if t.data is not None}
    assert all(np.array_equal(t.data, size[t.name]) for t in packed.tensors if t.data is not None)
    found = Trio(whole).compare(x, pack_int4=True)
    assert any("INT4" in note for note in found.notes)


def test_zeros_of_ternary_weights_are_reported(model, tmp_path):
    x = inputs_of(model, 8)
    _, whole = exportable(model, x, 2, 2)
    tfxp.export_tflite(whole, tmp_path / "net.tflite")
    integers = tfxp.integer_weights(whole)["inner"]
    kernel = model.get_layer("inner").kernel.numpy()
    assert integers.zero_fraction == np.mean(np.abs(kernel) <= 0.5) > 0.05


@pytest.mark.slow
def test_every_layer_of_the_corpus_exports():
    model = built("everything")
    x = inputs_of(model, 16, low=0.0)
    _, whole = exportable(model, x, 4, 4)
    found = Trio(whole).compare(x)
    assert found.interpreter_litert == 0 and found.notes
