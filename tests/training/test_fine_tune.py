"""Fine-tuning: learns, is reproducible, and leaves the model whole when it fails."""

import numpy as np
import pytest

import tfxp
from tests.slow_cases import slow, sometimes
from tfxp.data import load_digits
from tfxp.errors import ConfigError, DataError, ModelError, TrainingWarning
from tfxp.keras import keras, layers, tf
from tfxp.precision import PrecisionMap
from tfxp.training import FineTuneSettings, fine_tune
from tfxp.training.repair.optimizer import make_optimizer
from tfxp.training.repair.relative_adam import RelativeAdam, relative_sizes


@pytest.fixture(scope="module")
def digits():
    """A trained float net, its statistics, and its data."""
    keras.utils.set_random_seed(3)
    data, test = load_digits("train"), load_digits("test")
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    model = keras.Model(image, layers.Dense(10, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(data.x, data.y, 64, 24, verbose=0)
    return model, tfxp.measure_model(model, data.x), data, test


def accuracy(model, data):
    return float((model.predict(data.x, verbose=0).argmax(1) == data.y).mean())


@pytest.mark.parametrize("how", [slow("labels"), slow("teacher"), "both"])
def test_it_learns(digits, how):
    model, stats, data, test = digits
    qmodel = tfxp.quantize_model(model, "w2a2", stats)
    before = accuracy(qmodel, test)
    settings = FineTuneSettings(4, 1e-2, 32, teacher_weight=0.5 if how == "both" else 1.0)
    teacher = None if how == "labels" else model
    labels = None if how == "teacher" else data.y
    losses = fine_tune(qmodel, data.x, labels, settings, teacher=teacher)
    assert len(losses) == 4 and losses[-1] < losses[0]
    assert accuracy(qmodel, test) > before + 0.01


def test_same_seed_same_weights(digits):
    model, stats, data, _ = digits
    results = []
    for _ in range(2):
        qmodel = tfxp.quantize_model(model, "w2a2", stats)
        losses = fine_tune(qmodel, data.x[:512], data.y[:512], FineTuneSettings(1, augment="flip"))
        assert losses.kept == 1
        results.append(qmodel.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_formats_and_float_model_stay(digits):
    model, stats, data, _ = digits
    weights = [w.copy() for w in model.get_weights()]
    qmodel = tfxp.quantize_model(model, "w4a4", stats)
    formats = tfxp.precision_of(qmodel)
    fine_tune(qmodel, data.x[:128], None, FineTuneSettings(1, formats="fixed"), teacher=model)
    assert tfxp.precision_of(qmodel) == formats
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


def test_learned_formats_are_ordinary_ones_at_the_end(digits, tmp_path):
    """Bits stay, the given model has learned, its variables are those before, its file exact."""
    model, stats, data, test = digits
    qmodel = tfxp.quantize_model(model, "w2a2c", stats, fit="max")
    before, names = tfxp.precision_of(qmodel), [v.name for v in qmodel.trainable_weights]
    first = accuracy(qmodel, test)
    losses = fine_tune(qmodel, data.x[:640], data.y[:640], FineTuneSettings(2, 2e-2, 16))
    after = tfxp.precision_of(qmodel)
    assert losses.kept and accuracy(qmodel, test) > first + 0.05
    for name, rule in before.layers.items():
        assert np.ravel(after.layers[name].activations)[0].bits == rule.activations.bits
    assert [v.name for v in qmodel.trainable_weights] == names
    report = tfxp.export_tflite(qmodel, tmp_path / "m.tflite", verify=test.x[:64], check=False)
    assert report.verification.exact


def test_steps_are_shares_of_sizes(rng):
    """Channels in their root mean squares, biases in the output's range, against plain loops."""
    model = keras.Sequential([layers.Dense(3, input_shape=(40,), name="d")])
    kernel = rng.normal(size=(40, 3)).astype(np.float32) * [1e-4, 1.0, 10.0]
    model.set_weights([kernel, np.zeros(3, np.float32)])
    qmodel = tfxp.learn_formats(tfxp.quantize_model(model, PrecisionMap.uniform("Q3.4", "Q2.1")))
    sizes = dict(
        zip([v.name for v in qmodel.trainable_weights], relative_sizes(qmodel), strict=True)
    )
    found = {name.split("/")[-1].removesuffix(":0"): size for name, size in sizes.items()}
    wanted = np.sqrt((kernel**2).mean(0))
    wanted[0] = 0.01 * np.sqrt((kernel**2).mean())  # far below the others
    assert found["kernel"].ravel() == pytest.approx(wanted)
    assert found["bias"] == pytest.approx(3.5 / 64) and found["kernel_tqt"] == 1
    optimizer = RelativeAdam(0.01, relative_sizes(qmodel))
    optimizer.build(qmodel.trainable_weights)
    before = [v.numpy() for v in qmodel.trainable_weights]
    draws = [rng.normal(size=v.shape) for v in before]
    gradients = [tf.constant(np.sign(v) + v, tf.float32) for v in draws]
    optimizer.apply_gradients(zip(gradients, qmodel.trainable_weights, strict=True))
    rows = zip(before, qmodel.trainable_weights, gradients, sizes.values(), strict=True)
    for old, new, gradient, size in rows:  # Adam's first step has one size
        assert new.numpy() == pytest.approx(old - 0.01 * size * np.sign(gradient), abs=1e-5)


def test_kernels_without_a_format_move_by_channel_too(rng):
    """A float network's kernels: dense, depthwise and transposed, against plain loops."""
    x = keras.Input((6, 6, 4))
    y = layers.DepthwiseConv2D(3, name="depthwise", use_bias=False)(x)
    y = layers.Conv2DTranspose(5, 3, name="transposed", use_bias=False)(y)
    y = layers.BatchNormalization(name="norm")(y)
    model = keras.Model(x, layers.Dense(3, name="head", use_bias=False)(y))
    model.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    sizes = zip(model.trainable_weights, relative_sizes(model), strict=True)
    found = {
        variable.name.split("/")[0]: size for variable, size in sizes if "beta" not in variable.name
    }
    depthwise, transposed, head = (
        model.get_layer(name).weights[0].numpy() for name in ("depthwise", "transposed", "head")
    )
    for channel in range(4):
        wanted = np.sqrt((depthwise[:, :, channel] ** 2).mean())
        assert found["depthwise"][0, 0, channel, 0] == pytest.approx(wanted)
    for channel in range(5):
        wanted = np.sqrt((transposed[:, :, channel] ** 2).mean())
        assert found["transposed"][0, 0, channel, 0] == pytest.approx(wanted)
    assert found["head"].ravel() == pytest.approx(np.sqrt((head**2).mean(0)))
    assert found["norm"].shape == ()


@pytest.mark.parametrize("optimizer", ["adam", "adafactor"])
def test_no_optimizer_divides_by_gradients_that_are_zero(optimizer, digits):
    """A dead channel and a saturated output: a row and a column of zeros in a gradient."""
    model, stats, _, _ = digits
    qmodel = tfxp.quantize_model(model, "w4a4", stats)
    made = make_optimizer(qmodel, FineTuneSettings(optimizer=optimizer), 0.01)
    variables = qmodel.trainable_weights
    made.build(variables)
    gradients = [np.ones(variable.shape, np.float32) for variable in variables]
    for gradient in gradients:
        gradient[0] = gradient[..., 0] = 0
    for _ in range(2):
        made.apply_gradients(zip(map(tf.constant, gradients), variables, strict=True))
    assert all(np.isfinite(variable.numpy()).all() for variable in variables)


def test_nan_puts_the_weights_back(digits):
    model, stats, data, _ = digits
    qmodel = tfxp.quantize_model(model, "w4a4", stats)
    before = [w.copy() for w in qmodel.get_weights()]

    def broken(x, training):
        return np.nan * model(x, training=training)

    with pytest.raises(ModelError, match="the loss became NaN in step 1 of epoch 1"):
        fine_tune(qmodel, data.x[:128], None, FineTuneSettings(1), teacher=broken)
    assert all(np.array_equal(a, b) for a, b in zip(before, qmodel.get_weights(), strict=True))


def test_what_cannot_be(digits):
    model, stats, data, _ = digits
    qmodel = tfxp.quantize_model(model, "w4a4", stats)
    with pytest.raises(DataError, match="neither labels nor a float model"):
        fine_tune(qmodel, data.x, None)
    x = data.x[:128].copy()
    x[100] = np.nan
    with pytest.raises(DataError, match="x of training data: got 64 values that are not finite"):
        fine_tune(qmodel, x, data.y[:128])
    with pytest.raises(DataError, match="got 10 samples; expected at least a batch of 64"):
        fine_tune(qmodel, data.x[:10], data.y[:10])
    for wrong in ({"epochs": 0}, {"learning_rate": 0.0}, {"batch_size": 0}):
        with pytest.raises(ConfigError, match="expected positive numbers"):
            FineTuneSettings(**wrong)
    with pytest.raises(ConfigError, match="augment: got 'rotate'"):
        FineTuneSettings(augment="rotate")
    for field, value in (("formats", "free"), ("optimizer", "sgd")):
        with pytest.raises(ConfigError, match=f"{field}: got '{value}'; expected one of"):
            FineTuneSettings(**{field: value})
    with pytest.raises(ConfigError, match="warm_up: got 1"):
        FineTuneSettings(warm_up=1)
    with pytest.raises(ConfigError, match="teacher_weight: got 2"):
        FineTuneSettings(teacher_weight=2)


@pytest.mark.parametrize("how", ["labels", "teacher"])
def test_a_training_that_harms_is_undone_and_said(digits, how):
    model, stats, data, test = digits
    qmodel = tfxp.quantize_model(model, "w6a6", stats)
    before, weights = accuracy(qmodel, test), qmodel.get_weights()
    labels, teacher = (data.y, None) if how == "labels" else (None, model)
    with pytest.warns(TrainingWarning, match=r"did not help \(on 144 samples that were held back:"):
        losses = fine_tune(qmodel, data.x, labels, FineTuneSettings(2, 30.0), teacher=teacher)
    assert losses.kept == 0 and len(losses) == 2 and accuracy(qmodel, test) == before
    assert all(np.array_equal(a, b) for a, b in zip(weights, qmodel.get_weights(), strict=True))


def test_ctrl_c_keeps_the_best_so_far(digits):
    model, stats, data, _ = digits
    qmodel = tfxp.quantize_model(model, "w2a2", stats)
    kept = []

    def stop(done, total, note):
        assert note.startswith("loss ")
        if done == 12:  # the first step of the second epoch of 10 + 1
            kept.extend(qmodel.get_weights())
            raise KeyboardInterrupt

    settings = FineTuneSettings(3, batch_size=64, held_back=0.5)
    losses = fine_tune(qmodel, data.x, data.y, settings, progress=stop)
    assert len(losses) == losses.kept == 1
    after = qmodel.get_weights()
    assert not all(np.array_equal(a, b) for a, b in zip(kept, after, strict=True))
    again = tfxp.quantize_model(model, "w2a2", stats)

    def stop_at_once(done, total, note):
        raise KeyboardInterrupt

    before = again.get_weights()
    with pytest.warns(TrainingWarning, match="interrupted before the first epoch was complete"):
        assert fine_tune(again, data.x, data.y, settings, progress=stop_at_once) == []
    assert all(np.array_equal(a, b) for a, b in zip(before, again.get_weights(), strict=True))


OUTPUTS = {
    "binary": (layers.Dense(1, "sigmoid"), (1,), "bits"),
    "several bits": (layers.Dense(3, "sigmoid"), (3,), "bits"),
    "regression": (layers.Dense(1), (1,), "values"),
    "several values": (layers.Dense(3), (3,), "values"),
    "segmentation": (layers.Dense(4, "softmax"), (2, 4), "classes"),
    "logits": (layers.Dense(4), (4,), "logits"),
    "one-hot": (layers.Dense(4, "softmax"), (4,), "rows"),
}


@pytest.mark.parametrize("name", sometimes(OUTPUTS, {"binary", "several values", "segmentation"}))
@pytest.mark.filterwarnings("ignore:fine-tuning")
def test_every_kind_of_output(name, rng):
    """The loss of the first step against NumPy, for targets in the shapes that people have."""
    head, shape, kind = OUTPUTS[name]
    head = type(head).from_config(head.get_config())
    x = rng.normal(size=(32, *shape[:-1], 5)).astype(np.float32)
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, head(layers.Dense(8, "relu")(inputs)))
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    p = qmodel.predict(x, verbose=0).astype(np.float64).reshape(32, *shape)
    if kind == "bits":
        y = rng.integers(0, 2, p.shape)
        wanted = -np.mean(np.log(np.where(y == 1, p, 1 - p)))
        forms = [y, y.astype(float)] + ([y[:, 0]] if shape == (1,) else [])
    elif kind == "values":
        y = rng.normal(size=p.shape)
        wanted = np.mean((y - p) ** 2)
        forms = [y] + ([y[:, 0]] if shape == (1,) else [])
    else:
        p = np.exp(p) / np.exp(p).sum(-1, keepdims=True) if kind == "logits" else p
        numbers = rng.integers(0, 4, p.shape[:-1])
        rows = np.eye(4)[numbers]
        wanted = -np.mean(np.sum(rows * np.log(p), axis=-1))
        forms = [rows] if kind == "rows" else [numbers, numbers[..., None], rows]
    for targets in forms:
        losses = fine_tune(qmodel, x, targets, FineTuneSettings(1, 1e-9, 32))
        assert losses == pytest.approx([wanted], rel=1e-4)
    with pytest.raises(DataError, match="training targets: got 9 a sample; expected"):
        fine_tune(qmodel, x, np.zeros((32, 9)), FineTuneSettings(1, batch_size=32))


@pytest.mark.parametrize("kind", ["regularizer", "activity", "add_loss"])
def test_losses_of_the_network_count(rng, kind):
    """The first loss is the task's and the network's own; training lowers the latter."""
    x = rng.normal(size=(32, 4)).astype(np.float32)
    own = {"regularizer": "kernel_regularizer", "activity": "activity_regularizer"}
    settings = {own[kind]: keras.regularizers.L2(10.0)} if kind in own else {}
    inputs = keras.Input((4,))
    outputs = layers.Dense(3, name="d", **settings)(inputs)
    model = keras.Model(inputs, outputs)
    if kind == "add_loss":
        model.add_loss(10.0 * tf.reduce_mean(tf.square(outputs)))
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    y = qmodel(x, training=False).numpy()  # nothing is left to learn but the network's own loss
    first = float(tf.add_n(qmodel.losses))
    losses = fine_tune(qmodel, x, y, FineTuneSettings(8, 0.05, 32, held_back=0.0))
    assert losses[0] == pytest.approx(first, rel=1e-4) and first > 1
    assert losses.kept and losses[-1] < 0.9 * first
