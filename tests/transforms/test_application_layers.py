"""Layers of Keras' applications: LayerScale and the scale of a CustomScaleLayer go into kernels,
StochasticDepth is a Dropout of whole images. Keras does not count them among its layers, so files
need them named."""

import numpy as np
import pytest

import tfxp
from tfxp.errors import TfxpError
from tfxp.keras import keras, keras3, layers
from tfxp.transforms.application_layers import application_layers
from tfxp.transforms.conversion.from_keras3 import as_tf_keras

BOTH = [keras, keras3(load=True)]
GAMMA = np.array([0.5, -1, 2, 0], np.float32)


def block(module):
    """A branch as in ConvNeXt, added to its input as in InceptionResNetV2."""
    own = application_layers(module)
    x = y = module.Input((6, 6, 4))
    for layer in (
        module.layers.Dense(4, name="dense"),
        own["LayerScale"](0.5, 4, name="scale"),
        own["StochasticDepth"](0.25, name="depth"),
    ):
        y = layer(y)
    y = module.layers.Conv2D(4, 1, name="conv")(y)
    model = module.Model(x, own["CustomScaleLayer"](0.5, name="sum")([x, y]))
    model.get_layer("scale").set_weights([GAMMA])
    return model


@pytest.fixture
def images(rng):
    return rng.normal(size=(16, 6, 6, 4)).astype(np.float32)


@pytest.mark.parametrize("module", BOTH)
def test_quantized_network_computes_the_same_and_exports(module, images, tmp_path):
    model = block(module)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, images))
    expected = np.asarray(model(images))
    assert np.abs(qmodel.predict(images, verbose=0) - expected).mean() < 0.06  # a step is 1/16
    kinds = [type(getattr(layer, "layer", layer)).__name__ for layer in qmodel.layers]
    assert not {"LayerScale", "CustomScaleLayer", "DepthwiseConv2D"} & set(kinds)  # in kernels
    report = tfxp.export_tflite(qmodel, tmp_path / "block.tflite")
    assert report.self_check.differing == ()


@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize("module", BOTH)
def test_files_open_without_custom_objects(module, suffix, images, tmp_path):
    model = block(module)
    model.save(tmp_path / f"block.{suffix}")
    loaded = tfxp.load_model(tmp_path / f"block.{suffix}")
    np.testing.assert_allclose(loaded(images), np.asarray(model(images)), rtol=1e-5, atol=1e-5)


def test_branches_are_left_out_in_training_only(images):
    network = as_tf_keras(block(keras))
    qmodel = tfxp.quantize_model(network, "w8a8", tfxp.measure_model(network, images))
    many = np.repeat(images[:1], 400, 0)
    kept = np.abs(qmodel(many, training=True) - many).mean((1, 2, 3)) > 0.05
    assert 0.65 < kept.mean() < 0.85  # 0.75, four deviations


def test_a_class_of_ones_own_of_that_name_is_refused(images):
    class LayerScale(layers.Layer):
        def call(self, x):
            return x + 1

    x = keras.Input((6, 6, 4))
    model = keras.Model(x, LayerScale()(layers.Dense(4)(x)))
    with pytest.raises(TfxpError, match="LayerScale"):
        tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, images))
