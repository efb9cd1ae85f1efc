"""LSTM layers in files: which are refused and why, what the file holds, how its state goes on."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT

import tfxp
from tests.cases import randomize
from tests.parity.compare import Trio
from tfxp.comparison.trace import trace_interpreter, trace_runtime
from tfxp.errors import ExportError, PrecisionError
from tfxp.export import KerasTracer, integer_graph_of
from tfxp.export.check_exportable import check_exportable
from tfxp.graph import read_tflite, write_tflite
from tfxp.interpreter import Interpreter
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap
from tfxp.quantization.plan import prepare
from tfxp.quantization.quantized_network import QuantizedNetwork
from tfxp.quantization.resolve_formats import resolve_formats
from tfxp.runtimes import RUNTIMES
from tfxp.transforms.normalize.unrolled import MOST_STEPS

FIXED = PrecisionMap(LayerPrecision(weights="Q1.6s", activations="Q2.5"))


def network(*steps, shape=(6, 3), seed=2):
    x = inputs = keras.Input(shape, name="x")
    for step in steps:
        x = step(x)
    return randomize(keras.Model(inputs, x), seed)


def refusal(model, precision=FIXED):
    """What the export would say, without the quantized model being built."""
    plan = prepare(model)
    formats = resolve_formats(plan, precision, None)
    with pytest.raises(ExportError) as caught:
        check_exportable(QuantizedNetwork(plan, formats))
    return str(caught.value)


REFUSED = {
    "relu": ("activation is 'relu'; expected 'tanh'", {"activation": "relu"}),
    "hard": (
        "recurrent_activation is 'hard_sigmoid'; expected 'sigmoid'",
        {"recurrent_activation": "hard_sigmoid"},
    ),
    "states": ("return_state is True; expected False", {"return_state": True}),
    "given": ("it is called with initial states; the operator starts from zero", {}),
    "shared": ("2 calls share it; give each call a layer", {}),
}


def test_what_the_operator_does_not_do_is_refused():
    """All reasons at once, one layer each, of more steps than are written out."""
    shapes = ((MOST_STEPS + 1, 3), (4,), (4,), (MOST_STEPS + 1,))
    x, h, c, ids = (keras.Input(shape) for shape in shapes)
    lstm = {name: layers.LSTM(4, name=name, **REFUSED[name][1]) for name in REFUSED}
    results = [lstm[name](x) for name in ("relu", "hard")]
    results += [lstm["states"](x)[0], lstm["given"](x, initial_state=[h, c])]
    results += [lstm["shared"](x), lstm["shared"](layers.ReLU()(x))]
    words = layers.Embedding(11, 6, mask_zero=True, name="words")(ids)
    results.append(layers.LSTM(4, name="masked")(words))
    text = refusal(keras.Model([x, h, c, ids], results))
    for name, (reason, _) in REFUSED.items():
        assert f"{name} (LSTM): {reason}; it is quantized in Keras only" in text
    assert "masked (LSTM): leaves out what words masks" in text


FORMATS = {
    "wide": ("weights have 12 bits; LiteRT's takes 8 at most", "Q0.11"),
    "real": ("weights are float; give them a precision", "float"),
    "wrpn": ("its steps are exact in fixed point only, not in wrpn", "wrpn:3"),
}


def test_formats_that_do_not_fit_are_refused():
    x = keras.Input((6, 3), name="x")
    results = [layers.LSTM(2, name=name)(x) for name in FORMATS]
    rules = {name: LayerPrecision(weights=weights) for name, (_, weights) in FORMATS.items()}
    rules["real"] = LayerPrecision(weights="float", activations="Q2.9")  # makes all of them int16
    precision = PrecisionMap(LayerPrecision(weights="Q1.6s", activations="Q2.5"), rules)
    text = refusal(keras.Model(x, results), precision)
    for name, (reason, _) in FORMATS.items():
        assert f"{name} (LSTM): {reason}" in text
        assert f"{name} (LSTM): LiteRT's takes 8 bits; give all activations 8 bits" in text


def test_one_format_for_all_kernels():
    """Per channel too: the operator has one scale for a gate."""
    model = network(layers.LSTM(4, name="lstm"))
    x = np.random.default_rng(1).normal(size=(8, 6, 3))
    pmap = PrecisionMap(LayerPrecision(weights=5, activations=6, per_channel=True))
    qmodel = tfxp.quantize_model(model, pmap, tfxp.measure_model(model, x))
    assert not isinstance(tfxp.precision_of(qmodel).layers["lstm"].weights, tuple)
    assert Trio(qmodel).compare(x.astype(np.float32)).lsb == 0
    each = tuple(tfxp.formats.parse_format("Q0.4") for _ in range(16))
    several = PrecisionMap(LayerPrecision(weights=each, activations="Q2.5"))
    with pytest.raises(PrecisionError, match="weights of 'lstm': got 16 per-channel formats"):
        tfxp.quantize_model(model, several)


def test_sums_that_float32_does_not_hold_are_noted_and_those_that_wrap_refused(tmp_path):
    qmodel = tfxp.quantize_model(network(layers.LSTM(4, name="lstm"), shape=(2, 1500)), FIXED)
    qmodel.get_layer("lstm").layer.cell.kernel.assign(np.full((1500, 16), 100.0))
    (note,) = tfxp.export_tflite(qmodel, tmp_path / "wide.tflite").notes
    assert note.startswith("lstm: sums may reach ") and "past 2^24" in note
    tfxp.set_precision(qmodel, PrecisionMap(LayerPrecision(weights="Q7.0", activations="Q7.0")))
    with pytest.raises(ExportError, match=r"lstm \(LSTM\): sums may reach .* out of 32 bits"):
        tfxp.export_tflite(qmodel, tmp_path / "coarse.tflite")


def exported(tmp_path, *steps, **options):
    model = network(*steps, **options)
    qmodel = tfxp.quantize_model(model, FIXED)
    x = np.random.default_rng(3).normal(size=(5, 6, 3)).astype(np.float32)
    report = tfxp.export_tflite(qmodel, tmp_path / "lstm.tflite", verify=x)
    assert report.verification.exact and not report.notes
    return qmodel, read_tflite(tmp_path / "lstm.tflite"), x


def test_what_the_file_holds(tmp_path):
    lstm = layers.LSTM(4, name="lstm")
    qmodel, graph, _ = exported(tmp_path, lstm, layers.Dense(2))
    names = [operator.name for operator in graph.operators]
    assert names == ["UNIDIRECTIONAL_SEQUENCE_LSTM", "STRIDED_SLICE", "FULLY_CONNECTED"]
    tensors = {tensor.name: tensor for tensor in graph.tensors}
    hidden, cell = tensors["lstm/hidden_state"], tensors["lstm/cell_state"]
    assert (hidden.is_variable, hidden.type, hidden.shape) == (True, "INT8", (1, 4))
    assert (cell.is_variable, cell.type, cell.scale) == (True, "INT16", 2.0**-11)
    kernel, recurrent, bias = (part.numpy() for part in qmodel.get_layer("lstm").layer.weights)
    for number, gate in enumerate(("input", "forget", "cell", "output")):
        columns = slice(4 * number, 4 * number + 4)
        for name, real in (("kernel", kernel), ("recurrent_kernel", recurrent)):
            codes = np.rint(real[:, columns].T * 64).clip(-127, 127)
            assert np.array_equal(tensors[f"lstm/{name}/{gate}"].data, codes)
        assert np.array_equal(tensors[f"lstm/bias/{gate}"].data, np.rint(bias[columns] * 2**11))


def test_the_state_goes_on_until_it_is_reset(tmp_path):
    """Two halves of a sequence are the whole, in both engines, unless variables are reset."""
    whole = network(layers.LSTM(4, return_sequences=True, name="lstm"))
    half = network(layers.LSTM(4, return_sequences=True, name="lstm"), shape=(3, 3))
    half.set_weights(whole.get_weights())
    codes = np.random.default_rng(4).integers(-128, 128, (1, 6, 3)).astype(np.int8)
    files = [write_tflite(integer_graph_of(tfxp.quantize_model(m, FIXED))) for m in (whole, half)]
    for engine in (lambda content: LiteRT(model_content=content), Interpreter):
        wanted, parts = run(engine(files[0]), [codes])[0], run(engine(files[1]), split(codes))
        assert np.array_equal(np.concatenate(parts, axis=1), wanted)
        fresh = run(engine(files[1]), split(codes), reset=True)
        assert np.array_equal(fresh[0], parts[0]) and not np.array_equal(fresh[1], parts[1])


def split(codes):
    return [codes[:, :3], codes[:, 3:]]


def run(runner, parts, reset=False):
    runner.allocate_tensors()
    found = []
    for part in parts:
        if reset:
            runner.reset_all_variables()
        runner.set_tensor(runner.get_input_details()[0]["index"], part)
        runner.invoke()
        found.append(runner.get_tensor(runner.get_output_details()[0]["index"]))
    return found


def test_every_tensor_is_the_same_in_three_engines(tmp_path):
    first, second = layers.LSTM(5, return_sequences=True), layers.LSTM(4)
    qmodel, _, x = exported(tmp_path, first, second, layers.Dense(2))
    tfxp.set_precision(qmodel, PrecisionMap(LayerPrecision(weights="Q0.3", activations="Q-1.5")))
    tracer = KerasTracer(qmodel)
    runs, codes = [tracer.trace([x])], tracer.codes([x])
    runs.append(trace_interpreter(tracer.graph, codes))
    runs.append(trace_runtime(tracer.graph, codes, RUNTIMES["litert"]))
    compared = 0
    for name, tensor in runs[0].tensors.items():
        others = [other.tensors[name].codes for other in runs[1:]]
        assert np.array_equal(*others), name
        if tensor.codes is not None:
            assert np.array_equal(tensor.codes, others[0]), name
            compared += 1
    assert compared == 4


@pytest.mark.slow
def test_training_lowers_the_error_and_stays_exact(tmp_path):
    rng = np.random.default_rng(6)
    x = rng.normal(size=(64, 6, 3)).astype(np.float32)
    y = x[:, :3].sum(axis=(1, 2)) > 0  # the first half must be remembered
    model = network(layers.LSTM(8, name="lstm"), layers.Dense(1))
    qmodel = tfxp.quantize_model(model, "w4a8", tfxp.measure_model(model, x))
    qmodel.compile(keras.optimizers.Adam(0.02), keras.losses.BinaryCrossentropy(from_logits=True))
    losses = qmodel.fit(x, y, batch_size=16, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    report = tfxp.export_tflite(qmodel, tmp_path / "trained.tflite", verify=x)
    assert report.verification.exact and not report.notes


def test_any_number_of_steps():
    trio = Trio(tfxp.quantize_model(network(layers.LSTM(4), shape=(None, 3)), FIXED))
    for steps in (1, 9):
        x = np.random.default_rng(steps).normal(size=(3, steps, 3)).astype(np.float32)
        assert trio.compare(x).lsb == 0
