"""Gradient statistics of a fit against gradients taken apart from it; gains; Jacobians."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfxp.assign import SakrAssigner, TrainingStats
from tfxp.callbacks import GradientProbe
from tfxp.errors import ConfigError, DataError, ModelError
from tfxp.keras import keras, layers
from tfxp.measure import jacobian_singular_values, noise_gains, training_taps


def residual(width=3):
    """Convolution, normalisation, a sum with a shortcut, a dense layer with its own softmax."""
    keras.utils.set_random_seed(2)
    x = inputs = layers.Input((5, 5, 2), name="input")
    x = layers.Conv2D(width, 3, padding="same", name="stem")(x)
    x = shortcut = layers.ReLU(2.0, name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(width, 3, padding="same", name="block")(x)
    x = layers.ReLU(name="close")(layers.Add(name="add")([x, shortcut]))
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Dense(4, activation="relu", name="hidden")(layers.Flatten(name="flat")(x))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))
    model.get_layer("norm").set_weights([np.full(width, value) for value in (1.1, 0.1, 0.05, 0.8)])
    return model


def batch(count=12):
    random = np.random.default_rng(6)
    return random.normal(size=(count, 5, 5, 2)).astype(np.float32), np.arange(count) % 3


def compiled(model):
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return model


def test_which_tensors():
    taps = training_taps(residual())
    assert taps.gradient_tensor == {
        "stem": "stem", "block": "add", "hidden": "hidden", "head": "head",
    }  # fmt: skip
    assert list(taps.activations) == ["stem", "add", "hidden", "head"]
    assert taps.activations["stem"].limit == 2.0
    assert [tap.is_output for tap in taps.activations.values()] == [False, False, False, True]
    assert [tap.signed for tap in taps.activations.values()] == [False, False, False, True]


def test_probed_gradients_are_those_of_the_fit():
    """One step per epoch: the running variance by the recurrence, gradients by a plain tape."""
    x, y = batch()
    model, twin = compiled(residual()), compiled(residual())
    probe = GradientProbe(every=1, memory=0.75)
    model.fit(x, y, batch_size=12, epochs=3, shuffle=False, verbose=0, callbacks=[probe])
    expected = None
    for record in probe.history:
        with tf.GradientTape() as tape:
            tensors = [twin.get_layer(n).output for n in ("relu", "close", "hidden")]
            *found, outputs = keras.Model(twin.input, [*tensors, twin.output])(x, training=True)
            loss = -tf.reduce_mean(tf.math.log(tf.gather(outputs, y, batch_dims=1)))
        kernels = [twin.get_layer(n).kernel for n in ("stem", "block", "hidden", "head")]
        gradients = [np.asarray(g, np.float64) for g in tape.gradient(loss, [*kernels, *found])]
        now = np.array([g.var() for g in gradients])
        expected = now if expected is None else 0.75 * expected + 0.25 * now
        seen = [record["weight_gradients"][n] for n in ("stem", "block", "hidden", "head")]
        seen += [record["activation_gradients"][n] for n in ("stem", "add", "hidden")]
        assert np.allclose([s["sigma"] for s in seen], np.sqrt(expected), rtol=1e-3)
        assert np.allclose([s["max"] for s in seen], [abs(g).max() for g in gradients], rtol=1e-3)
        twin.train_on_batch(x, y)
    # The training itself is Keras' own.
    for ours, theirs in zip(model.trainable_weights, twin.trainable_weights, strict=True):
        assert np.allclose(ours, theirs, atol=1e-5)
    assert model.train_step.__func__ is keras.Model.train_step


def test_added_losses_act_as_in_the_fit():
    x, y = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32), np.arange(12) % 3
    found = []
    for probes in ([], [GradientProbe(every=1, data=x)]):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        hidden = layers.Dense(5, "relu", name="a")(inputs)
        model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="b")(hidden))
        model.add_loss(10.0 * tf.reduce_mean(tf.square(hidden)))
        compiled(model).fit(x, y, verbose=0, callbacks=probes)
        found.append(model.get_weights())
    for plain, probed in zip(*found, strict=True):
        assert np.allclose(plain, probed, atol=1e-6)
    assert sorted(probes[0].stats().layers) == ["a", "b"]


class Raising(keras.callbacks.Callback):
    """Ends a fit in the way that was asked for."""

    def __init__(self, error, when):
        super().__init__()
        self.error, self.when = error, when

    def set_model(self, model):
        super().set_model(model)
        if self.when == "before":
            raise self.error

    def on_train_batch_end(self, batch, logs=None):
        raise self.error


@pytest.mark.parametrize("error, when", [(KeyboardInterrupt(), "during"), (ValueError(), "before")])
def test_an_interrupted_fit_leaves_the_models_own_step(error, when):
    x, y = batch()
    model = compiled(residual(1))
    probe = GradientProbe(every=1)
    with pytest.raises(type(error)):
        model.fit(x, y, verbose=0, callbacks=[probe, Raising(error, when)])
    assert model.train_step.__func__ is keras.Model.train_step
    seen = int(probe._steps)
    assert seen == (when == "during")
    model.fit(x, y, verbose=0)
    model.train_on_batch(x, y)
    assert int(probe._steps) == seen and "make_train_function" not in vars(model)
    again = GradientProbe(every=1)  # after an interruption a probe starts as ever
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, verbose=0, callbacks=[probe, Raising(KeyboardInterrupt(), "during")])
    model.fit(x, y, verbose=0, callbacks=[again])
    assert int(again._steps) == 1 and len(again.history) == 1
    assert not {"make_train_function", "train_step"} & set(vars(model))


def test_only_every_so_many_steps():
    x, y = batch(48)
    model = compiled(residual())
    probe = GradientProbe(every=3)
    looks = []
    look = probe._look

    def counted(gradients):
        tf.py_function(lambda: looks.append(1), [], [])
        return look(gradients)

    probe._look = counted
    model.fit(x, y, batch_size=12, epochs=2, verbose=0, callbacks=[probe])
    assert len(looks) == 3  # steps 0, 3 and 6 of 8


def logits_and_taps(model, x):
    """Logits and activation tensors in float64-friendly pieces, from the user's own model."""
    names = ("relu", "close", "hidden", "head")
    tape = tf.GradientTape(persistent=True)
    with tape:
        found = keras.Model(model.input, [model.get_layer(n).output for n in names])(x)
        logits = tf.math.log(found[-1])  # differences of logits are those of log-probabilities
        rows = [logits[0, i] for i in range(3)]
    return tape, rows, found[:-1]


def test_noise_gains_by_the_formula():
    model, (x, _) = residual(), batch(4)
    gains = noise_gains(model, x)
    kernels = ("stem", "block", "hidden", "head")
    expected = dict.fromkeys([(n, "weights") for n in kernels], 0.0)
    expected.update(dict.fromkeys([(n, "activations") for n in ("stem", "add", "hidden")], 0.0))
    for sample in x:
        tape, rows, points = logits_and_taps(model, sample[None])
        y = int(np.argmax([float(row) for row in rows]))
        sources = [model.get_layer(n).kernel for n in kernels] + list(points)
        winner = [np.asarray(g, np.float64) for g in tape.gradient(rows[y], sources)]
        for i in range(3):
            if i == y:
                continue
            distance = float(rows[i] - rows[y]) ** 2
            other = [np.asarray(g, np.float64) for g in tape.gradient(rows[i], sources)]
            for key, a, b in zip(expected, other, winner, strict=True):
                expected[key] += ((a - b) ** 2).sum() / (24 * distance) / len(x)
    assert gains.keys() == expected.keys()
    for key, value in expected.items():
        assert gains[key] == pytest.approx(value, rel=2e-3), key


def dense_jacobians(model, x):
    """Every dA/dW as a matrix of activations by weights, by brute force."""
    pairs = {"stem": "relu", "block": "close", "hidden": "hidden"}
    result = {}
    for name, target in pairs.items():
        kernel = model.get_layer(name).kernel
        part = keras.Model(model.input, model.get_layer(target).output)
        with tf.GradientTape(persistent=True) as tape:
            value = part(x, training=False)
        jacobian = tape.jacobian(value, kernel, experimental_use_pfor=False).numpy()
        count = math.prod(value.shape)
        result[name] = (jacobian.astype(np.float64).reshape(count, -1), value.shape, kernel.shape)
    return result


def test_jacobians_against_brute_force():
    model, (x, _) = residual(width=2), batch(2)
    exact = jacobian_singular_values(model, x, form="exact")
    simplified = jacobian_singular_values(model, x, form="simplified")
    for name, (jacobian, value_shape, kernel_shape) in dense_jacobians(model, x).items():
        largest = np.linalg.svd(jacobian**2, compute_uv=False)[0]
        assert exact[name] == pytest.approx(largest, rel=1e-3), name
        channels = jacobian.reshape(-1, value_shape[-1], jacobian.shape[1])
        gradient = channels.mean(axis=0).sum(axis=0).reshape(kernel_shape)
        squares = (gradient**2).reshape(-1, *kernel_shape[-2:]).mean(axis=0)
        largest = np.linalg.svd(squares, compute_uv=False)[0]
        assert simplified[name] == pytest.approx(largest, rel=1e-3), name
    assert set(exact) == {"stem", "block", "hidden", "head"}


def test_from_fit_to_training_map(tmp_path):
    x, y = batch(48)
    model, path = compiled(residual()), tmp_path / "run.json"
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([8], [0.1, 0.01])
    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
    probe = GradientProbe(path, x[:10], every=2, batch_size=8, jacobian_epoch=2)
    model.fit(x, y, batch_size=12, epochs=3, verbose=0, callbacks=[probe])
    stats = TrainingStats.load(path)
    assert stats.min_learning_rate == pytest.approx(0.01)
    assert len(stats.history) == 3
    assert stats.to_dict() == probe.stats().to_dict()
    block, add = stats.layers["block"], stats.layers["add"]
    assert (block.gradient_tensor, block.activation_gain) == ("add", None)
    assert (add.weight_gain, add.activation_signed) == (None, False)
    assert stats.layers["stem"].activation_range == 2.0
    sigmas = [record["weight_gradients"]["block"]["sigma"] for record in stats.history]
    assert block.weight_gradient_sigma == (max(sigmas), min(sigmas))
    pmap = SakrAssigner(b_min=4).assign(stats).map
    assert set(pmap.layers) == {"@inputs", "stem", "block", "add", "hidden", "head"}
    assert pmap.layers["head"].activations is None


def test_what_cannot_be(tmp_path):
    class Own(keras.Model):
        def train_step(self, data):
            return {}

    x, y = batch()
    flat = residual()
    own = Own(flat.input, flat.output)
    own.compile("sgd", "mse")
    with pytest.raises(ModelError, match="train_step of its own"):
        own.fit(x, y, verbose=0, callbacks=[GradientProbe()])
    outer = keras.Sequential([residual()])
    compiled(outer)
    with pytest.raises(ModelError, match="inside a nested model"):
        outer.fit(x, y, verbose=0, callbacks=[GradientProbe()])
    with pytest.raises(ConfigError, match="every=0"):
        GradientProbe(every=0)
    with pytest.raises(ConfigError, match="jacobian: got 'fast'"):
        GradientProbe(jacobian="fast")
    with pytest.raises(DataError, match="got no epoch"):
        GradientProbe().stats()
    with pytest.raises(DataError, match="inputs of noise_gains"):
        noise_gains(flat, x[:0])
    with pytest.raises(DataError, match="inputs of the Jacobian"):
        jacobian_singular_values(flat, x * np.nan)
    with pytest.raises(ConfigError, match="form of the Jacobian"):
        jacobian_singular_values(flat, x, form="dense")


def test_a_normalization_that_stands_alone_is_refused_by_name():
    inputs = keras.Input((6,))
    x = layers.Dense(4, name="first")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="alone")(layers.ReLU()(x)))
    model = keras.Model(inputs, layers.Dense(3, name="last")(x))
    with pytest.raises(ModelError, match="layers alone: got scales of channels that stand"):
        training_taps(model)
