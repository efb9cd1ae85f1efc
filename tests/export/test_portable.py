"""Files of portable rounding: the same integers on every runtime, or a verdict that says where not.

The runtimes are the oracle; each enumerates all codes of an operator in one run.
"""

import importlib.util

import numpy as np
import pytest

import tfxp
from tests.cases import built, inputs_of, randomize
from tests.conftest import ROOT
from tests.export.random_portable import outcome
from tests.slow_cases import slow, sometimes
from tfxp.comparison.portability import (
    INPUT_STEPS,
    OPERATORS,
    Verdict,
    not_portable,
    portability,
)
from tfxp.comparison.runtime_results import compare_runtimes
from tfxp.errors import ExportError
from tfxp.graph import IntegerGraph, Operator, Quantization, Tensor, read_tflite
from tfxp.interpreter import Interpreter
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap

ARITHMETICS = ("litert", "builtin")
RUNTIMES = ["litert", "reference", "builtin"]
if importlib.util.find_spec("tflite_micro"):
    RUNTIMES.append("tflm")


def exported(model, precision, path, **options):
    """A network of full formats, which needs no measurements."""
    qmodel = tfxp.quantize_model(model, precision)
    report = tfxp.export_tflite(qmodel, path, **options)
    return report, read_tflite(path)


def agrees(graph, feeds):
    results = compare_runtimes(graph, feeds, RUNTIMES)
    assert [row.sentence() for row in results if not row.exact] == []


def pairs(low=-128, high=127):
    """All pairs of 8-bit codes, as two images one row high."""
    a, b = np.meshgrid(np.arange(low, high + 1), np.arange(low, high + 1))
    return [part.reshape(-1, 1, 256, 1).astype(np.int8) for part in (a, b)]


@pytest.mark.parametrize("kind", [layers.Add, layers.Subtract, layers.Concatenate, layers.Maximum])
def test_signed_sums_and_changes_of_format(kind, tmp_path):
    """8 bits each, half a step apart, to twice the coarser step: ties of both signs."""
    a, b = keras.Input((1, 256, 1), name="a"), keras.Input((1, 256, 1), name="b")
    model = keras.Model([a, b], kind(name="join")([a, b]))
    rules = {
        "a": LayerPrecision(activations="Q3.4"),
        "b": LayerPrecision(activations="Q4.3"),
        "join": LayerPrecision(activations="Q5.2"),
    }
    report, graph = exported(model, PrecisionMap(layers=rules), tmp_path / "m.tflite")
    assert report.not_portable == ()
    agrees(graph, pairs())


def test_the_plain_operators_differ(tmp_path):
    """What portable=False writes is known to differ, and the report says so."""
    a, b = keras.Input((1, 256, 1), name="a"), keras.Input((1, 256, 1), name="b")
    model = keras.Model([a, b], layers.Add(name="join")([a, b]))
    default = LayerPrecision(activations="Q3.4")
    pmap = PrecisionMap(default, {"join": LayerPrecision(activations="Q4.3")})
    report, graph = exported(model, pmap, tmp_path / "m.tflite", portable=False)
    assert [verdict.operator for verdict in report.not_portable] == ["ADD"]
    found = compare_runtimes(graph, pairs(), ["litert", "reference"])
    assert found[0].exact and found[1].differing == 16_512


@pytest.mark.parametrize("size", [(3, 2), (4, 4), (7, 8), (5, 5)])
@pytest.mark.parametrize("output", ["Q2.5", "Q3.4", "Q1.6"])
def test_means_over_positions(size, output, tmp_path, rng):
    model = keras.Sequential([layers.GlobalAveragePooling2D(input_shape=(*size, 64), name="m")])
    rules = {"m": LayerPrecision(activations=output)}
    pmap = PrecisionMap(LayerPrecision(activations="Q3.4"), rules)
    report, graph = exported(model, pmap, tmp_path / "m.tflite")
    assert report.not_portable == ()
    assert graph.operators[0].name == "DEPTHWISE_CONV_2D"
    small = rng.integers(-3, 4, (20, *size, 64))  # sums near ties
    agrees(graph, [np.concatenate([small, rng.integers(-128, 128, small.shape)]).astype(np.int8)])


def test_means_over_channels_run_everywhere(tmp_path, rng):
    inputs = keras.Input((4, 24))
    model = keras.Model(inputs, layers.LayerNormalization(name="n")(inputs))
    x = rng.normal(size=(64, 4, 24)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w6a8", tfxp.measure_model(model, x))
    report = tfxp.export_tflite(qmodel, tmp_path / "m.tflite", verify=x)
    assert report.verification.exact
    assert "MEAN" not in {verdict.operator for verdict in report.not_portable}


PRECISIONS = ["w7a8c", "w7a4", "w6a8", "w4a4c", "w2a2", "w1a3"]


@pytest.mark.parametrize("precision", sometimes(PRECISIONS, {"w4a4c", "w2a2"}))
def test_a_network_of_many_layers(precision, tmp_path):
    i = keras.Input((9, 7, 3))
    x = layers.Conv2D(6, 3, activation="relu", padding="same")(i)
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.Concatenate()([layers.Add()([x, y]), layers.AveragePooling2D(1)(x)])
    x = layers.Conv2DTranspose(4, 3, strides=2)(layers.MaxPooling2D(2)(x))
    x = layers.Dense(5, use_bias=False)(layers.GlobalAveragePooling2D()(x))
    from tests.cases import randomize

    model = randomize(keras.Model(i, x), 3)
    data = inputs_of(model, 48)
    qmodel = tfxp.quantize_model(model, precision, tfxp.measure_model(model, data))
    report = tfxp.export_tflite(
        qmodel, tmp_path / "m.tflite", verify=data, runtimes=RUNTIMES, portable="require"
    )
    codes = inputs_of(model, 48, seed=9)
    codes = np.clip(codes * 40, -128, 127).astype(np.int8)
    runs = [Interpreter(report.path, arithmetic=name).predict_codes(codes) for name in ARITHMETICS]
    assert np.array_equal(*runs)
    assert report.verification.exact
    assert [row.sentence() for row in report.verification.runtimes if not row.exact] == []


@pytest.mark.parametrize("operator", INPUT_STEPS)
def test_tables_are_the_same_down_to_a_step(operator):
    """All codes at every step, and zero points of several formats."""
    graph, codes = IntegerGraph(), np.arange(-128, 128).reshape(1, -1).astype(np.int8)
    scale, zero = (2.0**-8, -128) if operator == "LOGISTIC" else (2.0**-7, 0)
    step, coarsest = INPUT_STEPS[operator]
    while step <= coarsest:
        for point in (-128, 0, 112, 120):
            name = f"{step:g}_{point}"
            scheme = Quantization([step], [point])
            x = graph.add_tensor(Tensor(name, (1, 256), "INT8", scheme))
            output = Quantization([scale], [zero])
            y = graph.add_tensor(Tensor(f"y_{name}", (1, 256), "INT8", output))
            graph.add_operator(Operator(operator, [x], [y], {}, 2))
            graph.inputs.append(x)
            graph.outputs.append(y)
        step *= 2
    assert not_portable(graph) == []
    agrees(graph, [codes] * len(graph.inputs))


@pytest.mark.parametrize("precision", ["w6a8", "w4a4"])
def test_sigmoids_inside(precision, tmp_path):
    first = layers.Dense(12, "sigmoid", input_shape=(6,))
    model = keras.Sequential([first, layers.Dense(9, "tanh"), layers.Dense(4)])
    x = 4 * inputs_of(model, 64)
    qmodel = tfxp.quantize_model(model, precision, tfxp.measure_model(model, x))
    path = tmp_path / "m.tflite"
    report = tfxp.export_tflite(qmodel, path, verify=x, runtimes=RUNTIMES)
    assert report.verification.exact
    coarse = [v for v in report.not_portable if v.operator == "QUANTIZE"]
    assert coarse == [] or report.not_portable[0].operator in INPUT_STEPS
    if not report.not_portable:
        assert all(row.exact for row in report.verification.runtimes)


@pytest.mark.parametrize(("nearly", "factor", "rest"), [(False, 4, 2), slow(True, 2, 1)])
def test_a_verdict_of_same_is_never_wrong(nearly, factor, rest):
    """Sums in portable form, by every number of bits shifted out: as few as make them ties, too."""
    codes = np.arange(-128, 128, dtype=np.int8)[:, None]
    below = np.nextafter(np.float32(1), np.float32(0)) if nearly else 1
    for shift in range(-1, 6):
        graph = IntegerGraph()
        scheme = Quantization([2.0**-4 * below], [0])
        x = graph.add_tensor(Tensor("x", (1, 1), "INT8", Quantization([1.0], [0])))
        w = graph.add_tensor(Tensor("w", (1, 1), "INT8", scheme, np.array([[factor]], np.int8)))
        b = graph.add_tensor(Tensor("b", (1,), "INT32", scheme, np.array([rest], np.int32)))
        y = graph.add_tensor(Tensor("y", (1, 1), "INT8", Quantization([2.0 ** (shift - 4)], [0])))
        options = {"keep_num_dims": True, "fused_activation_function": "NONE"}
        graph.add_operator(Operator("FULLY_CONNECTED", [x, w, b], [y], options, 5))
        graph.inputs, graph.outputs = [x], [y]
        whole = shift < (2 if not nearly else 1)
        assert bool(not_portable(graph)) == (not whole and 2**shift <= factor), shift
        if not not_portable(graph):
            agrees(graph, [codes])


def test_eight_bits_are_listed_and_refused(tmp_path):
    model = built("conv_valid_relu")
    x = inputs_of(model, 16)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    report = tfxp.export_tflite(qmodel, tmp_path / "m.tflite")
    assert {verdict.operator for verdict in report.not_portable} == {"CONV_2D"}
    assert report.to_dict()["not_portable"][0]["reason"].startswith("its sums meet ties")
    names = ".*".join(verdict.tensor for verdict in report.not_portable)
    path = tmp_path / "refused.tflite"
    with pytest.raises(ExportError, match=rf"(?s)portable='require'.*{names}"):
        tfxp.export_tflite(qmodel, path, portable="require")
    assert not path.exists()


def test_packed_weights_are_not_portable(tmp_path):
    model = built("conv_valid_relu")
    x = inputs_of(model, 16)
    qmodel = tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x))
    report = tfxp.export_tflite(qmodel, tmp_path / "m.tflite", pack_int4=True)
    assert all("INT4" in verdict.reason for verdict in report.not_portable)
    assert report.not_portable


def test_engine_rounding_keeps_its_files(tmp_path):
    """A model that was saved with the engine's rounding is written as it always was."""
    model = keras.Sequential([layers.Dense(3, input_shape=(4,), name="d")])
    pmap = PrecisionMap(LayerPrecision("Q0.3", "Q2.2"), rounding="engine")
    _, graph = exported(model, pmap, tmp_path / "m.tflite")
    weights = next(t for t in graph.tensors if t.name == "d/kernel")
    assert np.abs(weights.data).max() <= 8 and weights.scale == 2.0**-3
    assert not_portable(graph)


@pytest.mark.parametrize("seed", [1, 5])
def test_random_networks(seed, tmp_path):
    kind, words = outcome(seed, tmp_path / "m.tflite", RUNTIMES)
    assert not kind.startswith("differs"), words


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 130, 10))
def test_more_random_networks(first, tmp_path):
    for seed in range(first, first + 10):
        kind, words = outcome(seed, tmp_path / "m.tflite", RUNTIMES)
        assert not kind.startswith("differs"), (seed, words)


def test_every_written_operator_has_a_verdict():
    import re

    from tfxp.export.operators.writers import WRITERS

    words = " ".join(writer.operators for writer in WRITERS.values())
    named = set(re.findall(r"[A-Z][A-Z0-9_]{2,}", words))
    assert named - set(OPERATORS) == set()


def test_all_tensors_get_one(tmp_path):
    model = keras.Sequential([layers.Dense(3, input_shape=(4,), activation="elu")])
    x = inputs_of(model, 16)
    qmodel = tfxp.quantize_model(model, "w4a4", tfxp.measure_model(model, x))
    tfxp.export_tflite(qmodel, tmp_path / "m.tflite")
    graph = read_tflite(tmp_path / "m.tflite")
    assert len(portability(graph)) == len(graph.operators)
    assert not_portable(graph) == []
    tfxp.export_tflite(qmodel, tmp_path / "m.tflite", portable=False)
    found = not_portable(read_tflite(tmp_path / "m.tflite"))
    assert "ELU" in {verdict.operator for verdict in found}


def verdict_rows():
    """The rows of docs/runtimes.md: operators that share a verdict, when, and what else."""
    groups = {}
    for name, verdict in OPERATORS.items():
        groups.setdefault((verdict.condition, verdict.otherwise), []).append(name)
    rows = []
    for (condition, otherwise), names in groups.items():
        if condition is None:
            verdict = "not"
        else:
            verdict = f"same if: {condition}" if condition else "same everywhere"
        rows.append(f"| {', '.join(names)} | {verdict} | {otherwise or '–'} |")
    return rows


def test_the_page_has_every_verdict():
    text = (ROOT / "docs" / "runtimes.md").read_text()
    assert [row for row in verdict_rows() if row not in text] == []


def test_the_tool_says_a_reason_once():
    from tools.export_tflite import portability_lines

    verdicts = [Verdict(name, kind, why) for name, kind, why in (
        ("a", "CONV_2D", "ties"), ("sum", "ADD", "coarse"), ("b", "CONV_2D", "ties"))]  # fmt: skip
    assert portability_lines(verdicts) == [
        "runtimes may differ: a, b (CONV_2D): ties",
        "runtimes may differ: sum (ADD): coarse",
    ]


def test_functions_are_alike_as_tables(tmp_path):
    """Activations that each runtime computes its own way, or has no operator for."""
    names = ("elu", "gelu", "exponential", "softplus", "softsign", "sigmoid", "tanh")
    x = inputs = keras.Input((6,))
    for name in names:
        x = layers.Dense(7, name)(x)
    x = layers.ThresholdedReLU(0.5)(layers.LeakyReLU(0.1)(layers.Dense(7)(x)))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    data = 2 * inputs_of(model, 64)
    qmodel = tfxp.quantize_model(model, "w4a5", tfxp.measure_model(model, data))
    report = tfxp.export_tflite(
        qmodel, tmp_path / "m.tflite", verify=data, runtimes=[*RUNTIMES, "c"], portable="require"
    )
    assert all(row.exact for row in report.verification.runtimes)
    kinds = [operator.name for operator in read_tflite(report.path).operators]
    assert kinds.count("GATHER") >= 7 and not {"ELU", "GELU", "EXP", "LEAKY_RELU"} & set(kinds)
