"""Refusals name the layer, what it is given and what would be taken."""

import keras as keras3
import numpy as np
import pytest

import tfxp
from tfxp.errors import FormatError, ModelError, UnsupportedLayerError
from tfxp.keras import keras, layers, tf


def of(*steps, shape=(6, 6, 4), K=keras, dtype=None):
    return K.Sequential([K.Input(shape, dtype=dtype), *steps])


def functional(function, shape=(6, 6, 4)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, function(inputs))


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (lambda: functional(lambda x: layers.Dot(3, name="odd")([x, x])),
         r"odd \(Dot\): axes=3; expected tensors of rank 2 or 3, and axes behind the batch"),
        (lambda: functional(lambda x: layers.Attention(score_mode="concat", name="odd")([x, x]),
                            (5, 3)),
         r"odd \(Attention\): score_mode=concat; expected"),
        (lambda: of(layers.Rescaling(np.ones((6, 1)).tolist(), name="odd")),
         r"odd \(Rescaling\): scale=\[\[1.0\], .*; expected one number, or one per channel"),
        (lambda: of(layers.SeparableConv2D(2, 1, data_format="channels_first", name="odd")),
         r"odd \(SeparableConv2D\): data_format=channels_first; expected channels_last"),
        (lambda: of(layers.UnitNormalization(1, name="odd")), r"odd .*called with axis=1"),
        (lambda: of(layers.CenterCrop(9, 9, name="odd")), r"odd \(CenterCrop\): height=9, width=9"),
        (lambda: of(layers.LocallyConnected2D(1, 1, name="odd")), r"odd .*: Keras' layer has no "),
        (lambda: of(layers.Lambda(lambda x: x, name="odd")), r"odd \(Lambda\): code of your own"),
        (lambda: functional(lambda x: tf.pad(x, [[1, 0], [0, 0], [0, 0], [0, 0]])),
         r"TFOpLambda pad\): called with \[\[1, 0\]"),
        (lambda: functional(tf.sort), r"TFOpLambda sort\): unknown function"),
        (lambda: of(layers.Softmax([1, 2]), layers.Dense(2)), r"axis \[1, 2\]; expected -1"),
    ],
)  # fmt: skip
def test_settings_are_shown(model, text):
    with pytest.raises(UnsupportedLayerError, match=text) as caught:
        tfxp.quantize_model(model(), "w8a8")
    assert "ListWrapper" not in str(caught.value) and "another kind" not in str(caught.value)


def adapted_text(L):
    layer = L.TextVectorization(10, output_sequence_length=3, name="odd")
    layer.adapt(np.array(["a b", "b c"]))
    return [layer, L.Embedding(10, 4)]


def adapted_lookup(L):
    layer = L.IntegerLookup(name="odd")
    layer.adapt(np.array([[1], [2]]))
    return [layer]


TEXT = {
    "adapted_lookup": (adapted_lookup, "int64"),
    "text": (adapted_text, "string"),
    "string_lookup": (lambda L: [L.StringLookup(vocabulary=["a"], name="odd")], "string"),
    "integer_lookup": (lambda L: [L.IntegerLookup(vocabulary=[1, 2], name="odd")], "int64"),
    "hashing": (lambda L: [L.Hashing(5, name="odd")], "int64"),
    "categories": (lambda L: [L.CategoryEncoding(5, name="odd"), L.Dense(2)], "int64"),
    "bins": (lambda L: [L.Discretization([0.0, 1.0], name="odd"), L.Dense(2)], "float32"),
}


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("K", [keras, keras3], ids=["tf_keras", "keras3"])
def test_layers_for_text_and_categories(K, name):
    steps, dtype = TEXT[name]
    model = of(*steps(K.layers), shape=(1,), K=K, dtype=dtype)
    for call in (tfxp.quantize_model, tfxp.measure_model):
        with pytest.raises(ModelError, match=r"odd \(.*apply it to the data|odd \(.*numbers"):
            call(model, "w8a8" if call is tfxp.quantize_model else np.zeros((2, 1)))


def dense():
    return of(layers.Dense(3, name="d"), layers.BatchNormalization(name="norm"), shape=(4,))


@pytest.mark.parametrize("name", ["d/kernel", "d/bias", "norm/moving_variance"])
def test_weights_that_are_no_numbers(name):
    model, x = dense(), np.ones((8, 4), np.float32)
    stats = tfxp.measure_model(model, x)
    layer, key = name.split("/")
    variable = getattr(model.get_layer(layer), key)
    variable.assign(np.full(variable.shape, np.nan if key == "kernel" else np.inf))
    text = rf"weights of model .*: got NaN or infinity in {name} \("
    with pytest.raises(ModelError, match=text):
        tfxp.measure_model(model, x)
    with pytest.raises(ModelError, match=text):
        tfxp.quantize_model(model, "w8a8", stats)


def test_a_range_that_no_format_holds_is_named():
    model = dense()
    stats = tfxp.measure_model(model, np.full((8, 4), 1e-30))
    model.get_layer("d").kernel.assign(np.full((4, 3), 3e37))
    with pytest.raises(FormatError, match=r"range of weights of 'd': got 2.9"):
        tfxp.quantize_model(model, "w8a8", stats)


@keras.utils.register_keras_serializable("refusals")
class Mine(layers.Layer):
    """A class that another process may not know."""

    def call(self, x):
        return x


@keras3.saving.register_keras_serializable("refusals")
class Mine3(keras3.layers.Layer):
    """The same in Keras 3."""

    def call(self, x):
        return x


@pytest.mark.parametrize("suffix", [".h5", ".keras", "3.keras"])
def test_files_with_unknown_classes(tmp_path, suffix):
    """The class is named, not the model that holds it."""
    K, kind = (keras3, Mine3) if suffix == "3.keras" else (keras, Mine)
    of(K.layers.Dense(2), kind(name="odd"), shape=(3,), K=K).save(tmp_path / f"m{suffix}")
    known = K.saving.get_custom_objects()
    name = f"refusals>{kind.__name__}"
    known.pop(name)
    try:
        with pytest.raises(ModelError, match=r"got layer 'odd' \(.*Mine3?\).* custom_objects"):
            tfxp.load_model(tmp_path / f"m{suffix}")
    finally:
        known[name] = kind
