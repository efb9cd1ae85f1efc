"""EinsumDense as dense layers: the same outputs, weights and settings; exported exactly."""

import numpy as np
import pytest

import tfxp
from tfxp.keras import keras, layers
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.normalize.normalize import normalize

RNG = np.random.default_rng(0)
# equation, shape of a sample, output shape, axes of the bias
CASES = [
    ("abc,cd->abd", (6, 8), (None, 4), "d"),
    ("...x,xy->...y", (6, 8), 4, "y"),
    ("...x,xy->...y", (2, 3, 8), 4, None),
    ("ab,bc->ac", (8,), 5, "c"),
    ("abc,cde->abde", (6, 8), (None, 2, 3), "de"),
    ("abc,cde->abde", (6, 8), (None, 2, 3), "e"),
    ("abc,cde->abde", (6, 8), (None, 2, 3), "d"),
    ("abc,ced->abde", (6, 8), (None, 3, 2), "de"),
    ("abde,dec->abc", (6, 2, 4), (None, 5), "c"),
    ("abde,edc->abc", (6, 2, 4), (None, 5), "c"),
    ("abc,bd->adc", (6, 8), (4, 8), "d"),
    ("abc,cd->adb", (6, 8), (4, 6), "d"),
    ("abcd,dce->abe", (3, 4, 5), (3, 7), "e"),
    ("abc,bce->ae", (6, 4), 3, "e"),
]
OTHERS = [("abc,bc->abc", (6, 8), (6, 8), None), ("abc,bcd->abd", (6, 8), (6, 4), None),
          ("abc,cd->abd", (6, 8), (6, 4), "bd")]  # fmt: skip


def network(equation, shape, output, bias, **settings):
    """One layer, between an input and a ReLU, with weights that are all different."""
    keras.utils.set_random_seed(0)
    x = layers.Input(shape)
    y = layers.EinsumDense(equation, output, bias_axes=bias, name="einsum", **settings)(x)
    model = keras.Model(x, layers.ReLU()(y))
    for weight in model.weights:
        weight.assign(RNG.normal(size=weight.shape))
    return model, RNG.normal(size=(16, *shape)).astype("float32")


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_products_with_a_matrix_become_dense(case):
    model, x = network(*case)
    rewritten = normalize(LayerGraph.from_model(model)).to_model()
    assert "Dense" in kinds(rewritten) and "EinsumDense" not in kinds(rewritten)
    assert type(rewritten.get_layer("einsum")).__name__ == "Dense"
    np.testing.assert_allclose(rewritten(x), model(x), atol=1e-5)


@pytest.mark.parametrize("case", OTHERS, ids=str)
def test_others_stay(case):
    model, _ = network(*case)
    assert "EinsumDense" in kinds(normalize(LayerGraph.from_model(model)).to_model())


def test_sizes_that_are_open():
    x = layers.Input((None, 8))
    y = layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de")(x)
    model = keras.Model(x, layers.Reshape((-1, 6))(y))
    rewritten = normalize(LayerGraph.from_model(model)).to_model()
    for steps in (3, 7):
        rows = RNG.normal(size=(2, steps, 8)).astype("float32")
        np.testing.assert_allclose(rewritten(rows), model(rows), atol=1e-5)


def test_a_shared_layer_serves_all_its_calls_and_settings_are_carried():
    shared = layers.EinsumDense(
        "abc,cde->abde", (None, 2, 3), bias_axes="de", kernel_regularizer="l2", name="shared"
    )
    a, b = layers.Input((4, 8)), layers.Input((6, 8))
    model = keras.Model([a, b], [layers.Flatten()(shared(a)), layers.Flatten()(shared(b))])
    rewritten = normalize(LayerGraph.from_model(model)).to_model()
    rows = [RNG.normal(size=(3, n, 8)).astype("float32") for n in (4, 6)]
    for mine, wanted in zip(rewritten(rows), model(rows), strict=True):
        np.testing.assert_allclose(mine, wanted, atol=1e-5)
    assert kinds(rewritten).count("Dense") == 1
    np.testing.assert_allclose(sum(rewritten.losses), sum(model.losses), rtol=1e-5)


def test_exported_as_an_output_under_its_own_name(tmp_path):
    x = layers.Input((6, 8))
    y = layers.EinsumDense("abc,cd->adb", (4, 6), bias_axes="d", activation="relu", name="last")(x)
    model, rows = keras.Model(x, y), RNG.normal(size=(64, 6, 8)).astype("float32")
    quantized = tfxp.quantize_model(model, "w8a8c", tfxp.measure_model(model, rows))
    report = tfxp.export_tflite(quantized, tmp_path / "e.tflite", verify=rows)
    assert report.verification.exact and quantized.output_names == ["last"]
