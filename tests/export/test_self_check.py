"""No file leaves the exporter unchecked: differences that nothing announces, LiteRT's refusals."""

import json

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tests.export.random_networks import RandomNetwork
from tests.parity.compare import Trio
from tfxp.errors import ConfigError, ExportError
from tfxp.export import integer_graph_of
from tfxp.export.exactness_notes import exactness_notes
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap
from tfxp.quantization import read_network
from tfxp.quantizers import ActivationQuantizer


def chain(*steps, shape=(6,)):
    x = inputs = keras.Input(shape, name="x")
    for step in steps:
        x = step(x)
    return randomize(keras.Model(inputs, x))


def rules(default=("Q0.7", "Q0.7"), **layers):
    return PrecisionMap(
        LayerPrecision(*default), {n: LayerPrecision(*r) for n, r in layers.items()}
    )


def coarse(first, weights, output="Q-7.14", shape=(6,)):
    """A first layer whose accumulator steps are 256 output steps or more."""
    last = layers.Dense(3, name="e") if len(shape) == 1 else layers.Conv2D(3, 1, name="e")
    middle = layers.Activation("sigmoid", name="s")
    precision = rules(d=(weights, output), s=("Q0.7", "UQ0.5"))
    return tfxp.quantize_model(chain(first, middle, last, shape=shape), precision)


@pytest.fixture(scope="module")
def qmodel():
    return tfxp.quantize_model(chain(layers.Dense(4, "relu", name="d"), layers.Dense(3)), rules())


def test_figures(qmodel, tmp_path):
    found = tfxp.export_tflite(qmodel, tmp_path / "net.tflite").self_check
    assert (found.samples, found.tensors, found.litert) == (8, 3, "agrees") and not found.differing
    assert found.elements == 8 * (6 + 4 + 3) and "as in Keras" in found.sentence()
    assert json.dumps(found.to_dict())
    assert tfxp.export_tflite(qmodel, tmp_path / "net.tflite", check=False).self_check is None


@pytest.mark.parametrize("with_data", [False, True])
def test_what_no_note_announces_is_no_file(qmodel, tmp_path, monkeypatch, with_data, rng):
    """A writer that forgets an activation, as one did."""
    from tfxp.export.graph_builder import GraphBuilder

    monkeypatch.setattr(GraphBuilder, "closing_relu", lambda *_: None)
    path = tmp_path / "net.tflite"
    path.write_bytes(b"precious")
    data = {"verify": rng.normal(size=(9, 6))} if with_data else {}
    with pytest.raises(ExportError, match=r"Keras does at 'd' .*values differ, by up to .* LSB"):
        tfxp.export_tflite(qmodel, path, **data)
    assert path.read_bytes() == b"precious" and list(tmp_path.iterdir()) == [path]
    report = tfxp.export_tflite(qmodel, path, check=False, **data)
    assert not with_data or report.verification.mismatches_litert > 0


def test_a_runtime_that_does_not_exist(qmodel):
    with pytest.raises(ConfigError, match="runtime of export_tflite: got 'tflm'"):
        tfxp.export_tflite(qmodel, "never.tflite", runtime="tflm")


@pytest.mark.parametrize("precision", ["w16a16", "w12a12", "w9a8", "w16a8"])
def test_weights_that_litert_does_not_take(precision, tmp_path, rng):
    model, path = chain(layers.Dense(4, "relu", name="d"), layers.Dense(3)), tmp_path / "n.tflite"
    x = rng.normal(size=(9, 6)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, precision, tfxp.measure_model(model, x))
    with pytest.raises(ExportError, match="LiteRT does not run the file(.|\n)*d: its weights"):
        tfxp.export_tflite(qmodel, path)
    assert not path.exists()
    report = tfxp.export_tflite(qmodel, path, runtime="tfxp", verify=x)
    assert report.verification.litert_error in report.notes[-1]
    assert report.verification.mismatches_litert == -1 and report.verification.max_abs_lsb <= 1


FIRST = {
    "Dense": (lambda: layers.Dense(4, name="d"), (6,)),
    "Conv2D": (lambda: layers.Conv2D(4, 3, name="d"), (5, 5, 2)),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3, name="d"), (5, 5, 2)),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(4, 3, name="d"), (5, 5, 2)),
}


@pytest.mark.parametrize("kind", FIRST)
def test_coarse_steps_are_refused_before_litert_dies_of_them(kind, tmp_path, monkeypatch):
    """Dense, 5-bit sigmoid, Dense with a ratio of 512 ends LiteRT's process with SIGABRT."""
    make, shape = FIRST[kind]
    qmodel = coarse(make(), "Q9.-2", shape=shape)
    layer = qmodel.get_layer("d").layer
    layer.set_weights([np.full(w.shape, 508.0) for w in layer.get_weights()])  # no bit to spare
    with pytest.raises(ExportError, match="d: one accumulator step is .* LiteRT takes less than"):
        tfxp.export_tflite(qmodel, tmp_path / "net.tflite")
    report = tfxp.export_tflite(qmodel, tmp_path / "net.tflite", runtime="tfxp")
    assert "takes less than 256" in report.self_check.litert


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", FIRST)
def test_spare_bits_rescue_coarse_steps(kind, packed, tmp_path, rng):
    make, shape = FIRST[kind]
    qmodel = coarse(make(), "Q5.-2", shape=shape)
    report = tfxp.export_tflite(qmodel, tmp_path / "net.tflite", pack_int4=packed)
    assert report.self_check.litert == "agrees" and not report.self_check.differing
    graph = tfxp.read_tflite(tmp_path / "net.tflite")
    kernel = next(t for t in graph.tensors if t.name == "d/kernel")
    plain = tfxp.integer_weights(qmodel)["d"]
    factor = plain.weight_scale / kernel.quantization.scale
    assert kernel.type in ("INT8", "INT4" if packed else "INT8")
    assert factor == 2 ** np.rint(np.log2(factor)) > 1
    assert np.abs(kernel.data).max() == np.abs(plain.weights).max() * factor
    x = rng.normal(size=(20, *shape)).astype(np.float32)
    assert Trio(qmodel).compare(x).lsb == 0


def test_open_sizes_and_indices(tmp_path):
    photo = chain(layers.Conv2D(3, 9), layers.GlobalAveragePooling2D(), shape=(None, None, 2))
    words = chain(layers.Embedding(11, 4), layers.GlobalAveragePooling1D(), shape=(7,))
    for model in (photo, words):
        qmodel = tfxp.quantize_model(model, rules(("Q0.7", "Q3.4")))
        found = tfxp.export_tflite(qmodel, tmp_path / "net.tflite").self_check
        assert found.litert == "agrees" and found.elements > 0


def test_steps_that_xnnpack_does_not_requantize_are_noted(tmp_path):
    """With the engine's rounding; portable files take what gets coarser through 16 bits."""
    drawn = RandomNetwork(202)
    qmodel = tfxp.quantize_model(drawn.model, drawn.precision, drawn.stats, rounding="engine")
    report = tfxp.export_tflite(qmodel, tmp_path / "net.tflite")
    assert any("builtin QUANTIZE rounds twice" in note for note in report.notes)


@pytest.mark.parametrize("first", [0])
def test_random_networks(first, tmp_path):
    for seed in range(first, first + 3):
        RandomNetwork(seed).exported(tmp_path / "net.tflite")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 150, 25))
def test_many_random_networks(first, tmp_path):
    for seed in range(first, first + 25):
        RandomNetwork(seed).exported(tmp_path / "net.tflite")


def test_compare_counts_only_what_has_values():
    from tfxp.comparison.compare import compare_traces
    from tfxp.comparison.trace import trace_file, trace_interpreter

    graph = integer_graph_of(tfxp.quantize_model(chain(layers.Dense(2, name="d")), rules()))
    ran = trace_interpreter(graph, [np.zeros((2, 6), np.int8)])
    found = compare_traces(ran, trace_file(graph, "file"))
    assert "no values to compare" in found.sentence() and found.first() is None
    assert "no values of it" in found.rows[0].sentence()


def test_augmentation_in_front_of_everything_does_not_act(tmp_path):
    """Keras' augmentation layers are called with training=True unless told otherwise."""
    crop, flip = layers.RandomCrop(4, 4), layers.RandomFlip("horizontal")
    model = chain(flip, crop, layers.Conv2D(2, 3), shape=(5, 5, 2))
    data = np.random.default_rng(0).normal(size=(8, 5, 5, 2)).astype(np.float32)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, data))
    assert np.abs(qmodel.predict(data, verbose=0) - model.predict(data, verbose=0)).max() < 0.3
    assert tfxp.export_tflite(qmodel, tmp_path / "net.tflite").self_check is not None


def test_convolutions_of_more_axes_than_their_operators_take_are_refused():
    model = chain(layers.Conv1D(2, 3, name="line"), shape=(3, 6, 2))
    qmodel = tfxp.quantize_model(model, PrecisionMap(LayerPrecision("Q0.7", "Q0.7")))
    with pytest.raises(ExportError, match=r"line \(Conv1D\): is called with a tensor of 4 axes"):
        integer_graph_of(qmodel)


def test_tables_of_models_saved_before_are_noted():
    """A gelu whose quantizer rounds the real function, as version 0.1 made them."""
    precision = PrecisionMap(LayerPrecision("Q0.7", "Q2.5"))
    qmodel = tfxp.quantize_model(chain(layers.Dense(4), layers.Activation("gelu")), precision)
    wrapper = qmodel.layers[-1]
    wrapper.quantize_config.output_quantizer = ActivationQuantizer()
    notes = exactness_notes(read_network(qmodel), pack_int4=False)
    assert any("saved by version 0.1" in str(note) for note in notes)
