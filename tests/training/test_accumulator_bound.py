"""No input overflows a bounded accumulator: by the interpreter, and by the worst inputs."""

import numpy as np
import pytest

import tfxp
from tfxp.errors import ConfigError
from tfxp.keras import keras, layers, tf
from tfxp.quantization.read_network import read_network
from tfxp.training import bound_accumulators


def network(precision="w8a8", bias=0.0):
    """A convolution with enough taps to overflow 16 bits, a depthwise one, and a dense layer."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((5, 5, 4)),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="conv"),
            layers.DepthwiseConv2D(3, activation="relu", name="depthwise"),
            layers.Conv2D(8, 3, name="signed"),
            layers.Flatten(),
            layers.Dense(3, name="dense"),
        ]
    )
    for layer in model.layers:
        if layer.weights:
            layer.bias.assign(np.full(layer.bias.shape, bias))
    x = np.random.default_rng(2).uniform(-1, 1, (16, 5, 5, 4)).astype(np.float32)
    return model, tfxp.quantize_model(model, precision, tfxp.measure_model(model, x)), x


def extremes(qmodel):
    """Layer -> smallest and largest sum of its codes over all inputs, by the formula."""
    net, result = read_network(qmodel), {}
    for name in net.plan.macs:
        integers, (grid, *_) = net.integers(name), net.integer_inputs(name)
        matrix = net.role(name).weights[0].as_matrix(integers.weights).astype(np.int64)
        bias = 0 if integers.bias is None else integers.bias
        most = (matrix * np.where(matrix > 0, grid.qmax, grid.qmin)).sum(0) + np.maximum(bias, 0)
        least = (matrix * np.where(matrix > 0, grid.qmin, grid.qmax)).sum(0) + np.minimum(bias, 0)
        result[name] = int(least.min()), int(most.max())
    return result


@pytest.mark.parametrize(("precision", "bits"), [("w8a8", 16), ("w5a4c", 12)])
def test_sums_stay_inside_and_use_the_room(precision, bits):
    _, qmodel, _ = network(precision)
    before = extremes(qmodel)
    assert any(most >= 2 ** (bits - 1) for _, most in before.values())
    found = bound_accumulators(qmodel, bits)
    after = extremes(qmodel)
    for name, (least, most) in after.items():
        assert -(2 ** (bits - 1)) <= least and most <= 2 ** (bits - 1) - 1, name
        need = max(int(most).bit_length(), int(-least - 1).bit_length()) + 1
        assert found[name] == need <= bits
        if before[name][1] >= 2 ** (bits - 1):  # no more was taken away than had to be
            assert most > 0.8 * 2 ** (bits - 1)


def test_the_interpreter_proves_it_and_the_worst_inputs_agree(tmp_path):
    _, qmodel, x = network("w8a8")
    bound_accumulators(qmodel, 16)
    report = tfxp.export_tflite(qmodel, tmp_path / "net.tflite", verify=x)
    assert report.verification.exact or report.notes
    runner = tfxp.Interpreter(tmp_path / "net.tflite")
    kernel = read_network(qmodel).integers("conv").weights.astype(np.int64)
    low, high = (read_network(qmodel).formats[qmodel.input_names[0]].activations.min,
                 read_network(qmodel).formats[qmodel.input_names[0]].activations.max)  # fmt: skip
    worst = np.zeros((16, 5, 5, 4), np.float32)
    worst[:, 1:4, 1:4] = np.where(kernel.transpose(3, 0, 1, 2) > 0, high, low)
    runner.predict(np.concatenate([worst, low + high - worst, x]))
    rows = [row.counters for row in runner.report().rows]
    assert all(row.accumulator_bits_worst <= 16 for row in rows)
    assert all(row.accumulator_bits <= row.accumulator_bits_worst for row in rows)
    assert rows[0].accumulator_bits == 16


def test_training_keeps_the_bound_after_every_step():
    model, qmodel, x = network("w8a8")
    bound_accumulators(qmodel, 16)
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build(qmodel.trainable_weights)
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((qmodel(x, training=True) - 5.0) ** 2)
        gradients = tape.gradient(loss, qmodel.trainable_weights)
        optimizer.apply_gradients(zip(gradients, qmodel.trainable_weights, strict=True))
        for least, most in extremes(qmodel).values():
            assert -(2**15) <= least and most <= 2**15 - 1


def test_zero_centered_channels_have_no_mean_where_nothing_shrinks():
    _, qmodel, _ = network("w8a8")
    bound_accumulators(qmodel, 32, zero_centered=True)
    kernel = qmodel.get_layer("conv").layer.kernel.numpy()
    np.testing.assert_allclose(kernel.mean(axis=(0, 1, 2)), 0, atol=1e-6)


def test_other_constraints_stay_and_a_second_bound_replaces_the_first():
    model = keras.Sequential(
        [keras.Input((40,)), layers.Dense(2, kernel_constraint="non_neg", name="d")]
    )
    qmodel = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.7", "UQ3.5"))
    kernel = qmodel.get_layer("d").layer.kernel
    for bits in (16, 12):
        bound_accumulators(qmodel, bits)
        kernel.assign(kernel.constraint(np.linspace(-1, 1, 80).reshape(40, 2).astype(np.float32)))
        assert kernel.numpy().min() == 0
        assert extremes(qmodel)["d"][1] <= 2 ** (bits - 1) - 1
    bound_accumulators(qmodel, 16)
    kernel.assign(kernel.constraint(np.full((40, 2), 0.9, np.float32)))
    assert 2**14 < extremes(qmodel)["d"][1] <= 2**15 - 1


def test_what_cannot_be_is_refused():
    _, qmodel, _ = network("w8a8", bias=3.0)
    with pytest.raises(ConfigError, match="a bias of .* steps in 'conv'"):
        bound_accumulators(qmodel, 12)
    with pytest.raises(ConfigError, match="expected 8 to 32"):
        bound_accumulators(qmodel, 7)
    _, qmodel, _ = network("w8a16")
    with pytest.raises(ConfigError, match="input codes of up to 32767"):
        bound_accumulators(qmodel, 16)
