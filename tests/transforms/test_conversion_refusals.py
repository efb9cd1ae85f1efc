"""What Keras 3 keeps beside a kernel is merged into it; what cannot be converted is named."""

import keras as keras3
import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tfxp.errors import ModelError
from tfxp.keras import keras, layers
from tfxp.transforms.conversion.from_keras3 import as_tf_keras
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.refusals import naming

L3 = keras3.layers
RNG = np.random.default_rng(3)


def chain3(*steps, shape=(6,)):
    return randomize(keras3.Sequential([keras3.Input(shape), *steps]))


def dense(mode=None, rank=None):
    def build():
        model = chain3(L3.Dense(8, activation="relu", name="a"), L3.Dense(4, name="b"))
        if mode:
            model.quantize(mode)
        for layer in model.layers if rank else ():
            layer.enable_lora(rank)
            layer.lora_kernel_b.assign(RNG.normal(size=layer.lora_kernel_b.shape))
        return model

    return build


def convolution():
    layer = L3.Conv2D(4, 3)
    model = chain3(layer, L3.Flatten(), shape=(5, 5, 2))
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(RNG.normal(size=layer.lora_kernel_b.shape))
    return model


def spectral():
    return chain3(L3.SpectralNormalization(L3.Conv2D(4, 3, activation="relu")), shape=(5, 5, 2))


def attention():
    inputs = keras3.Input((4, 6))
    layer = L3.MultiHeadAttention(2, 3)
    model = randomize(keras3.Model(inputs, layer(inputs, inputs)))
    layer._query_dense.enable_lora(2)
    layer._query_dense.lora_kernel_b.assign(RNG.normal(size=layer._query_dense.lora_kernel_b.shape))
    return model


@pytest.mark.parametrize(
    ("build", "close"),
    [
        (dense(rank=2), 1e-5),
        (dense("int8"), 0.2),  # Keras rounds the inputs too
        (dense("int8", rank=2), 0.2),
        (convolution, 1e-5),
        (spectral, 1e-5),
        (attention, 1e-5),
    ],
)
@pytest.mark.filterwarnings("ignore:layers of model")
def test_kernels_are_merged(build, close):
    model = build()
    x = RNG.normal(size=(4, *model.inputs[0].shape[1:])).astype(np.float32)
    wanted, have = (np.asarray(m(x)) for m in (model, as_tf_keras(model)))
    assert np.abs(wanted - have).max() < close


@pytest.mark.filterwarnings("ignore:layers of model")
def test_float8_is_left_out():
    model = dense()()
    x = RNG.normal(size=(4, 6)).astype(np.float32)
    wanted = np.asarray(model(x))
    model.quantize("float8")
    assert np.abs(wanted - as_tf_keras(model)(x)).max() < 1e-5


def test_an_embedding_of_bytes_is_read():
    model = chain3(L3.Embedding(9, 4), L3.Flatten(), shape=(5,))
    model.quantize("int8")
    x = RNG.integers(0, 9, (3, 5))
    with pytest.warns(UserWarning, match="embedding.* quantized by Keras"):
        twin = as_tf_keras(model)
    assert np.abs(np.asarray(model(x)) - np.asarray(twin(x))).max() < 1e-5


def test_what_cannot_be_read_is_named():
    model = chain3(L3.Dense(8, name="a"))
    model.quantize("int4")
    with pytest.raises(ModelError, match=r"a \(Dense\): it is quantized to int4 already"):
        tfxp.quantize_model(model, "w8a8")


def adapted(K, axis, shape):
    layer = K.layers.Normalization(axis=axis, name="norm")
    layer.adapt(RNG.normal(1.0, 2.0, size=(20, *shape)))
    return K.Sequential([K.Input(shape), layer, K.layers.Dense(2)])


@pytest.mark.parametrize("K", [keras, keras3], ids=["tf_keras", "keras3"])
@pytest.mark.parametrize(("axis", "shape"), [((1, 2), (5, 3)), (1, (4, 4)), ((-3, -1), (3, 2, 2))])
def test_normalization_over_other_axes(K, axis, shape):
    """Of a square tensor too, whose axes cannot be told apart by their sizes."""
    model = adapted(K, axis, shape)
    x = RNG.normal(1.0, 2.0, size=(8, *shape)).astype(np.float32)
    stats = tfxp.measure_model(model, x)
    qmodel = tfxp.quantize_model(model, "w8a8", stats)
    assert np.abs(np.asarray(qmodel(x)) - np.asarray(model(x))).max() < 0.25


def test_spectral_normalization_of_tf_keras():
    inner = layers.Conv2D(3, 3, activation="relu", name="inner")
    x = inputs = keras.Input((5, 5, 2))
    x = layers.SpectralNormalization(inner, name="sharp")(x)
    model = randomize(keras.Model(inputs, x))
    data = RNG.normal(size=(4, 5, 5, 2)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, data))
    assert np.abs(np.asarray(qmodel(data)) - model(data)).max() < 0.2
    assert "sharp" in tfxp.precision_of(qmodel).layers


def test_any_failure_names_its_layer():
    graph = LayerGraph.from_model(keras.Sequential([layers.Dense(2, input_shape=(3,), name="odd")]))
    graph.layers["odd"].config["units"] = -1
    with pytest.raises(ModelError, match=r"layer 'odd' \(Dense\): cannot be built again \("):
        graph.to_model()
    with pytest.raises(ModelError, match=r"layer 'x' \(Y\): is odd \(KeyError: 'z'\)\. Replace"):
        with naming("x", "Y", "is odd"):
            raise KeyError("z")
