"""Keras against tfxp's interpreter against LiteRT's default engine: every element, every layer.

Where they cannot agree, the export must have said so: no difference ever comes without a note.
"""

import dataclasses

import numpy as np
import pytest

import tfxp
from tests.cases import CASES, built, inputs_of, randomize
from tests.parity.compare import Trio
from tfxp.errors import ExportError
from tfxp.export import integer_graph_of
from tfxp.formats import FixedPointFormat
from tfxp.keras import keras, layers, tf
from tfxp.precision import LayerPrecision, PrecisionMap

BITS = [(8, 8), (7, 7), (6, 6), (5, 5), (4, 4), (3, 3), (2, 4)]
# These run always; the others with --slow.
COMMON = {
    "conv_strides", "depthwise", "relu_alone", "concatenate", "average_pool_same", "global_max",
    "shared_dense_two_inputs", "shared_two_outputs", "everything",
}  # fmt: skip
SAMPLES = 12


def uniform(weights, activations, per_channel=False):
    """The same bits everywhere, inputs and outputs of the network included."""
    edge = LayerPrecision(activations=activations)
    return PrecisionMap(
        LayerPrecision(weights, activations, per_channel=per_channel),
        {"@inputs": edge, "@outputs": edge},
    )


@dataclasses.dataclass
class Case:
    """A network, its statistics, inputs that saturate, and its three forms."""

    name: str
    model: keras.Model
    stats: tfxp.ModelStats
    x: list
    forms: Trio


@pytest.fixture(scope="module")
def case(request):
    """A case, quantized once; precision changes by assignment.

    Its parameter is the name: pytest runs all tests of one name in a row, so each is built once.
    """
    model = built(request.param)
    x = inputs_of(model, SAMPLES)
    stats = tfxp.measure_model(model, x)
    beyond = tf.nest.map_structure(lambda part: 1.6 * part, x)
    forms = Trio(tfxp.quantize_model(model, "w8a8", stats))
    return Case(request.param, model, stats, beyond, forms)


def cases(names):
    return pytest.mark.parametrize("case", sorted(names), indirect=True)


def exact(found):
    return (found.keras_interpreter, found.keras_litert, found.interpreter_litert) == (0, 0, 0)


@cases(COMMON)
def test_common_cases_are_exact(case):
    for precision in (uniform(8, 8), uniform(3, 4, True)):
        tfxp.set_precision(case.forms.qmodel, precision)
        found = case.forms.compare(case.x)
        assert exact(found) and not found.notes, (precision, found)


@pytest.mark.slow
@cases(CASES)
def test_every_case_at_every_precision(case):
    """Every other one with a scale per channel; which of them, differs from case to case."""
    saturated, zeros = [], []
    for row, (weights, activations) in enumerate(BITS, sorted(CASES).index(case.name)):
        per_channel = bool(row % 2)
        tfxp.set_precision(case.forms.qmodel, uniform(weights, activations, per_channel))
        found = case.forms.compare(case.x)
        assert exact(found) and not found.notes, (weights, activations, per_channel, found)
        saturated.append(found.saturated)
        zeros.append(found.zeros)
    if found.elements > 100:  # the case would prove little otherwise
        assert max(saturated) > 0 or max(zeros) > 0


def check_16_bits(case, precision):
    tfxp.set_precision(case.forms.qmodel, precision)
    found = case.forms.compare(case.x)
    assert found.interpreter_litert == 0, found
    assert exact(found) or found.notes, found


@cases(["concatenate"])
def test_16_bit_activations(case):
    check_16_bits(case, "w8a16")


@pytest.mark.slow
@cases(CASES)
def test_16_bit_activations_agree_between_engines(case):
    check_16_bits(case, "w8a16" if len(case.name) % 2 else "w4a16")


def wild_map(qmodel, rng):
    """Formats nobody would choose: 1 to 8 bits, binary points off by up to 9 places."""
    rules = {}
    for name, rule in tfxp.precision_of(qmodel).layers.items():
        kernel = rule.weights and _shifted(rule.weights, rng, rng.integers(2, 9), [-3, 0, 1, 3])
        signed = rule.activations.signed ^ (rng.random() < 0.2)
        bits = rng.integers(1 + signed, 9)
        shift = [-3, -1, 0, 0, 0, 1, 3, 5, 9]
        output = _shifted(rule.activations, rng, bits, shift, bool(signed))
        rules[name] = LayerPrecision(weights=kernel, activations=output)
    return PrecisionMap(layers=rules)


def _shifted(fmt, rng, bits, shifts, signed=True):
    fractional = fmt.fractional_bits + int(bits) - fmt.bits + int(rng.choice(shifts))
    symmetric = signed and bits > 1 and rng.random() < 0.3
    return FixedPointFormat.of_bits(int(bits), fractional, signed, bool(symmetric))


def check_wild(case, rng, rounds):
    forms, x = case.forms, case.x
    tfxp.set_precision(forms.qmodel, "w8a8")  # whatever another test of this case has left
    base = tfxp.precision_of(forms.qmodel)
    for _ in range(rounds):
        tfxp.set_precision(forms.qmodel, base)
        wild = wild_map(forms.qmodel, rng)
        tfxp.set_precision(forms.qmodel, wild)
        try:
            found = forms.compare(x)
        except RuntimeError:  # LiteRT refuses the file
            assert forms.refusals(), wild.to_dict()
            continue
        assert exact(found) or found.notes, (found, wild.to_dict())
    tfxp.set_precision(forms.qmodel, base)


@cases(["concatenate", "average_pool_same"])
def test_wild_formats_differ_only_with_a_note(case, rng):
    check_wild(case, rng, rounds=3)


@pytest.mark.slow
@cases(CASES)
def test_wild_formats_of_every_case(case):
    check_wild(case, np.random.default_rng(len(case.name)), rounds=6)


def check_roundings(case, roundings):
    for rounding in roundings:
        precision = PrecisionMap(LayerPrecision(weights=4, activations=4), rounding=rounding)
        found = Trio(tfxp.quantize_model(case.model, precision, case.stats)).compare(case.x)
        assert found.interpreter_litert == 0
        noted = any(f"{rounding} rounding" in note for note in found.notes)
        assert exact(found) or noted, (rounding, found)


@cases(["concatenate"])
def test_explicit_roundings_differ_only_with_a_note(case):
    check_roundings(case, ("half_away", "half_up", "half_even", "floor"))


@pytest.mark.slow
@cases(CASES)
def test_explicit_roundings_of_every_case(case):
    """Those that no operator of the engine has: half away rounds sums, floor everything else."""
    check_roundings(case, ("half_away", "floor"))


def test_kernels_are_exported_with_their_rounding():
    # One layer, 8-bit output: only the kernel's rounding can matter, and it is the same.
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(4, name="d")(inputs))
    model.set_weights([np.arange(24).reshape(6, 4) / 16 - 0.75, np.zeros(4)])
    for rounding in ("half_away", "half_up", "floor", "half_even"):
        rule = LayerPrecision(weights="Q0.3", activations="Q3.4", rounding=rounding)
        qmodel = tfxp.quantize_model(model, PrecisionMap(rule))
        codes = tfxp.integer_weights(qmodel)["d"].weights
        scaled = (np.arange(24).reshape(6, 4) / 16 - 0.75) * 8
        wanted = {
            "half_away": np.sign(scaled) * np.floor(np.abs(scaled) + 0.5),
            "half_up": np.floor(scaled + 0.5),
            "half_even": np.rint(scaled),
            "floor": np.floor(scaled),
        }[rounding]
        assert np.array_equal(codes, np.clip(wanted, -8, 7))
        assert np.array_equal(codes / 8, tfxp.strip(qmodel).get_weights()[0])


@pytest.mark.parametrize("name", ["depthwise", "dense"])
@pytest.mark.parametrize(
    ("weights", "activations"), [("wrpn:2", 8), ("wrpn:4", 4), ("wrpn:1", 8), (4, "wrpn:4")]
)
def test_wrpn_grids_differ_only_with_a_note(name, weights, activations):
    model = built(name)
    x = inputs_of(model, SAMPLES, low=0.0)
    stats = tfxp.measure_model(model, x)
    found = Trio(tfxp.quantize_model(model, uniform(weights, activations), stats)).compare(x)
    assert found.interpreter_litert == 0
    assert exact(found) or found.notes, found


def test_binary_kernels_of_one_layer_are_within_one_step():
    model = built("conv_same")
    x = inputs_of(model, SAMPLES)
    precision = PrecisionMap.uniform("wrpn:1", 8)
    found = Trio(tfxp.quantize_model(model, precision, tfxp.measure_model(model, x))).compare(x)
    assert found.lsb <= 1 and found.keras_litert < found.elements / 20, found


def kept_batch_norm(**options):
    inputs = keras.Input((8, 6, 3))
    y = layers.Conv2D(8, 3, use_bias=options.pop("bias", True))(inputs)
    y = layers.BatchNormalization(**options)(y)
    return randomize(keras.Model(inputs, layers.ReLU()(y)))


@pytest.mark.parametrize("options", [{}, {"bias": False, "scale": False}, {"center": False}])
def test_kept_batch_norm_is_within_one_step(options):
    model = kept_batch_norm(**options)
    if not options:  # a channel that is switched off
        gamma = model.layers[2].gamma
        gamma.assign(np.where(np.arange(8) == 3, 0, gamma.numpy()))
        assert (gamma.numpy() < 0).any()
    x = inputs_of(model, SAMPLES)
    stats = tfxp.measure_model(model, x, fold_batch_norm=False)
    for precision in ("w8a8", "w4a4c"):
        qmodel = tfxp.quantize_model(model, precision, stats, fold_batch_norm=False)
        assert any(isinstance(_inner(layer), layers.BatchNormalization) for layer in qmodel.layers)
        found = Trio(qmodel).compare(x)
        assert found.lsb <= 1 and found.interpreter_litert == 0, found
        assert any("BatchNormalization" in note for note in found.notes)


def _inner(layer):
    return getattr(layer, "layer", layer)


@pytest.mark.parametrize("name", ["conv_groups", "depthwise"])
def test_packed_int4_differs_only_with_a_note(name):
    model = built(name)
    x = inputs_of(model, SAMPLES)
    forms = Trio(tfxp.quantize_model(model, "w4a8", tfxp.measure_model(model, x)))
    packed, plain = forms.compare(x, pack_int4=True), forms.compare(x)
    assert exact(plain) and not plain.notes
    assert any("INT4" in note for note in packed.notes)


def test_a_bias_past_32_bits_is_refused():
    model = built("conv_same")
    model.layers[-1].bias.assign(np.full(5, 1e6))
    tiny = PrecisionMap(LayerPrecision(weights="Q-10.17", activations="Q0.7"))
    with pytest.raises(ExportError, match="conv2d: the bias needs more than 32 bits"):
        integer_graph_of(tfxp.quantize_model(model, tiny))


# --- the real network ----------------------------------------------------------------------------

RESNET = (
    "models/mlcommons+tiny/benchmark/training/image_classification/trained_models/"
    "pretrainedResnet.h5"
)


@pytest.fixture(scope="module")
def resnet_8(shared):
    """The quantized network and 1000 images."""
    with np.load(shared / "data/cifar10_test_first5k.npz") as data:
        images = data["x"][:1000].astype(np.float32)
    model = tfxp.load_model(shared / RESNET)
    return tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, images[:128])), images


@pytest.mark.slow
@pytest.mark.parametrize("bits", [(8, 8), (6, 6), (4, 4), (2, 4), (8, 16)])
def test_resnet_8_on_1000_images(resnet_8, tmp_path, bits):
    qmodel, images = resnet_8
    tfxp.set_precision(qmodel, uniform(*bits))
    report = tfxp.export_tflite(qmodel, tmp_path / "resnet8.tflite", verify=images)
    found = report.verification
    assert found.samples == 1000 and found.elements == 10000
    assert found.mismatches_between == 0
    if bits[1] <= 8:
        assert found.exact and not report.notes, found
