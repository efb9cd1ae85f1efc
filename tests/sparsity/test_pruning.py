"""Zeros that are made stay zero: through every format, training, rewrite, file and export."""

import itertools

import numpy as np
import pytest

import tfxp
from tests.cases import inputs_of, randomize
from tests.slow_cases import slow
from tfxp.callbacks import PruningSchedule
from tfxp.errors import ConfigError, ModelError, PrecisionError
from tfxp.formats import FixedPointFormat, Rounding, WrpnFormat, encode
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap
from tfxp.quantizers import WeightQuantizer
from tfxp.sparsity import SparsityMap, ZeroMask
from tfxp.sparsity.prunable import prunables
from tfxp.training import FineTuneSettings, RoundingSettings, bound_accumulators, fine_tune


def network():
    x = inputs = keras.Input((8, 6, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="branch")(x)
    x = layers.Conv2DTranspose(20, 2, strides=2, activation="relu", name="up")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return randomize(keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x)))


def quantized(precision="w8a8", sparsity="0.75", model=None):
    model = model or network()
    x = inputs_of(model, 32)
    qmodel = tfxp.quantize_model(model, precision, tfxp.measure_model(model, x))
    if sparsity is not None:
        tfxp.prune_model(qmodel, sparsity)
    return qmodel, x, np.arange(32) % 3


def zeros(model):
    """Layer -> where its float kernel is zero."""
    return {name: layer.kernel.numpy() == 0 for name, layer in prunables(model).items()}


def assert_held(model, before):
    after = zeros(model)
    for name, places in before.items():
        assert np.all(after[name][places]), name
        assert places.mean() > 0.4


def trained(qmodel, x, y, epochs=2):
    qmodel.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    qmodel.fit(x, y, epochs=epochs, batch_size=8, verbose=0)


FORMATS = [
    *(FixedPointFormat(bits - f - signed, f, signed) for bits in range(2, 17)
      for f in (-3, 0, bits, 20) for signed in (True, False)),
    *(WrpnFormat(bits, "weights") for bits in range(2, 9)),
]  # fmt: skip


def test_zero_is_code_zero_in_every_format_and_rounding(rng):
    values = np.array([0.0, -0.0] * 20, np.float32)
    for fmt, rounding in itertools.product(FORMATS, Rounding):
        assert not encode(values, fmt, rounding, generator=rng).any()


def test_zeros_of_kernels_are_zeros_of_codes():
    qmodel, _, _ = quantized()
    for bits, suffix in itertools.product(range(2, 9), ("", "c")):
        tfxp.set_precision(qmodel, f"w{bits}a8{suffix}")
        codes = tfxp.integer_weights(qmodel)
        for name, places in zeros(qmodel).items():
            assert places.mean() > 0.7 and not codes[name].weights[places].any()


@pytest.mark.parametrize(
    ("sparsity", "name"),
    [slow("blocks:0.75", "net.keras"), slow("1:4", "net.h5"), ("channels:0.5", "net.keras")],
)
def test_zeros_hold_through_training_and_files(sparsity, name, tmp_path):
    qmodel, x, y = quantized(sparsity=sparsity)
    before = zeros(qmodel)
    trained(qmodel, x, y)
    assert_held(qmodel, before)
    qmodel.save(tmp_path / name)
    loaded = tfxp.load_model(tmp_path / name)
    assert np.array_equal(loaded.predict(x, verbose=0), qmodel.predict(x, verbose=0))
    trained(loaded, x, y)
    assert_held(loaded, before)


def test_zeros_hold_through_changes_of_precision_and_rewrites():
    qmodel, x, y = quantized()
    before = zeros(qmodel)
    tfxp.set_precision(qmodel, "w4a6c")
    trained(qmodel, x, y)
    assert_held(qmodel, before)
    learning = tfxp.learn_formats(qmodel)
    trained(learning, x, y)
    assert_held(learning, before)
    plain = tfxp.strip(tfxp.freeze_formats(learning))
    trained(plain, x, y)
    assert_held(plain, before)
    again, _, _ = quantized("w5a5", None, plain)
    trained(again, x, y)
    assert_held(again, before)


def test_a_pruned_float_model_is_folded_and_stays_pruned():
    model = network()
    shares = tfxp.prune_model(model, SparsityMap.parse("0.75").updated({"@last": "dense"}))
    assert shares["stem"] == 0.75 and shares["head"] == 0
    qmodel, x, y = quantized(sparsity=None, model=model)
    before = {name: places for name, places in zeros(qmodel).items() if name != "head"}
    trained(qmodel, x, y)
    assert_held(qmodel, before)
    assert (qmodel.get_layer("head").layer.kernel.numpy() != 0).all()


def test_zeros_are_in_the_file_and_its_run(tmp_path):
    qmodel, x, y = quantized(sparsity="blocks:0.75")
    trained(qmodel, x, y)
    report = tfxp.export_tflite(qmodel, tmp_path / "net.tflite", verify=x[:4])
    assert report.verification is not None and report.verification.exact
    runner = tfxp.Interpreter(str(tmp_path / "net.tflite"))
    runner.allocate_tensors()
    runner.invoke()
    found = runner.report()
    assert found.macs_executed < 0.4 * found.macs_total


@pytest.mark.slow
def test_fine_tuning_and_calibration_keep_them():
    qmodel, x, y = quantized("w5a6")
    before = zeros(qmodel)
    rounding = RoundingSettings(steps=20)
    tfxp.calibrate_model(qmodel, x, method="adaround", refine_formats=False, rounding=rounding)
    assert_held(qmodel, before)
    fine_tune(qmodel, x, y, FineTuneSettings(1, batch_size=8), teacher=network())
    assert_held(qmodel, before)
    bound_accumulators(qmodel, 24, zero_centered=True)
    trained(qmodel, x, y)
    assert_held(qmodel, before)


def test_masks_only_grow():
    qmodel, _, _ = quantized(sparsity="0.5")
    before = zeros(qmodel)
    tfxp.prune_model(qmodel, "2:4")
    assert_held(qmodel, before)
    shares = tfxp.prune_model(qmodel, 0.9)
    assert min(shares.values()) > 0.89


def test_a_schedule_prunes_a_users_own_fit_and_resumes():
    model = network()
    x, y = inputs_of(model, 64), np.arange(64) % 3
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=8, epochs=1, verbose=0)  # compiled without constraints
    schedule = PruningSchedule("0.75", begin_step=10, end_step=20, frequency=2)
    shares = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_: shares.append(zeros(model)["stem"].mean())
    )
    model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[schedule, watch])
    assert shares[0] == 0 and shares[-1] == 0.75 and shares == sorted(shares)
    # steps 8 to 24: by hand, 0.75 (1 - (1 - (s - 10) / 10)^3) at s = 10, 12, ...
    for step, found in zip(range(9, 25), shares, strict=True):
        part = min(max((step - 10) // 2 * 2 / 10, 0), 1)
        assert found == pytest.approx(0.75 * (1 - (1 - part) ** 3), abs=0.002)
    model.fit(x, y, batch_size=8, epochs=1, verbose=0, callbacks=[PruningSchedule("0.75", 20)])
    assert_held(model, {"stem": model.get_layer("stem").kernel_constraint.mask == 0})


def test_what_cannot_be_pruned_is_named():
    qmodel, _, _ = quantized(PrecisionMap(layers={"stem": LayerPrecision("wrpn:1")}), None)
    with pytest.raises(ConfigError, match="'stem'.*binary"):
        tfxp.prune_model(qmodel, "0.5")
    assert tfxp.prune_model(qmodel, SparsityMap.parse("0.5").updated({"stem": "dense"}))
    with pytest.raises(PrecisionError, match="'steem'.*Did you mean 'stem'"):
        tfxp.prune_model(qmodel, SparsityMap().updated({"steem": 0.5}))
    empty = keras.Sequential([layers.Flatten(input_shape=(3, 2))])
    with pytest.raises(ConfigError, match="no convolution and no dense layer"):
        tfxp.prune_model(empty, "0.5")
    for steps in ((5, 3, 1), (-1, 3, 1), (0, 3, 0)):
        with pytest.raises(ConfigError, match="0 <= begin <= end"):
            PruningSchedule("0.5", steps[1], steps[0], steps[2])


def test_damaged_masks_are_refused():
    mask = ZeroMask.of(np.ones((3, 5), bool))
    config = mask.get_config()
    assert np.array_equal(ZeroMask.from_config(config).mask, mask.mask)
    longer = ZeroMask.of(np.ones(99, bool)).get_config()["bits"]
    for bits in ("", "####", config["bits"][:-5], longer):
        with pytest.raises(ModelError, match="mask of zeros"):
            ZeroMask((3, 5), bits)


def test_another_constraint_is_kept():
    layer = layers.Dense(4, kernel_constraint="non_neg", name="d")
    model = keras.Sequential([keras.Input((8,)), layer])
    tfxp.prune_model(model, "0.5")
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 8)), -np.ones((4, 4)), verbose=0)
    kernel = keras.models.clone_model(model).layers[0].kernel_constraint(layer.kernel).numpy()
    assert (kernel >= 0).all() and (kernel == 0).sum() >= 16


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_stochastic_rounding_leaves_zero_alone(bits):
    quantizer = WeightQuantizer(rounding="stochastic", seed=1)
    holder = keras.layers.Layer()
    variables = quantizer.build((100,), "w", holder)
    variables["scale"].assign(0.25 * np.ones(variables["scale"].shape))
    assert not quantizer(np.zeros(100, np.float32), True, variables).numpy().any()


def test_a_wider_network_has_no_masks():
    model = network()
    tfxp.prune_model(model, "0.5")
    wide = tfxp.widen_model(model, 2, "preserve")
    assert wide.get_layer("stem").kernel_constraint is None
    x = inputs_of(model)
    assert np.allclose(wide.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
