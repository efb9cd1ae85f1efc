"""Networks that learn their formats: exact at every moment, saved in between, then ordinary."""

import numpy as np
import pytest

import tfxp
from tests.slow_cases import slow
from tfxp.callbacks import FreezeFormats
from tfxp.errors import ConfigError, PrecisionError
from tfxp.keras import keras, layers, tf
from tfxp.quantization.learned_formats import freeze_next, is_learning, learned_steps


@pytest.fixture(scope="module")
def network():
    """Sums, pools, depthwise kernels, a mean, a table: all that depends on other tensors' steps."""
    keras.utils.set_random_seed(1)
    image = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(image)
    y = layers.Conv2D(4, 3, padding="same", name="second")(x)
    x = layers.Add(name="sum")([x, y])
    x = layers.AveragePooling2D(name="pool")(x)
    x = layers.DepthwiseConv2D(2, activation="relu", name="depthwise")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dense(4, activation="tanh", name="table")(x)
    model = keras.Model(image, layers.Dense(5, name="last")(x))
    x = np.random.default_rng(0).normal(size=(64, 6, 6, 3)).astype(np.float32)
    return model, x, tfxp.measure_model(model, x)


@pytest.fixture(scope="module")
def small_network():
    """A kernel with channels, a mean and a last layer: quick to trace, several times."""
    keras.utils.set_random_seed(1)
    first = layers.Conv2D(4, 3, activation="relu", input_shape=(6, 6, 3), name="first")
    last = layers.Dense(5, name="last")
    model = keras.Sequential([first, layers.GlobalAveragePooling2D(name="mean"), last])
    x = np.random.default_rng(0).normal(size=(64, 6, 6, 3)).astype(np.float32)
    return model, x, tfxp.measure_model(model, x)


def trained(network, precision, method="tqt", rate=0.1, **options):
    """A model whose formats have moved, and the one that it came from."""
    model, x, stats = network
    qmodel = tfxp.quantize_model(model, precision, stats)
    learning = tfxp.learn_formats(qmodel, method)
    assert tfxp.precision_of(learning) == tfxp.precision_of(qmodel)
    assert np.array_equal(learning.predict(x, verbose=0), qmodel.predict(x, verbose=0))
    learning.compile(keras.optimizers.Adam(rate), "mse")
    learning.fit(x, 3 * model.predict(x, verbose=0), 16, verbose=0, shuffle=False, **options)
    return learning, qmodel


def formats(qmodel):
    return {
        name: (rule.weights, rule.activations)
        for name, rule in tfxp.precision_of(qmodel).layers.items()
    }


def bits(found):
    """Word lengths of weights and activations."""
    return {
        name: [[getattr(fmt, "bits", None) for fmt in np.ravel(side)[:1]] for side in pair]
        for name, pair in found.items()
    }


@pytest.mark.parametrize(
    ("precision", "method", "rate"),
    [
        ("w4a4", "tqt", 0.1),
        slow("w4a4c", "lsq", 0.02),
        ("w4a4", "pact", 0.05),
        slow("w3a10c", "tqt", 0.1),
    ],
)
def test_frozen_models_compute_what_was_trained(network, precision, method, rate):
    """Whatever depends on other tensors' steps follows them: sums, pools, means, tables, biases."""
    learning, qmodel = trained(network, precision, method, rate, epochs=3)
    x, found = network[1], formats(learning)
    assert found != formats(qmodel) and bits(found) == bits(formats(qmodel))
    frozen = tfxp.freeze_formats(learning)
    assert not is_learning(frozen) and formats(frozen) == found
    assert np.array_equal(frozen.predict(x, verbose=0), learning.predict(x, verbose=0))


def test_all_that_follows_sees_ordinary_formats(network, tmp_path):
    """Files, plain models, maps and `set_precision`, in training and after it."""
    learning, qmodel = trained(network, "w4a4c", epochs=3)
    x, found, frozen = network[1], formats(learning), tfxp.freeze_formats(learning)
    assert len(frozen.trainable_weights) == len(qmodel.trainable_weights)
    report = tfxp.export_tflite(learning, tmp_path / "model.tflite", verify=x[:32])
    assert report.verification.exact
    assert formats(tfxp.quantize_model(network[0], tfxp.precision_of(frozen))) == found
    stripped = [tfxp.strip(model).get_weights() for model in (learning, frozen)]
    assert all(np.array_equal(a, b) for a, b in zip(*stripped, strict=True))
    tfxp.set_precision(frozen, tfxp.precision_of(qmodel))
    assert formats(frozen) == formats(qmodel)


@pytest.mark.parametrize("suffix", [".keras", slow(".h5")])
def test_a_model_saved_in_training_goes_on_as_if_it_had_not_been(small_network, suffix, tmp_path):
    freezing = FreezeFormats(2, every=1)
    learning, _ = trained(small_network, "w4a4c", epochs=1, callbacks=[freezing])
    x, path = small_network[1], tmp_path / f"model{suffix}"
    learning.save(path)
    loaded = keras.models.load_model(path)
    assert formats(loaded) == formats(learning) and is_learning(loaded)
    target = 3 * small_network[0].predict(x, verbose=0)
    for model in (learning, loaded):
        model.fit(x, target, 16, epochs=1, verbose=0, shuffle=False)
    for a, b in zip(learning.get_weights(), loaded.get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(learning.predict(x, verbose=0), loaded.predict(x, verbose=0))


def test_freezing_holds_all_by_the_end(network):
    model, x, stats = network
    learning = tfxp.learn_formats(tfxp.quantize_model(model, "w4a4c", stats))
    steps = learned_steps(learning)
    count = sum(step.variables["frozen"].shape.num_elements() for step in steps)
    assert freeze_next(learning, 3) == count - 3
    learning.compile(keras.optimizers.Adam(0.05), "mse")
    seen = []

    def look(batch, logs):
        seen.append(sum(int(step.variables["frozen"].numpy().sum()) for step in steps))

    freezing = FreezeFormats(4, every=1, end=8)
    looking = keras.callbacks.LambdaCallback(on_train_batch_end=look)
    learning.fit(x, x[:, 0, 0, :1] * np.ones(5), 16, 2, callbacks=[freezing, looking], verbose=0)
    assert seen[2] == 3 and 3 < seen[3] < seen[7] <= count
    held = [step.scale.numpy() for step in steps if step.variables["frozen"].numpy().all()]
    learning.fit(x, x[:, 0, 0, :1] * np.ones(5), 16, 1, verbose=0)
    now = [step.scale.numpy() for step in steps if step.variables["frozen"].numpy().all()]
    assert held and all(np.array_equal(a, b) for a, b in zip(held, now, strict=True))


def test_set_precision_starts_the_learning_anew(small_network):
    model, x, stats = small_network
    learning, _ = trained(small_network, "w4a4c", epochs=1)
    freeze_next(learning, 1000)
    tfxp.set_precision(learning, "w6a5c", stats)
    assert formats(learning) == formats(tfxp.quantize_model(learning, "w6a5c", stats))
    assert not any(step.variables["frozen"].numpy().any() for step in learned_steps(learning))


def test_a_step_is_worked_out_only_where_it_is_needed(network):
    """By its own tensor, by the bias behind it, and by what the sums there carry: each of them is a
    dozen small operations, which would cost more than the quantizing."""
    model, x, stats = network
    learning = tfxp.learn_formats(tfxp.quantize_model(model, "w4a4", stats))

    @tf.function
    def gradients(batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(learning(batch, training=True))
        return tape.gradient(loss, learning.trainable_variables)

    graph = gradients.get_concrete_function(tf.constant(x[:2])).graph
    made = [operation for operation in graph.get_operations() if operation.type == "Ceil"]
    assert len(learned_steps(learning)) <= len(made) < 4 * len(learned_steps(learning))


def test_what_cannot_learn_is_said(network):
    model, x, stats = network
    qmodel = tfxp.quantize_model(model, "w4a4", stats)
    with pytest.raises(ConfigError, match="learned formats: got 'adam'"):
        tfxp.learn_formats(qmodel, "adam")
    with pytest.raises(ConfigError, match="freezing of formats: got start 5, every 50, end 4"):
        FreezeFormats(5, end=4)
    inputs = keras.Input((4, 4, 2))
    pooled = keras.Model(inputs, layers.GlobalAveragePooling2D()(inputs))
    bare = tfxp.quantize_model(pooled, tfxp.PrecisionMap.uniform("Q0.3", "Q2.1"))
    with pytest.raises(PrecisionError, match="no fixed-point format that can be learned"):
        tfxp.learn_formats(bare)
