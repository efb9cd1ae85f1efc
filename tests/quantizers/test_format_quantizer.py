"""Quantizers own their variables: names, formats in and out, and the constants they ask for."""

import numpy as np
import pytest

import tfxp
import tfxp.quantizers as q
from tfxp.formats import FixedPointFormat, WrpnFormat
from tfxp.keras import keras, layers, tf
from tfxp.quantizers.fused import on_grid

GRID = ("scale", "qmin", "qmax")
OUTPUT, INPUT, RIGHT, KERNEL, GRADIENT = map(
    FixedPointFormat.parse, ("Q2.3", "UQ1.4", "UQ0.8", "Q0.5", "Q-3.9")
)
CONTEXT = q.FormatContext(OUTPUT, (KERNEL,), GRADIENT, (INPUT, RIGHT), np.array([2.0**-9]))
# Quantizer, its variables as saved models name them, its format, its constants.
CASES = [
    (q.ActivationQuantizer(), GRID, OUTPUT, {}),
    (q.ActivationQuantizer(wide_rounding="half_up"), (*GRID, "wide"), OUTPUT, {"wide": 0}),
    (q.AveragePoolQuantizer(4), (*GRID, "zero_point"), OUTPUT, {"zero_point": 96}),
    (q.BiasQuantizer(), ("scale",), None, {"scale": 2.0**-9}),
    (q.GradientQuantizer(), (*GRID, "counts"), GRADIENT, {}),
    (q.LeakyReluQuantizer(0.1), (*GRID, "input_scale"), OUTPUT, {"input_scale": 2.0**-4}),
    (q.LengthQuantizer(), (*GRID, "input_scale"), OUTPUT, {"input_scale": 2.0**-4}),
    (q.LstmQuantizer(), (*GRID, "input_scale", "kernel_scale"), OUTPUT,
     {"input_scale": 2.0**-4, "kernel_scale": 2.0**-5}),
    (q.MeanQuantizer(3), (*GRID, "input_scale"), OUTPUT, {"input_scale": 2.0**-4}),
    (q.MeanQuantizer(3, True), (*GRID, "input_scale", "input_zero_point", "zero_point"), OUTPUT,
     {"input_scale": 2.0**-4, "input_zero_point": 96, "zero_point": 96}),
    (q.PReluQuantizer(), (*GRID, "input_scale", "alpha_scale"), OUTPUT,
     {"input_scale": 2.0**-4, "alpha_scale": 2.0**-5}),
    (q.ProductQuantizer(), (*GRID, "product_scale", "right_zero_point"), OUTPUT,
     {"product_scale": 2.0**-12, "right_zero_point": -128}),
    (q.SoftmaxQuantizer(), GRID, OUTPUT, {}),
    (q.TableQuantizer("elu"), (*GRID, "input_scale", "zero_point"), OUTPUT,
     {"input_scale": 2.0**-4, "zero_point": 96}),
    (q.WeightQuantizer(), GRID, KERNEL, {}),
    (q.WrpnWeightQuantizer(), GRID, WrpnFormat(3), {}),
    (q.WrpnWeightQuantizer(binary=True), GRID, WrpnFormat(1), {}),
    (q.WrpnActivationQuantizer(), GRID, WrpnFormat(1, "activations"), {}),
]  # fmt: skip


def context_of(fmt):
    if not isinstance(fmt, WrpnFormat):
        return CONTEXT
    return q.FormatContext(fmt, (fmt,))


@pytest.mark.parametrize(("quantizer", "names", "fmt", "constants"), CASES)
def test_variables_formats_and_constants(quantizer, names, fmt, constants):
    layer = layers.Layer()
    variables = quantizer.build((1,), "output", layer)
    assert tuple(variables) == names
    assert {w.name for w in layer.weights} == {f"output_{name}:0" for name in names}
    quantizer.assign(variables, context_of(fmt))
    assert quantizer.formats(variables) == (() if fmt is None else (fmt,))
    assert {name: float(variables[name].numpy().item()) for name in constants} == constants


def test_wide_storage_has_no_zero_points():
    """One tensor of more than 8 bits takes all of them to int16."""
    wide = q.FormatContext(OUTPUT, (), None, (INPUT, RIGHT), wide=True)
    for quantizer in (q.MeanQuantizer(3, True), q.ProductQuantizer(), q.TableQuantizer("elu")):
        variables = quantizer.build(None, "output", layers.Layer())
        quantizer.assign(variables, wide)
        assert not any(v.numpy() for name, v in variables.items() if name.endswith("zero_point"))
    quantizer = q.LstmQuantizer(wide_rounding="half_up")
    variables = quantizer.build(None, "output", layers.Layer())
    quantizer.assign(variables, wide)
    assert variables["wide"].numpy() == 1 and variables["input_scale"].numpy() == INPUT.scale


def test_every_quantizer_is_a_case():
    kinds = {
        kind
        for kind in map(q.__dict__.get, q.__all__)
        if isinstance(kind, type) and issubclass(kind, q.FormatQuantizer)
    }
    bases = {q.FormatQuantizer, q.KernelQuantizer, q.UnaryQuantizer}
    # Learned ones have tests/quantizers/test_learned.py.
    bases |= {kind for kind in kinds if "Learned" in kind.__name__}
    assert kinds - bases == {type(quantizer) for quantizer, *_ in CASES}


def test_one_format_per_channel():
    formats = tuple(FixedPointFormat.of_bits(4, f) for f in (3, 5, 3))
    quantizer = q.WeightQuantizer()
    variables = quantizer.build((7, 3), "kernel", layers.Layer())
    quantizer.assign(variables, q.FormatContext(weights=formats))
    assert quantizer.formats(variables) == formats
    quantizer.assign(variables, q.FormatContext(weights=formats[:1]))
    assert quantizer.formats(variables) == formats[:1] * 3
    quantizer.assign(variables, q.FormatContext(OUTPUT))  # a float kernel: nothing to assign
    assert quantizer.formats(variables) == formats[:1] * 3


@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_no_number_stays_so(compiled):
    run = tf.function(on_grid, jit_compile=compiled)
    codes, scale, low, high = map(tf.constant, ([np.nan, -9.0, 2.0, 9.0], 0.5, -4.0, 3.0))
    held = run(codes, scale, low, high).numpy()
    assert np.isnan(held[0]) and held[1:].tolist() == [-2.0, 1.0, 1.5]


def test_models_of_version_0_1_whose_means_know_no_zero_points(rng, tmp_path):
    """They lack two variables, compute as before, and change precision by assignment."""
    inputs = keras.Input((3, 5, 2), name="x")
    y = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU()(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="head")(y))
    stats = tfxp.measure_model(model, rng.normal(size=(32, 3, 5, 2)).astype(np.float32))
    new = tfxp.quantize_model(model, "w4a6", stats)
    config = new.get_config()
    pool = next(layer for layer in config["layers"] if layer["name"] == "pool")
    del pool["config"]["quantize_config"]["config"]["output_quantizer"]["config"]["zero_points"]
    old = keras.Model.from_config(config)
    kept = [w for w in new.weights if "zero_point" not in w.name]
    assert len(kept) == len(new.weights) - 2 == len(old.weights)
    old.set_weights([w.numpy() for w in kept])
    assert tfxp.precision_of(old) == tfxp.precision_of(new)
    tfxp.set_precision(old, "w6a8", stats)
    tfxp.set_precision(new, "w6a8", stats)
    assert tfxp.precision_of(old) == tfxp.precision_of(new)
    report = tfxp.export_tflite(old, tmp_path / "old.tflite")
    assert any("pool: saved by version 0.1" in note for note in report.notes)
    assert not tfxp.export_tflite(new, tmp_path / "new.tflite").notes
