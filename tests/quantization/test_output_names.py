"""Outputs keep the user's names, whatever layers they come from after quantization."""

import numpy as np
import pytest

import tfxp
from tfxp.keras import keras, layers
from tfxp.transforms.layer_graph import LayerGraph

LOSS = {
    "age": "mse", "sex": "binary_crossentropy", "race": "sparse_categorical_crossentropy",
    "size": "mse", "again": "mse",
}  # fmt: skip
NAMES = list(LOSS)
PMAP = "w8a8"


def build(form):
    inputs = keras.Input((12,), name="face")
    x = layers.Dense(8, activation="relu", name="body")(inputs)
    outputs = [
        layers.Dense(1, activation="relu", name="age")(x),  # closed
        layers.Dense(1, activation="sigmoid", name="sex")(x),  # a table
        layers.Dense(4, activation="softmax", name="race")(x),  # float
        layers.BatchNormalization(name="size")(layers.Dense(1, name="width")(x)),  # folded
        layers.Activation("swish", name="again")(layers.Dense(1, name="more")(x)),  # taken apart
    ]
    named = dict(zip(NAMES, outputs, strict=True))
    return keras.Model(inputs, outputs if form == "list" else named)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 12)).astype(np.float32)
    targets = {name: rng.normal(size=(32, 1)).astype(np.float32) for name in NAMES}
    targets["sex"], targets["race"] = targets["sex"] > 0, rng.integers(0, 4, 32)
    return x, {name: np.asarray(value, np.float32) for name, value in targets.items()}


@pytest.fixture(scope="module", params=["list", "dict"])
def setting(request, data):
    model = build(request.param)
    return model, tfxp.quantize_model(model, PMAP, tfxp.measure_model(model, data[0]))


def test_losses_metrics_and_monitors_go_by_name(setting, data):
    model, qmodel = setting
    assert qmodel.output_names == model.output_names
    qmodel.compile("sgd", LOSS, metrics={"age": "mae"})
    stop = keras.callbacks.EarlyStopping("age_mae", patience=3)
    history = qmodel.fit(*data, verbose=0, callbacks=[stop]).history
    assert {"age_mae", "race_loss", "size_loss", "again_loss"} <= set(history)
    assert "race_loss" in qmodel.evaluate(*data, verbose=0, return_dict=True)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_files_keep_the_names(tmp_path, suffix):
    inputs = keras.Input((3,))
    heads = {"sex": "sigmoid", "age": "relu"}
    parts = [layers.Dense(2, activation=f, name=name)(inputs) for name, f in heads.items()]
    model = keras.Model(inputs, parts)
    qmodel = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.7", "Q3.4"))
    path, x = tmp_path / f"net{suffix}", np.random.default_rng(0).normal(size=(9, 3))
    qmodel.save(path)
    again = keras.models.load_model(path, compile=False)
    assert again.output_names == qmodel.output_names == ["sex", "age"]
    for ours, theirs in zip(again(x), qmodel(x), strict=True):
        assert np.array_equal(ours, theirs)
    assert tfxp.load_model(path).output_names == ["sex", "age"]


def test_the_file_s_signature_has_the_names(setting, tmp_path):
    _, qmodel = setting
    tfxp.export_tflite(qmodel, tmp_path / "net.tflite")
    runner = tfxp.Interpreter(tmp_path / "net.tflite")
    signature = runner.get_signature_list()["serving_default"]
    assert signature == {"inputs": ["face"], "outputs": sorted(NAMES)}


def test_quantized_anew_and_stripped(setting):
    model, qmodel = setting
    again = tfxp.quantize_model(qmodel, tfxp.precision_of(qmodel))
    assert again.output_names == model.output_names
    plain = tfxp.strip(qmodel)
    assert plain.output_names == model.output_names
    assert plain.get_layer("sex").activation is keras.activations.sigmoid
    assert type(plain) is type(model)


def test_shared_outputs_and_the_same_tensor_twice(tmp_path):
    inputs = keras.Input((3,), name="x")
    head = layers.Dense(2, activation="relu", name="head")
    one, two = head(inputs), head(layers.Dense(3, name="first")(inputs))
    model = keras.Model(inputs, [one, two, one])
    pmap = tfxp.PrecisionMap.uniform("Q0.7", "Q3.4")
    qmodel = tfxp.quantize_model(model, pmap)
    assert qmodel.output_names == model.output_names == ["head", "head_1", "head_2"]
    tfxp.export_tflite(qmodel, tmp_path / "net.tflite")
    signature = tfxp.Interpreter(tmp_path / "net.tflite").get_signature_list()["serving_default"]
    assert signature["outputs"] == ["head", "head_1", "head_2"]


def test_keys_of_a_dict_name_the_file_s_outputs(tmp_path):
    inputs = keras.Input((3,), name="x")
    parts = [layers.Dense(1, activation="relu", name=f"d{i}")(inputs) for i in range(2)]
    model = keras.Model(inputs, {"second": parts[1], "first": parts[0]})
    qmodel = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.7", "Q3.4"))
    assert qmodel.output_names == model.output_names == ["d0", "d1"]
    tfxp.export_tflite(qmodel, tmp_path / "net.tflite")
    file = tfxp.Interpreter(tmp_path / "net.tflite")
    assert file.get_signature_list()["serving_default"]["outputs"] == ["first", "second"]


def test_nested_outputs_keep_their_structure():
    inputs = keras.Input((3,))
    parts = [layers.Dense(1, activation="relu", name=f"d{i}")(inputs) for i in range(3)]
    model = keras.Model(inputs, {"a": parts[0], "b": [parts[1], parts[2]]})
    again = LayerGraph.from_model(model).to_model()
    ours, theirs = again(np.ones((1, 3))), model(np.ones((1, 3)))
    assert list(ours) == list(theirs) and len(ours["b"]) == 2
    assert again.output_names == model.output_names
