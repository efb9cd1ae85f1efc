"""Layer normalization in steps: the same function, whatever its settings; what stays one layer."""

import numpy as np
import pytest

import tfxp
from tests.cases import randomize
from tfxp.errors import ExportError, UnsupportedLayerError
from tfxp.export import integer_graph_of
from tfxp.keras import keras, layers, tf
from tfxp.precision import PrecisionMap
from tfxp.quantization.plan import prepare
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.normalize.normalize import normalize

X = np.random.default_rng(0).normal(0.3, 1.5, size=(20, 5, 6)).astype(np.float32)
PARTS = ["norm_mean", "norm_centered", "norm_guarded", "norm_direction"]


def network(**options):
    x = inputs = keras.Input((5, 6))
    return keras.Model(inputs, layers.LayerNormalization(name="norm", **options)(x))


@pytest.mark.parametrize(
    "options",
    [{}, {"epsilon": 1e-6}, {"scale": False, "epsilon": 0.5}, {"center": False, "axis": 2}],
    ids=str,
)
def test_the_same_function(options):
    model = randomize(network(**options))
    plan = prepare(model)
    assert all(spec.kind != "LayerNormalization" for spec in plan.graph.layers.values())
    x = np.concatenate([X, np.zeros_like(X[:1]), np.ones_like(X[:1]), 1e-3 * X[:1]])
    assert np.abs(plan.graph.to_model()(x) - model(x)).max() < 1e-4  # float32 of a hundred
    assert plan.selected()["@norms"] == PARTS


def test_a_shared_layer_is_split_at_every_call():
    norm = layers.LayerNormalization(name="norm")
    a, b = keras.Input((5, 6)), keras.Input((5, 6))
    model = randomize(keras.Model([a, b], [norm(a), norm(b) * 2.0]))
    plan = prepare(model)
    for ours, theirs in zip(plan.graph.to_model()([X, -X]), model([X, -X]), strict=True):
        assert np.abs(ours - theirs).max() < 1e-5
    assert len(plan.selected()["@norms"]) == 8


def test_other_axes_and_masks_that_are_read_stay_one_layer():
    words = keras.Input((5,))
    x = layers.Embedding(9, 6, mask_zero=True)(words)
    x = layers.LayerNormalization(name="masked")(x)
    y = layers.LayerNormalization(axis=1, name="steps")(layers.Reshape((5, 6))(x))
    read = layers.GlobalAveragePooling1D()(layers.RNN(layers.GRUCell(2), return_sequences=True)(x))
    model = randomize(keras.Model(words, [read, y]))
    graph = normalize(LayerGraph.from_model(model))
    kinds = {name: graph.layers[name].kind for name in ("masked", "steps")}
    assert set(kinds.values()) == {"LayerNormalization"}
    tokens = np.random.default_rng(1).integers(0, 9, (8, 5))
    for ours, theirs in zip(graph.to_model()(tokens), model(tokens), strict=True):
        assert np.array_equal(ours, theirs)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, tokens))
    with pytest.raises(ExportError) as caught:
        integer_graph_of(qmodel)
    assert "steps (LayerNormalization): has no integer operator (its axes are" in str(caught.value)


def test_a_mask_that_nobody_reads_is_no_obstacle():
    words = keras.Input((5,))
    x = layers.LayerNormalization(name="norm")(layers.Embedding(9, 6, mask_zero=True)(words))
    model = keras.Model(words, layers.Conv1D(2, 2)(x))
    assert prepare(model).selected()["@norms"] == PARTS


def test_steps_keep_8_bits_where_the_default_is_lower():
    model = randomize(network())
    stats = tfxp.measure_model(model, X)
    qmodel = tfxp.quantize_model(model, "w4a4", stats)
    rules = tfxp.precision_of(qmodel).layers
    assert {rules[name].activations.bits for name in PARTS} == {8}
    tfxp.set_precision(qmodel, PrecisionMap.from_dict(
        {"schema": 1, "default": {"activations": 4}, "layers": {"@norms": {"activations": 5}}}
    ))  # fmt: skip
    rules = tfxp.precision_of(qmodel).layers
    assert {rules[name].activations.bits for name in PARTS} == {5}


def test_eight_bits_are_enough_for_rows_of_any_size():
    """Variances that differ by 2^6: in 8 bits, the small ones would have next to nothing."""
    model = network(epsilon=1e-6)
    x = X * 2.0 ** -np.arange(20)[:, None, None].clip(max=3)
    qmodel = tfxp.quantize_model(model, "w8a8", tfxp.measure_model(model, x))
    noise = np.square(qmodel(x) - model(x)).mean(axis=(1, 2))
    power = np.square(model(x)).mean(axis=(1, 2))
    assert (10 * np.log10(power / noise)).min() > 18


def test_sixteen_bits_have_no_operator():
    model = randomize(network())
    wide = PrecisionMap.uniform("Q0.7", "Q3.10")
    with pytest.raises(ExportError) as caught:
        integer_graph_of(tfxp.quantize_model(model, wide))
    assert "norm_direction: LiteRT's L2_NORMALIZATION takes 8 bits" in str(caught.value)


def test_functions_along_other_axes_are_refused_by_name():
    x = inputs = keras.Input((5, 6))
    model = keras.Model(inputs, [tf.math.l2_normalize(x, 1), tf.reduce_mean(x, [1, 2])])
    with pytest.raises(UnsupportedLayerError) as caught:
        tfxp.quantize_model(model, "w8a8")
    assert "math.l2_normalize): called with 1, which no form" in str(caught.value)
    assert "math.reduce_mean): called with [1, 2], which no form" in str(caught.value)
