"""Networks that take indices: what is exported, what is refused, and how they are run."""

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tests.layer_cases import build, inputs_of
from tests.slow_cases import slow
from tfxp.errors import DataError, ExportError
from tfxp.export import KerasTracer, integer_graph_of
from tfxp.graph import index_limit, write_tflite
from tfxp.interpreter import Interpreter
from tfxp.interpreter.encoding import encode_input
from tfxp.keras import keras, layers
from tfxp.precision import LayerPrecision, PrecisionMap

FIXED = PrecisionMap(LayerPrecision(weights="Q0.5", activations="Q2.5"))


def masked(*steps):
    x = inputs = keras.Input((7,), name="ids")
    x = layers.Embedding(11, 6, mask_zero=True, name="words")(x)
    for step in steps:
        x = step(x)
    return randomize(keras.Model(inputs, x))


def test_masks_are_refused_where_they_are_read():
    """Of two readers one stays a layer, and so does the other."""
    inputs = keras.Input((7,), name="ids")
    x = layers.Embedding(11, 6, mask_zero=True, name="words")(inputs)
    mean = layers.GlobalAveragePooling1D(name="mean")(x)
    model = randomize(keras.Model(inputs, [mean, layers.RNN(layers.GRUCell(2))(x)]))
    with pytest.raises(ExportError) as caught:
        integer_graph_of(tfxp.quantize_model(model, FIXED))
    assert "mean (GlobalAveragePooling1D): leaves out what words masks" in str(caught.value)


@pytest.mark.parametrize("kind", [layers.GRU, slow(layers.LSTM)], ids=lambda kind: kind.__name__)
def test_masks_of_recurrent_layers_are_exported(kind, tmp_path):
    model = masked(layers.Bidirectional(kind(3)), layers.Dense(4))
    rows = np.random.default_rng(2).integers(1, 11, (40, 7))
    rows[np.arange(7) >= np.arange(40)[:, None] % 8] = 0
    quantized = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, rows))
    masks = [name for name in tfxp.precision_of(quantized).layers if name.endswith("_mask")]
    assert masks == ["words_mask"]  # both directions share it
    report = tfxp.export_tflite(quantized, tmp_path / "q.tflite", verify=rows)
    assert report.verification.exact and report.verification.elements == 160
    wanted = model(rows).numpy()
    assert np.abs(quantized(rows).numpy() - wanted).mean() < 0.1 * np.abs(wanted).mean()


def test_masks_that_nobody_reads_are_exported(tmp_path):
    model = masked(layers.Conv1D(4, 2), layers.GlobalAveragePooling1D(name="mean"))
    x = np.random.default_rng(2).integers(0, 11, (20, 7))
    report = tfxp.export_tflite(tfxp.quantize_model(model, FIXED), tmp_path / "q.tflite", verify=x)
    assert report.verification.exact and report.verification.elements == 80 and not report.notes


def test_an_input_read_as_index_and_as_number_is_refused():
    ids = keras.Input((6,), name="ids")
    words = layers.Flatten()(layers.Embedding(11, 3, name="words")(ids))
    model = keras.Model(ids, layers.Concatenate()([words, layers.Dense(2)(ids)]))
    with pytest.raises(ExportError, match="words.*its indices come from ids"):
        integer_graph_of(tfxp.quantize_model(model, FIXED))


def test_the_file_takes_plain_integers():
    model = build("text_classifier")
    qmodel = tfxp.quantize_model(model, FIXED)
    graph = integer_graph_of(qmodel)
    source = graph.tensors[graph.inputs[0]]
    assert (source.type, source.quantization, source.shape) == ("INT32", None, (1, 9))
    assert index_limit(graph, graph.inputs[0]) == 50
    drawn = KerasTracer(qmodel).random_inputs(200, np.random.default_rng(1))[0]
    assert (drawn.min(), drawn.max()) == (0, 49)
    x = inputs_of("text_classifier", model)
    runner = Interpreter(write_tflite(graph))
    runner.allocate_tensors()
    wanted = runner.predict_codes(x)
    for kind in (np.int64, np.float32):  # as data files hold them
        assert np.array_equal(runner.predict_codes(encode_input(source, x.astype(kind))), wanted)
    with pytest.raises(DataError, match="expected whole numbers"):
        encode_input(source, x + 0.5)
    with pytest.raises(DataError, match="expected 0 to 49"):
        runner.predict_codes(x + 40)


def test_tables_wider_than_their_outputs_and_float_ones(tmp_path):
    """A table is rounded as the layer rounds it: to its own grid, then to the output's."""
    x = np.random.default_rng(2).integers(0, 11, (20, 7))
    for weights, activations in (("Q1.10", "Q1.2"), ("Q-1.2", "Q1.6"), ("float", "Q1.4")):
        rules = {"words": LayerPrecision(weights=weights, activations=activations)}
        precision = PrecisionMap(FIXED.default, layers=rules)
        model = masked(layers.Dense(4))
        report = tfxp.export_tflite(
            tfxp.quantize_model(model, precision), tmp_path / "q.tflite", verify=x
        )
        assert report.verification.exact, (weights, activations)
