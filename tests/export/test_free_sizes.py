"""Networks for inputs of any size: Keras and the file agree on each, or the export says why not."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRt

import tfxp
from tests.cases import randomize
from tfxp.errors import ExportError, UnsupportedOpError
from tfxp.keras import keras, layers

NETWORKS = {}


def network(build):
    NETWORKS[build.__name__] = build
    return build


@network
def image():
    x = inputs = keras.Input((None, None, 2))
    x = layers.AveragePooling2D(3, 2, padding="same", name="borders")(x)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="mean")(x))


@network
def encoder():
    x = inputs = keras.Input((None, 4), name="tokens")
    x = x + layers.MultiHeadAttention(2, 2, name="mha")(x, x)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.Dense(4, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


@network
def sequence():
    x = inputs = keras.Input((None, 2))
    x = layers.Conv1D(3, 3, padding="causal", activation="relu")(x)
    x = layers.AveragePooling1D(3, 2, padding="same")(x)
    x = layers.SeparableConv1D(4, 3, padding="causal", activation="sigmoid")(x)
    x = layers.Concatenate()([x, layers.Softmax()(x)])
    return keras.Model(inputs, layers.Reshape((-1, 2, 4))(x[:, 1:]))


@network
def folded():
    x = inputs = keras.Input((None, 3))
    x = layers.Dense(3)(layers.BatchNormalization()(layers.ReLU()(x)))
    return keras.Model(inputs, layers.PReLU(shared_axes=[1])(x))


def litert(path, codes):
    """A file's outputs, sample by sample."""
    engine, rows = LiteRt(model_path=str(path)), []
    for row in codes:
        engine.resize_tensor_input(engine.get_input_details()[0]["index"], (1, *row.shape))
        engine.allocate_tensors()
        engine.set_tensor(engine.get_input_details()[0]["index"], row[None])
        engine.invoke()
        rows.append(engine.get_tensor(engine.get_output_details()[0]["index"]))
    return np.concatenate(rows)


@pytest.mark.parametrize(
    ("name", "precision"),
    [("image", "w4a4"), ("encoder", "w8a8"), ("sequence", "w4a4"), ("folded", "w8a8")],
)
def test_every_size_is_exact(name, precision, tmp_path):
    model, rng = randomize(NETWORKS[name]()), np.random.default_rng(0)
    rank = len(model.input_shape) - 2
    sizes = [(9, 7)[:rank], (4, 6)[:rank], (14, 28)[:rank]]
    data = [rng.normal(size=(6, *s, model.input_shape[-1])).astype(np.float32) for s in sizes]
    qmodel = tfxp.quantize_model(model, precision, tfxp.measure_model(model, data[0]))
    notes = tfxp.export_tflite(qmodel, tmp_path / "net.tflite").notes
    assert all("sums of any number" in note for note in notes)
    graph = tfxp.read_tflite(tmp_path / "net.tflite")
    first, last = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    assert first.shape_signature[1:-1] == (-1,) * rank
    for x in data:
        codes = np.rint(x / first.scale) + first.zero_point
        got = litert(tmp_path / "net.tflite", np.clip(codes, -128, 127).astype(np.int8))
        want = np.rint(np.asarray(qmodel(x)) / last.scale) + last.zero_point
        assert got.shape == want.shape and np.array_equal(got, want), x.shape


def test_saved_models_know_borders_of_any_size(tmp_path):
    model, rng = randomize(image()), np.random.default_rng(0)
    x = rng.normal(size=(4, 5, 8, 2)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    qmodel.save(tmp_path / "net.keras")
    assert np.array_equal(tfxp.load_model(tmp_path / "net.keras")(x), qmodel(x))


@pytest.mark.parametrize(
    "layer",
    [layers.UpSampling2D(2, name="bad"), layers.Conv2DTranspose(2, 3, strides=2, name="bad")],
    ids=["UpSampling2D", "Conv2DTranspose"],
)
def test_operators_that_state_sizes_are_refused(layer):
    inputs = keras.Input((None, 8, 2), name="photo")
    x = layers.Conv2D(2, 3, padding="same")(inputs)
    model = randomize(keras.Model(inputs, layer(x)))
    qmodel = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.7", "Q3.4"))
    with pytest.raises(ExportError, match=r"bad .*size.*'photo'.* \(\.\.\., 8, 2,\).*weights"):
        tfxp.export_tflite(qmodel, "never.tflite")


def test_an_axis_beside_two_open_sizes_is_refused():
    """RESHAPE works out one size of its output, not two."""
    inputs = keras.Input((None, None, 2))
    x = layers.Conv2D(2, 1)(inputs)
    model = randomize(keras.Model(inputs, layers.Dense(2)(x[:, None, :, ::2])))
    qmodel = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.7", "Q3.4"))
    with pytest.raises(ExportError, match="the size of its output is unknown"):
        tfxp.export_tflite(qmodel, "never.tflite")


def test_programs_with_static_memory_refuse_open_sizes(tmp_path):
    from tfxp.csource import write_c_source

    model = randomize(sequence())
    qmodel = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.7", "Q3.4"))
    tfxp.export_tflite(qmodel, tmp_path / "net.tflite")
    graph = tfxp.read_tflite(tmp_path / "net.tflite")
    with pytest.raises(UnsupportedOpError, match="sizes of inputs.*open ones"):
        write_c_source(graph, tmp_path / "c")
