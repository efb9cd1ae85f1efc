"""MEAN: the quantizer's codes are the operator's for every number of elements and zero points."""

import numpy as np
import pytest

import tfxp
from tfxp.errors import ExportError
from tfxp.export.check_exportable import check_exportable
from tfxp.export.exactness_notes import exactness_notes
from tfxp.keras import keras, layers, tf
from tfxp.quantization import read_network
from tfxp.quantizers import MeanQuantizer

# (zero point of the input, of the output, log2 of the output step in input steps)
POINTS = [(-128, -128, 0), (112, 120, 1), (0, -128, -1), (120, 112, 2), (0, 0, -2)]


def operator(sums, n, zero_in, zero_out, step):
    """XNNPACK's MEAN of stored codes: four steps in float32."""
    one = np.float32
    multiplier = one(one(1.0) / one(step)) * one(one(1) / one(n))
    offset = one(zero_out) - one(one(one(n) * one(zero_in)) * multiplier)
    return np.clip(np.rint(sums.astype(one) * multiplier + offset), -128, 127).astype(int)


def variables(zero_in, zero_out, step):
    values = {"scale": step, "qmin": -128.0 - zero_out, "qmax": 127.0 - zero_out,
              "input_scale": 1.0, "input_zero_point": zero_in, "zero_point": zero_out}  # fmt: skip
    return {name: tf.constant(float(value)) for name, value in values.items()}


@pytest.mark.parametrize("count", range(0, 1024, 128))
def test_every_count_up_to_1024(count, rng):
    for n in range(count + 1, count + 129):
        zero_in, zero_out, log = POINTS[n % len(POINTS)]
        sums = rng.integers(-128 * n, 127 * n + 1, 400)
        means = ((sums - n * zero_in) / n).astype(np.float32)
        weights = variables(zero_in, zero_out, 2.0**log)
        have = MeanQuantizer(n, True)(tf.constant(means), False, weights).numpy() / 2.0**log
        assert np.array_equal(have + zero_out, operator(sums, n, zero_in, zero_out, 2.0**log)), n


@pytest.mark.parametrize("n", [14, 28, 56])
def test_every_sum_and_zero_point(n):
    sums = np.arange(-128 * n, 127 * n + 1)
    for zero_in in (-128, -64, 0, 64, 112, 120, 124, 126):
        for zero_out in (-128, 0, 112, 120):
            means = ((sums - n * zero_in) / n).astype(np.float32)
            weights = variables(zero_in, zero_out, 1.0)
            have = MeanQuantizer(n, True)(tf.constant(means), False, weights).numpy()
            assert np.array_equal(have + zero_out, operator(sums, n, zero_in, zero_out, 1.0))


@pytest.mark.parametrize("n", [112 * 112, 128 * 128, 150 * 150, 180 * 180])
def test_sums_up_to_2_to_the_23(n, rng):
    """Beyond that float32 does not tell the means of neighbouring sums apart."""
    assert n * 255 < 2**23
    sums = np.concatenate([rng.integers(-128 * n, 127 * n + 1, 2000), 127 * n - np.arange(500)])
    for zero_in, zero_out, log in POINTS:
        means = ((sums - n * zero_in) / n).astype(np.float32)
        weights = variables(zero_in, zero_out, 2.0**log)
        have = MeanQuantizer(n, True)(tf.constant(means), False, weights).numpy() / 2.0**log
        assert np.array_equal(have + zero_out, operator(sums, n, zero_in, zero_out, 2.0**log))


def test_means_of_very_many_elements_are_named_or_refused():
    def notes(side):
        inputs = keras.Input((side, side, 1))
        model = keras.Model(inputs, layers.GlobalAveragePooling2D(name="pool")(inputs))
        qmodel = tfxp.quantize_model(model, tfxp.PrecisionMap.uniform("Q0.7", "UQ0.8"))
        network = read_network(qmodel)
        check_exportable(network)
        return exactness_notes(network)

    assert not notes(181)
    (note,) = notes(182)
    assert note.layers == ("pool",) and "2^23" in note.text
    with pytest.raises(ExportError, match="pool: sums may reach"):
        notes(4096)


@pytest.mark.parametrize("relu", [False, True])
def test_global_pools_are_exact_in_files(relu, rng, tmp_path):
    """7 x 8 positions: a fifth of the logits differed by up to 4 LSB."""
    inputs = keras.Input((7, 8, 2))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(12, 3, padding="same")(inputs))
    y = layers.Dense(10)(layers.ReLU()(y) if relu else y)
    model = keras.Model(inputs, y)
    x = rng.normal(size=(64, 7, 8, 2)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x))
    report = tfxp.export_tflite(qmodel, tmp_path / "m.tflite", verify=x)
    assert report.verification.exact and not report.notes


def test_the_count_of_free_sizes_is_read_off_the_call(rng):
    def network(height, width):
        inputs = keras.Input((height, width, 2), name="image")
        pool = layers.GlobalAveragePooling2D(name="pool")(inputs)
        return keras.Model(inputs, layers.ReLU(name="relu")(pool))

    x = rng.normal(size=(8, 5, 6, 2)).astype(np.float32)
    free = network(None, None)
    qmodel = tfxp.quantize_model(free, "w4a8", tfxp.measure_model(free, x))
    known = tfxp.quantize_model(network(5, 6), tfxp.precision_of(qmodel))
    assert np.array_equal(qmodel.predict(x, verbose=0), known.predict(x, verbose=0))
