"""What only training knows survives quantization, or one warning names it."""

import warnings

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tfxp.errors import ModelError
from tfxp.keras import keras, layers, tf
from tfxp.quantization import quantize_model
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.normalize.normalize import normalize

L2, L1 = keras.regularizers.L2(0.1), keras.regularizers.L1(0.1)
MIXED = keras.regularizers.L1L2(0.01, 0.1)
NEVER_NEGATIVE = keras.constraints.NonNeg()
FINE = tfxp.PrecisionMap.uniform("Q3.12", "Q7.14")


@keras.utils.register_keras_serializable("wild")
class Spread(keras.regularizers.Regularizer):
    def __call__(self, x):
        return tf.reduce_sum(tf.math.reduce_variance(x, axis=-1))

    def get_config(self):
        return {}


def quantized(model, precision=FINE, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="training settings")
        return quantize_model(model, precision, **options)


def sequential(shape, *parts):
    return randomize(keras.Sequential([keras.Input(shape), *parts]))


def attention(**options):
    x = keras.Input((5, 4))
    return randomize(keras.Model(x, layers.MultiHeadAttention(2, 4, name="mha", **options)(x, x)))


CASES = {
    "separable": lambda: sequential((8, 8, 2), layers.SeparableConv2D(
        4, 3, depthwise_regularizer=MIXED, pointwise_regularizer=L2, bias_regularizer=L1,
        activity_regularizer=L2, activation="relu")),
    "causal": lambda: sequential((8, 2), layers.SeparableConv1D(
        4, 3, padding="causal", depthwise_regularizer=L2, pointwise_regularizer=L1)),
    "normalization": lambda: sequential((5, 3), layers.LayerNormalization(
        gamma_regularizer=MIXED, beta_regularizer=L2, activity_regularizer=L2)),
    "attention": lambda: attention(kernel_regularizer=MIXED, bias_regularizer=L2),
    "closed": lambda: sequential((8,), layers.Dense(
        4, activation="relu", activity_regularizer=L1), layers.Dense(2)),
    "softmax": lambda: sequential((8,), layers.Dense(
        4, activation="softmax", activity_regularizer=Spread())),
    "table": lambda: sequential((8,), layers.Dense(
        4, activation="tanh", activity_regularizer=Spread())),
    "apart": lambda: sequential((8,), layers.Dense(
        4, activation="swish", activity_regularizer=L2)),
    "relu layer": lambda: sequential((8,), layers.Dense(4), layers.ReLU(activity_regularizer=L2)),
    "pool": lambda: sequential((8, 8, 2), layers.MaxPooling2D(activity_regularizer=L2)),
    "regularized, normalized": lambda: sequential(
        (8, 8, 2), layers.Conv2D(3, 3, activity_regularizer=L2), layers.BatchNormalization()),
    "folded": lambda: sequential(
        (8, 8, 2), layers.Conv2D(3, 3), layers.BatchNormalization(activity_regularizer=L2)),
    "recurrent": lambda: sequential((5, 3), layers.LSTM(
        4, kernel_regularizer=L2, activity_regularizer=L2)),
    "embedding": lambda: keras.Sequential([keras.Input((5,), dtype="int32"), layers.Embedding(
        10, 4, embeddings_regularizer=L2, activity_regularizer=L2)]),
    "activation layer": lambda: sequential((8,), layers.Dense(
        4, activation=layers.PReLU(alpha_regularizer=L2), kernel_regularizer=L1)),
    "layer": lambda: sequential((8,), layers.Dense(4), layers.ActivityRegularization(l2=0.1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_penalties_stay_the_same(name, tmp_path):
    model = CASES[name]()
    shape = (6, *model.input_shape[1:])
    x = np.random.default_rng(0).integers(0, 9, shape).astype(np.float32) / 4
    qmodel = quantized(model)
    model(x), qmodel(x)
    want, have = float(sum(model.losses)), float(sum(qmodel.losses))
    assert want > 1e-3 and abs(have - want) < 0.01 * want
    for layer in model.layers:
        layer.trainable = False
    assert not quantized(model).trainable_weights
    qmodel.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras", compile=False)
    again(x)
    assert float(sum(again.losses)) == pytest.approx(have, rel=1e-6)


def test_penalties_are_trained_on():
    model = sequential((8,), layers.Dense(4, activation="relu", activity_regularizer=L1))
    qmodel = quantized(model)
    qmodel.compile(keras.optimizers.SGD(0.1), "mse")
    x = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    before = np.abs(qmodel.predict(x, verbose=0)).sum()
    assert qmodel.evaluate(x, qmodel(x), verbose=0) > 0.01  # all of it is the penalty
    qmodel.fit(x, qmodel(x), epochs=3, verbose=0)
    assert np.abs(qmodel.predict(x, verbose=0)).sum() < before


def test_constraints_go_with_their_weights():
    model = sequential((8, 8, 2), layers.SeparableConv2D(
        4, 3, name="s", pointwise_constraint=keras.constraints.MaxNorm(2),
        depthwise_constraint=NEVER_NEGATIVE))  # fmt: skip
    qmodel = quantized(model)
    assert isinstance(qmodel.get_layer("s").layer.kernel.constraint, keras.constraints.MaxNorm)
    depthwise = qmodel.get_layer("s_depthwise").layer.depthwise_kernel
    assert isinstance(depthwise.constraint, keras.constraints.NonNeg)
    query = quantized(attention(kernel_constraint=NEVER_NEGATIVE)).get_layer("mha_query").layer
    assert isinstance(query.kernel.constraint, keras.constraints.NonNeg)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: sequential((8, 8, 2), layers.Conv2D(3, 3, name="conv"), layers.BatchNormalization(
            gamma_regularizer=L2, beta_constraint=NEVER_NEGATIVE, name="norm")),
         ["gamma_regularizer of 'norm'", "beta_constraint of 'norm'", "fold_batch_norm=False"]),
        (lambda: sequential((8, 8, 2), layers.Conv2D(
            3, 3, name="conv", kernel_constraint=keras.constraints.UnitNorm()),
            layers.BatchNormalization(name="norm")),
         ["kernel_constraint of 'conv'"]),
        (lambda: sequential((8, 8, 2), layers.Conv2D(3, 3, trainable=False, name="conv"),
            layers.BatchNormalization(name="norm")),
         ["training of 'norm'"]),
        (lambda: attention(kernel_constraint=keras.constraints.MaxNorm(2)),
         ["kernel_constraint of 'mha'"]),
        (lambda: attention(activity_regularizer=L2), ["activity_regularizer", "'mha'"]),
        (lambda: attention(kernel_regularizer=Spread()), ["kernel_regularizer of 'mha'"]),
    ],
    ids=["folded", "rescaled", "frozen", "reshaped", "projections", "unknown"],
)  # fmt: skip
def test_one_warning_names_what_is_left_behind(model, words):
    with pytest.warns(UserWarning, match="training settings of model") as caught:
        tfxp.quantize_model(model(), FINE)
    (text,) = [str(w.message) for w in caught if "training settings" in str(w.message)]
    assert all(word in text for word in words)


def test_numbers_that_no_training_changed_stay_fixed():
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Rescaling(0.5, 0.25)(x)
    x = layers.ReLU()(x)
    model = keras.Model(inputs, x)
    assert not quantized(model).trainable_weights
    table = layers.Embedding(6, 2, trainable=False)
    y = inputs = keras.Input((6, 2))
    model = keras.Model(inputs, y + table(tf.range(6)))
    assert not quantized(model).trainable_weights


@pytest.mark.parametrize("part", ["forward_layer", "backward_layer"])
def test_parts_of_layers_stay_frozen_and_weights_in_their_places(part):
    model = sequential((5, 3), layers.Bidirectional(layers.LSTM(2), name="both"))
    getattr(model.get_layer("both"), part).trainable = False
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    again = LayerGraph.from_model(model).to_model()
    assert np.array_equal(again(x), model(x))
    assert not getattr(again.get_layer("both"), part).trainable
    assert len(quantized(model).trainable_weights) == len(model.trainable_weights) == 3
    model = attention()
    model.get_layer("mha")._query_dense.trainable = False
    assert len(normalize(LayerGraph.from_model(model)).to_model().trainable_weights) == 6


def test_what_is_unwrapped_keeps_its_settings():
    options = {"kernel_regularizer": L2, "trainable": False, "activation": "relu"}
    x = inputs = keras.Input((5, 3))
    x = layers.TimeDistributed(layers.Dense(4, **options), name="steps")(x)
    inner = layers.Dense(2, **options, activity_regularizer=L2)
    model = randomize(keras.Model(inputs, layers.SpectralNormalization(inner)(x)))
    qmodel, x = quantized(model), np.random.default_rng(0).normal(size=(4, 5, 3))
    model(x), qmodel(x)
    assert len(model.losses) == len(qmodel.losses) == 3 and not qmodel.trainable_weights
    assert float(sum(qmodel.losses)) == pytest.approx(float(sum(model.losses)), rel=0.01)


def test_frozen_models_freeze_their_layers():
    x = keras.Input((3,))
    inner = keras.Model(x, layers.Dense(3, name="second")(layers.Dense(3, name="first")(x)))
    inner.trainable = False
    inner.get_layer("second").trainable = True  # of no effect inside a frozen model
    model = keras.Model(x, layers.Dense(2, name="head")(inner(x)))
    assert len(model.trainable_weights) == len(quantized(model).trainable_weights) == 2
    both = keras.Model(x, inner.get_layer("second")(inner(x)))
    assert len(both.trainable_weights) == len(quantized(both).trainable_weights) == 2
    model.trainable = False
    model.get_layer("head").trainable = True
    assert len(model.trainable_weights) == len(quantized(model).trainable_weights) == 0


def test_losses_that_are_functions_are_named():
    model = sequential((3,), layers.Dense(2, name="scores", kernel_regularizer=L2))
    dense = model.get_layer("scores")
    dense.add_loss(lambda: tf.reduce_sum(dense.kernel**2))
    with pytest.warns(UserWarning, match="a function as a loss of 'scores'"):
        tfxp.quantize_model(model, FINE)
    model = sequential((3,), layers.Dense(2))
    model.add_loss(lambda: tf.reduce_sum(model.layers[0].kernel ** 2))
    with pytest.warns(UserWarning, match="a function as a loss of 'sequential"):
        tfxp.quantize_model(model, FINE)


def autoencoder():
    x = inputs = keras.Input((6,))
    mean = layers.Dense(3, name="mean")(x)
    model = keras.Model(inputs, layers.Dense(6, activation="relu", name="back")(mean))
    model.add_loss(10.0 + tf.reduce_mean(mean**2))
    model.add_loss(tf.reduce_mean(layers.Dense(1, name="judge")(layers.ReLU()(mean)) ** 2))
    model.add_metric(tf.reduce_max(mean), name="largest", aggregation="mean")
    return randomize(model)


def test_added_losses_and_metrics(tmp_path):
    model, x = autoencoder(), np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    qmodel = quantized(model)
    model.compile("sgd", "mse"), qmodel.compile("sgd", "mse")
    want = model.evaluate(x, x, verbose=0, return_dict=True)
    have = qmodel.evaluate(x, x, verbose=0, return_dict=True)
    assert want["loss"] > 10 and set(want) == set(have) == {"loss", "largest"}
    assert all(abs(have[key] - want[key]) < 1e-2 for key in want)
    qmodel.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras", compile=False)
    again.compile("sgd", "mse")
    assert again.evaluate(x, x, verbose=0, return_dict=True) == pytest.approx(have)
    qmodel.fit(x, x, verbose=0)
    assert tfxp.precision_of(qmodel).layers.keys() == {model.inputs[0].name, "mean", "back"}
    assert np.array_equal(tfxp.quantize_model(qmodel, FINE)(x), qmodel(x))


def test_losses_on_layers_of_the_network_are_named():
    x = inputs = keras.Input((3,))
    dense = layers.Dense(3, activation="relu", name="twice")
    model = keras.Model(inputs, dense(x))
    model.add_loss(tf.reduce_mean(dense(dense(x)) ** 2))
    with pytest.warns(UserWarning, match="a loss or metric with calls of its own of 'twice'"):
        tfxp.quantize_model(model, FINE)


class Distilled(keras.Model):
    """Steps, a metric and a setting of the user's own."""

    def __init__(self, *args, weight=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.weight = weight
        self.tracker = keras.metrics.Mean("tracked")

    def train_step(self, data):
        self.tracker.update_state(self.weight)
        return {**super().train_step(data), "tracked": self.tracker.result()}


def test_the_class_of_a_functional_model_is_kept():
    x = keras.Input((3,))
    model = Distilled(x, layers.Dense(2, activation="relu", name="head")(x), weight=4.0)
    qmodel = quantized(model)
    assert type(qmodel) is Distilled and qmodel.output_names == ["head"]
    qmodel.compile("sgd", "mse")
    history = qmodel.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0).history
    assert history["tracked"] == [4.0]
    assert type(tfxp.strip(qmodel)) is Distilled


class Steps(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


class Twice(keras.Model):
    def call(self, x, training=None, mask=None):
        return 2 * super().call(x, training, mask)


def test_classes_that_cannot_be_kept_are_named():
    model = Steps([keras.Input((3,)), layers.Dense(2)])
    with pytest.warns(UserWarning, match="train_step of class Steps"):
        tfxp.quantize_model(model, FINE)
    x = keras.Input((3,))
    with pytest.raises(ModelError, match="Twice with a call of its own"):
        tfxp.quantize_model(Twice(x, layers.Dense(2)(x)), FINE)
