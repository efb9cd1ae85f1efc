"""Quantized models of Keras 3: codes and gradients of tf_keras, saved, trained, brought back."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfxp
from tfxp.errors import ModelError
from tfxp.keras import keras as keras2
from tfxp.keras import keras3, layers
from tfxp.quantization import BackwardSettings

K = keras3(load=True)
ROUNDINGS = ("half_even", "half_up", "half_away", "floor")


def image(*stack, shape=(8, 8, 3)):
    """A network of layers behind one convolution."""
    first = layers.Conv2D(4, 3, padding="same", input_shape=shape)
    return keras2.Sequential([first, *stack])


def sequence(*stack):
    first = layers.Conv1D(4, 3, padding="causal", activation="relu", input_shape=(12, 3))
    return keras2.Sequential([first, *stack])


def joined(join):
    """Two convolutions of one input, joined."""
    source = layers.Input((8, 8, 3))
    one = layers.Conv2D(4, 3, padding="same", activation="relu")(source)
    other = layers.Conv2D(4, 1, name="other")(source)
    return keras2.Model(source, layers.Conv2D(2, 1)(join([one, other])))


NETWORKS = {
    "dense": lambda: keras2.Sequential([layers.Dense(5, activation="relu", input_shape=(6,)),
                                        layers.Dense(3, use_bias=False)]),
    "conv_2d": lambda: image(layers.ReLU(), layers.Conv2D(3, 3, strides=2, use_bias=False)),
    "conv_1d": lambda: sequence(layers.Conv1D(3, 3, strides=2)),
    "depthwise": lambda: image(layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu")),
    "batch_norm": lambda: image(layers.BatchNormalization(), layers.ReLU(6.0)),
    "activations": lambda: image(layers.Activation("relu"), layers.Conv2D(3, 1),
                                 layers.Activation("linear"), layers.Flatten(),
                                 layers.Dense(4, activation="softmax")),
    "add": lambda: joined(layers.Add()),
    "concatenate": lambda: joined(layers.Concatenate()),
    "max_pool": lambda: image(layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(3)),
    "average_pool": lambda: image(layers.AveragePooling2D(3, 2, padding="same")),
    "mean": lambda: image(layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(3)),
    "odd_mean": lambda: image(layers.ReLU(), layers.Conv2D(4, 2),
                              layers.GlobalAveragePooling2D()),
    "pools_1d": lambda: sequence(layers.MaxPooling1D(2), layers.AveragePooling1D(2),
                                 layers.GlobalAveragePooling1D()),
    "moves": lambda: image(layers.ZeroPadding2D(1), layers.Dropout(0.5), layers.Reshape((100, 4)),
                           layers.GlobalMaxPooling1D()),
}  # fmt: skip


def made(name, precision="w4a4", **settings):
    """A quantized network with random weights, its Keras 3 twin, and inputs of which some clip."""
    keras2.utils.set_random_seed(7)
    draws = np.random.default_rng(7)
    model = NETWORKS[name]()
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([draws.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
        elif getattr(layer, "use_bias", False):
            *kernels, bias = layer.get_weights()
            layer.set_weights([*kernels, draws.normal(size=bias.shape) / 4])
    x = draws.normal(size=(16, *model.input_shape[1:])).astype("float32")
    qmodel = tfxp.quantize_model(model, precision, tfxp.measure_model(model, x), **settings)
    return qmodel, tfxp.keras3.native_model(qmodel), 1.5 * x


def gradients(model, x, loss_weights):
    """Of a weighted sum of the outputs, by each trainable weight and by the input."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(model(x, training=False) * loss_weights)
    return [np.asarray(g) for g in tape.gradient(loss, [*model_variables(model), x])]


def model_variables(model):
    """tf.Variables of the trainable weights in either framework."""
    return [v if isinstance(v, tf.Variable) else v._value for v in model.trainable_variables]


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_equal_bit_for_bit(name):
    qmodel, native, x = made(name)
    wanted = np.asarray(qmodel(x))
    assert np.ptp(wanted) > 0.01
    np.testing.assert_array_equal(native(x), wanted)
    assert [v.name for v in native.layers] == [v.name for v in qmodel.layers]


@pytest.mark.parametrize(
    ("rounding", "bits"),
    [
        *((rounding, "w4a4") for rounding in ROUNDINGS),
        *((rounding, "w4a12") for rounding in ("half_up", "half_away", "engine")),
    ],
)
def test_every_rounding(rounding, bits):
    precision = dataclasses.replace(tfxp.PrecisionMap.parse(bits), rounding=rounding)
    qmodel, native, x = made("conv_2d", precision)
    np.testing.assert_array_equal(native(x), np.asarray(qmodel(x)))


@pytest.mark.parametrize("name", ["depthwise", "add", "average_pool", "mean"])
def test_gradients_are_straight_through_alike(name):
    qmodel, native, x = made(name)
    weights = np.random.default_rng(1).normal(size=native(x).shape).astype("float32")
    for one, other in zip(
        gradients(qmodel, x, weights), gradients(native, x, weights), strict=True
    ):
        assert np.abs(one).max() > 0
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(one).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conv_2d", "average_pool", "odd_mean"])
@pytest.mark.parametrize("compiled", [False, True])
def test_graphs_and_xla_compute_the_same_codes(name, compiled):
    qmodel, native, x = made(name)
    native.compile("sgd", "mse", jit_compile=compiled)
    np.testing.assert_array_equal(native.predict(x, verbose=0), np.asarray(qmodel(x)))
    assert native.jit_compile == compiled


def test_frozen_layers_and_regularizers_stay():
    source = layers.Input((6,))
    hidden = layers.Dense(5, name="frozen", trainable=False)(source)
    model = keras2.Model(source, layers.Dense(3, name="moves", kernel_regularizer="l2")(hidden))
    x = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
    native = tfxp.keras3.native_model(
        tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x))
    )
    frozen, moves = (native.get_layer(name).layer for name in ("frozen", "moves"))
    before = [np.asarray(layer.kernel) for layer in (frozen, moves)]
    assert len(native.losses) == 1
    native.compile(K.optimizers.SGD(0.1), "mse", jit_compile=False)
    native.fit(x, np.ones((16, 3)), epochs=1, verbose=0)
    np.testing.assert_array_equal(frozen.kernel, before[0])
    assert not np.array_equal(moves.kernel, before[1])


@pytest.mark.parametrize("gradient", ["zero", "pass"])
def test_saturated_elements_pass_gradients_as_asked(gradient):
    backward = BackwardSettings(weight_saturation=gradient, activation_saturation=gradient)
    qmodel, native, x = made("dense", "w2a2", backward=backward)
    weights = np.ones(native(x).shape, "float32")
    for one, other in zip(
        gradients(qmodel, 4 * x, weights), gradients(native, 4 * x, weights), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_training_of_keras_3_ends_in_the_same_file(tmp_path):
    """fit with Keras 3's optimizer, metric and callback; saved, loaded, brought back, exported."""
    qmodel, native, x = made("odd_mean")
    y = np.random.default_rng(3).integers(4, size=len(x))
    loss = K.losses.SparseCategoricalCrossentropy(from_logits=True)
    native.compile(K.optimizers.Adam(1e-2), loss, metrics=[K.metrics.SparseCategoricalAccuracy()])
    before = native(x)
    path = tmp_path / "best.keras"
    saves = K.callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True)
    history = native.fit(x, y, epochs=3, verbose=0, callbacks=[saves])
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert not np.array_equal(native(x), before)
    native.save(tmp_path / "last.keras")
    loaded = K.saving.load_model(tmp_path / "last.keras")
    np.testing.assert_array_equal(loaded(x), native(x))

    tfxp.keras3.return_weights(loaded, qmodel)
    np.testing.assert_array_equal(qmodel(x), native(x))
    tfxp.export_tflite(qmodel, tmp_path / "net.tflite")
    found = tfxp.Interpreter(tmp_path / "net.tflite").predict(x)
    np.testing.assert_array_equal(found, native(x))


def test_refusals_name_layers_and_the_way_out():
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    odd = image(layers.LeakyReLU(name="leaky"), layers.UpSampling2D(2, name="larger"))
    qmodel = tfxp.quantize_model(odd, "w4a4", tfxp.measure_model(odd, x))
    with pytest.raises(ModelError, match=r"leaky .*larger .*tfxp.strip\(qmodel, keras=3\)"):
        tfxp.keras3.native_model(qmodel)
    normal = image(layers.BatchNormalization(name="norm"))
    kept = tfxp.quantize_model(normal, "w4a4", tfxp.measure_model(normal, x), fold_batch_norm=False)
    with pytest.raises(ModelError, match="norm .*fold_batch_norm=True"):
        tfxp.keras3.native_model(kept)
    dense = NETWORKS["dense"]()
    fixed = tfxp.PrecisionMap.uniform("Q0.3", "Q2.5")
    drawn = dataclasses.replace(fixed, rounding="stochastic")
    with pytest.raises(ModelError, match="dense.*WeightQuantizer as it is set"):
        tfxp.keras3.native_model(tfxp.quantize_model(dense, drawn))


def test_weights_return_to_the_model_that_they_came_from_only():
    qmodel, native, x = made("dense", "w4a4")
    before = np.asarray(qmodel(x))
    formats = tfxp.precision_of(qmodel)
    tfxp.set_precision(qmodel, tfxp.PrecisionMap.uniform("Q0.4", "Q2.2"))
    with pytest.raises(ModelError, match="another format.*nothing was copied"):
        tfxp.keras3.return_weights(native, qmodel)
    tfxp.set_precision(qmodel, formats)
    with pytest.raises(ModelError, match="is missing"):
        tfxp.keras3.return_weights(native, made("conv_2d")[0])
    first = next(layer for layer in native.layers if layer.trainable_variables)
    first.layer.kernel.assign(np.full(first.layer.kernel.shape, np.nan))
    with pytest.raises(ModelError, match="NaN"):
        tfxp.keras3.return_weights(native, qmodel)
    np.testing.assert_array_equal(qmodel(x), before)
