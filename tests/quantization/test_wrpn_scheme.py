"""WRPN's map: grids only where they belong; as a scheme; switched through variables."""

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import tfxp
from tests.cases import built, inputs_of
from tfxp.errors import ConfigError, FormatError, PrecisionError
from tfxp.keras import keras, layers
from tfxp.models import build_model
from tfxp.quantization import WrpnScheme, rebuild, wrpn_precision
from tfxp.quantizers import WrpnActivationQuantizer, WrpnWeightQuantizer


def rules_of(model, *bits, **options):
    """Layer -> (weights, activations) as text; layers without weights have None."""
    rules = wrpn_precision(model, *bits, **options).layers
    return {name: (_text(r.weights), _text(r.activations)) for name, r in rules.items()}


def _text(value):
    return None if value is None else str(value)


def test_the_paper_s_map_of_resnet8():
    found = rules_of(build_model("resnet8", shortcut_norm=True), 2, 4)
    assert found == {
        "input": (None, "float"),
        "conv0": ("float", "wrpn:4"),
        "conv1_0": ("wrpn:2", "wrpn:4"),
        "conv1_1": ("wrpn:2", "float"),  # in front of the sum: may be negative
        "add1": (None, "wrpn:4"),
        "shortcut2": ("wrpn:2", "float"),
        "conv2_0": ("wrpn:2", "wrpn:4"),
        "conv2_1": ("wrpn:2", "float"),
        "add2": (None, "wrpn:4"),
        "shortcut3": ("wrpn:2", "float"),
        "conv3_0": ("wrpn:2", "wrpn:4"),
        "conv3_1": ("wrpn:2", "float"),
        "add3": (None, "wrpn:4"),
        "pool": (None, "float"),  # what the last layer reads
        "dense": ("float", "float"),
    }


def test_the_paper_s_map_of_a_pre_activation_network():
    """The stream of sums stays in full precision, and no BatchNormalization is a kernel."""
    model = build_model("preact_resnet8", width=0.25, branch_norm=True)
    found = rules_of(model, 2, 4)
    ends = {"input": (None, "float"), "conv0": ("float", "float"), "dense": ("float", "float")}
    norms = {f"preact{block}_0_norm": ("float", "wrpn:4") for block in (1, 2, 3)}
    norms["last_norm"] = ("float", "wrpn:4")
    sums = {f"add{block}": (None, "float") for block in (1, 2, 3)}
    inner = {f"conv{block}_0": ("wrpn:2", "wrpn:4") for block in (1, 2, 3)}
    outer = {f"conv{block}_1": ("wrpn:2", "float") for block in (1, 2, 3)}
    outer |= {f"shortcut{block}": ("wrpn:2", "float") for block in (2, 3)}
    assert found == {**ends, **norms, **sums, **inner, **outer, "pool": (None, "float")}
    # Integers need formats for the factors too; they are fixed point, not the weights' grid.
    for edges in ("8", "wrpn"):
        assert rules_of(model, 2, 4, edges=edges)["preact1_0_norm"] == ("8", "wrpn:4")


def test_the_first_layer_is_the_first_convolution_behind_whatever_scales_the_input():
    x = keras.Input((6, 6, 2))
    y = layers.BatchNormalization(name="norm")(layers.Rescaling(1 / 255, name="bytes")(x))
    for name in ("first", "inner", "last"):
        y = layers.Conv2D(3, 1, activation="relu", name=name)(y)
    found = rules_of(keras.Model(x, layers.GlobalAveragePooling2D(name="mean")(y)), 2, 2)
    assert found["first"] == ("float", "wrpn:2") and found["inner"] == ("wrpn:2", "float")
    assert found["bytes"] == found["norm"] == found["last"][:1] + ("float",) == ("float", "float")


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"signed": 8}, {"conv1_1": ("wrpn:3", "8"), "shortcut2": ("wrpn:3", "8")}),
        (
            {"edges": "8"},
            {"input": (None, "8"), "conv0": ("8", "wrpn:4"), "pool": (None, "8"),
             "dense": ("8", "8")},
        ),
        (
            {"edges": "wrpn"},
            {"input": (None, "8"), "conv0": ("wrpn:3", "wrpn:4"), "pool": (None, "wrpn:4"),
             "dense": ("wrpn:3", "8")},
        ),
    ],
)  # fmt: skip
def test_switches(options, changed):
    found = rules_of(build_model("resnet8"), 3, 4, **options)
    assert {name: found[name] for name in changed} == changed
    assert found["conv2_0"] == ("wrpn:3", "wrpn:4")


def test_one_of_both_in_float():
    """The paper's rows of W32 and A32: nothing is clipped that is not on a grid."""
    model = build_model("resnet8", width=0.25, shortcut_norm=True)
    both, weights, activations = (
        rules_of(model, *bits) for bits in ((2, 4), (2, "float"), ("float", 4))
    )
    for name, (w, a) in both.items():
        assert weights[name] == (w, "float")
        assert activations[name] == (None if w is None else "float", a)


def test_impossible_switches():
    model = build_model("lenet")
    with pytest.raises(ConfigError, match="edges of WRPN: got 'int4'; expected one of float, 8"):
        wrpn_precision(model, 2, 2, edges="int4")
    with pytest.raises(FormatError, match="bits of WRPN format: got 0"):
        wrpn_precision(model, 0, 2)


@pytest.fixture(scope="module")
def residual():
    """A network with a sum, BatchNormalization kept, and inputs for it."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(4)
    x = keras.Input((6, 6, 2))
    y = layers.ReLU(name="r0")(layers.Conv2D(4, 3, padding="same", name="c0")(x))
    z = layers.BatchNormalization(name="n1")(layers.Conv2D(4, 3, padding="same", name="c1")(y))
    y = layers.ReLU(name="r1")(layers.Add(name="sum")([y, z]))
    y = layers.GlobalAveragePooling2D(name="mean")(y)
    model = keras.Model(x, layers.Dense(3, name="d")(y))
    kernel = model.get_layer("c1").kernel
    kernel.assign(4 * kernel)  # common initializers leave nothing but zeros at 2 bits
    return model


def test_every_tensor_is_on_its_grid_and_no_other(residual):
    qmodel = tfxp.quantize_model(residual, wrpn_precision(residual, 2, 2), fold_batch_norm=False)
    x = np.random.default_rng(3).normal(0, 2, (16, 6, 6, 2)).astype(np.float32)
    names = ("r0", "n1", "r1", "d")
    probe = keras.Model(qmodel.inputs, [qmodel.get_layer(name).output for name in names])
    first, before, after, logits = probe.predict(x, verbose=0)
    for grid in (first, after):
        assert set(np.unique(np.rint(3 * grid))) == {0, 1, 2, 3}
        assert np.allclose(3 * grid, np.rint(3 * grid), atol=1e-6)
    assert before.min() < 0 and len(np.unique(before)) > 100 and len(np.unique(logits)) > 20
    config = qmodel.get_layer("c1").quantize_config
    assert type(config.weight_quantizers["kernel"]) is WrpnWeightQuantizer
    assert type(qmodel.get_layer("r1").quantize_config.output_quantizer) is WrpnActivationQuantizer
    assert tfxp.precision_of(qmodel).to_dict()["layers"]["sum"]["activations"] == "wrpn:2"


def test_bits_are_switched_by_assignment(residual):
    qmodel = tfxp.quantize_model(residual, wrpn_precision(residual, 8, 8), fold_batch_norm=False)
    x = np.random.default_rng(3).normal(size=(4, 6, 6, 2)).astype(np.float32)
    qmodel.compile("sgd", "mse")
    qmodel.predict(x, verbose=0)
    traces = qmodel.predict_function.experimental_get_tracing_count()
    for bits in ((2, 4), (4, 2), (3, 1)):
        pmap = wrpn_precision(qmodel, *bits)
        assert pmap == wrpn_precision(residual, *bits)
        tfxp.set_precision(qmodel, pmap)
        fresh = tfxp.quantize_model(residual, pmap, fold_batch_norm=False)
        assert np.array_equal(qmodel.predict(x, verbose=0), fresh.predict(x, verbose=0))
    assert qmodel.predict_function.experimental_get_tracing_count() == traces
    with pytest.raises(PrecisionError, match="c1: got a map that changes what is float or binary"):
        tfxp.set_precision(qmodel, wrpn_precision(qmodel, 1, 2))


def test_float_weights_survive_and_can_be_quantized_anew(residual):
    binary = tfxp.quantize_model(
        residual, wrpn_precision(residual, 1, 2, per_channel=True), fold_batch_norm=False
    )
    assert tfxp.precision_of(binary).layers["c1"].per_channel
    again = tfxp.quantize_model(binary, wrpn_precision(binary, 4, 4), fold_batch_norm=False)
    direct = tfxp.quantize_model(residual, wrpn_precision(residual, 4, 4), fold_batch_norm=False)
    x = np.random.default_rng(3).normal(size=(4, 6, 6, 2)).astype(np.float32)
    assert np.array_equal(again.predict(x, verbose=0), direct.predict(x, verbose=0))


def test_the_scheme_gives_what_quantize_model_gives(residual):
    x = np.random.default_rng(3).normal(size=(4, 6, 6, 2)).astype(np.float32)
    wanted = tfxp.quantize_model(residual, wrpn_precision(residual, 2, 4), fold_batch_norm=False)
    annotated = tfmot.quantization.keras.quantize_annotate_model(residual)
    scheme = WrpnScheme(residual, 2, 4)
    got = rebuild(tfmot.quantization.keras.quantize_apply(annotated, scheme))
    assert np.array_equal(got.predict(x, verbose=0), wanted.predict(x, verbose=0))


def test_saved_models_keep_their_grids(residual, tmp_path):
    qmodel = tfxp.quantize_model(residual, wrpn_precision(residual, 2, 2), fold_batch_norm=False)
    x = inputs_of(residual, 4)
    for name in ("net.keras", "net.h5"):
        qmodel.save(tmp_path / name)
        again = tfxp.load_model(tmp_path / name)
        assert np.array_equal(again.predict(x, verbose=0), qmodel.predict(x, verbose=0))
        assert tfxp.precision_of(again) == tfxp.precision_of(qmodel)


def test_a_network_with_every_layer_takes_the_map():
    model = built("everything")
    qmodel = tfxp.quantize_model(model, wrpn_precision(model, 2, 2), fold_batch_norm=False)
    x = inputs_of(model, 2)
    outputs = qmodel.predict(x, verbose=0)
    assert len(outputs) == 2 and all(np.isfinite(out).all() for out in outputs)
