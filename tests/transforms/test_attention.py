"""Attention in parts, and products of matrices in one form, against the layers themselves."""

import numpy as np
import pytest

from tests.cases import inputs_of, randomize
from tfxp.keras import keras, layers, tf
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.normalize.masks import mask_readers, masked_layers
from tfxp.transforms.normalize.normalize import normalize


def kinds(model):
    return [spec.kind for spec in normalize(LayerGraph.from_model(model)).layers.values()]


def assert_same(model):
    x = inputs_of(model, 6)
    rebuilt = normalize(LayerGraph.from_model(model)).to_model()
    pairs = zip(*(tf.nest.flatten(m(x, training=False)) for m in (model, rebuilt)), strict=True)
    for wanted, have in pairs:
        assert wanted.shape == have.shape
        assert np.abs(wanted - have).max() < 1e-5 and np.ptp(wanted) > 0.01


def test_attention_is_the_same_in_parts():
    x, y = keras.Input((5, 6)), keras.Input((None, 4))
    shared = layers.MultiHeadAttention(2, 3, value_dim=5, output_shape=7, name="shared")
    a, scores = shared(x, layers.Dense(4)(x), return_attention_scores=True)
    b = shared(query=x, value=y, key=y)
    c = layers.MultiHeadAttention(3, 2, use_bias=False, dropout=0.3, name="self")(a, a)
    model = randomize(keras.Model([x, y], [b, c, scores]))
    assert "MultiHeadAttention" not in kinds(model)
    names = normalize(LayerGraph.from_model(model)).layers
    assert {"shared", "shared_query", "shared_key", "shared_value", "self_context"} <= set(names)
    rng = np.random.default_rng(0)
    data = [rng.normal(size=size).astype("float32") for size in ((4, 5, 6), (4, 8, 4))]
    rebuilt = normalize(LayerGraph.from_model(model)).to_model()
    for wanted, have in zip(model(data), rebuilt(data), strict=True):
        assert wanted.shape == have.shape and np.abs(wanted - have).max() < 1e-5


@pytest.mark.parametrize("how", ["by head", "by sample", "in part", "tensor", "plane", "wide"])
def test_what_stays_one_layer(how):
    x = inputs = keras.Input((5, 6))
    options, arguments = {}, {}
    if how == "by head":
        arguments = {"attention_mask": tf.ones((1, 2, 5, 5), bool)}
    elif how == "by sample":
        arguments = {"attention_mask": tf.ones((3, 5, 5), bool)}
    elif how == "in part":
        arguments = {"attention_mask": tf.fill((1, 5, 5), 0.5)}
    elif how == "tensor":
        x, mask = inputs = [keras.Input((5, 6)), keras.Input((5, 5), dtype="int32")]
        arguments = {"attention_mask": mask}
    elif how == "plane":
        x = inputs = keras.Input((3, 5, 6))
        options = {"attention_axes": (1, 2)}
    else:
        options = {"output_shape": (2, 3)}
    y = layers.MultiHeadAttention(2, 3, **options)(x, x, **arguments)
    assert "MultiHeadAttention" in kinds(keras.Model(inputs, y))


def test_products_of_matrices_have_one_form():
    a, b = keras.Input((5, 6)), keras.Input((7, 6))
    y = [tf.matmul(a, b, transpose_b=True), tf.matmul(a, b, False, True)]
    y += [tf.linalg.matmul(a, a, True), a @ tf.transpose(b, (0, 2, 1))]
    y.append(tf.matmul(a, b, adjoint_b=True))
    model = keras.Model([a, b], y)
    graph = normalize(LayerGraph.from_model(model))
    forms = [c.kwargs for _, c, s in graph.in_order() if s.kind == "TFOpLambda"]
    options = [sorted(set(form) - {"b"}) for form in forms]
    assert options == [["transpose_b"], ["transpose_b"], ["transpose_a"], [], ["transpose_b"]]
    assert_same(model)


def test_dot_layers_are_products():
    a, b, u, v = (keras.Input(shape) for shape in ((5, 6), (5, 6), (6,), (6,)))
    pooled, scores = layers.Attention()([a, b], return_attention_scores=True)
    y = [layers.Dot(axes)([a, b]) for axes in (2, 1, (-1, 2))]
    y += [layers.Dot(1)([u, v]), layers.Dot((2, 1))([a, layers.Permute((2, 1))(b)])]
    y += [pooled, scores, layers.Attention(dropout=0.2)([a, b, layers.Dense(6)(a)])]
    y.append(layers.Attention(use_scale=True)([a, b]))
    model = randomize(keras.Model([a, b, u, v], y))
    assert not {"Dot", "Attention"} & set(kinds(model))
    assert_same(model)
    kept = [layers.Attention(score_mode="concat")([a, b])]
    assert "Attention" in kinds(keras.Model([a, b], kept))


def test_added_scores_are_a_sum_and_a_dense_layer():
    a, b = keras.Input((5, 6)), keras.Input((7, 6))
    attention = layers.AdditiveAttention(use_scale=False, dropout=0.1)
    y = [layers.AdditiveAttention(name="added")([a, b]), attention([b, a, layers.Dense(6)(a)])]
    y += layers.AdditiveAttention()([a, b], return_attention_scores=True)
    model = randomize(keras.Model([a, b], y))
    assert "AdditiveAttention" not in kinds(model)
    assert_same(model)
    score = normalize(LayerGraph.from_model(model)).layers["added_score"]
    np.testing.assert_array_equal(
        score.arrays()["kernel"].ravel(), model.get_layer("added").get_weights()[0]
    )


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("second", "axis"), [((5,), 1), ((5, 3), 1), ((4, 5), 2)])
@pytest.mark.parametrize(("first", "other"), [((5,), 1), ((5, 2), 1), ((6, 5), -1)])
def test_dot_of_vectors_and_matrices(first, other, second, axis, normalize):
    a, b = keras.Input(first), keras.Input(second)
    model = keras.Model([a, b], layers.Dot((other, axis), normalize)([a, b]))
    assert "Dot" not in kinds(model)
    assert_same(model)


def test_softmax_along_any_axis():
    x = keras.Input((4, 3, 5))
    y = [layers.Softmax(axis)(x) for axis in (1, 2, 3, -3, [2])]
    model = keras.Model(x, [layers.Activation("relu")(part) for part in y])
    graph = normalize(LayerGraph.from_model(model))
    axes = [spec.config["axis"] for spec in graph.layers.values() if spec.kind == "Softmax"]
    assert axes == [-1] * 5
    assert_same(model)


def test_masks_are_followed_as_far_as_keras_hands_them_on():
    inputs = keras.Input((7,))
    words = layers.Embedding(9, 4, mask_zero=True, name="words")(inputs)
    kept = layers.Dropout(0.1, name="dropout")(layers.Dense(3, name="dense")(words))
    dropped = layers.Conv1D(3, 2, name="conv")(kept)
    mean = layers.GlobalAveragePooling1D(name="mean")(kept)
    plain = layers.GlobalAveragePooling1D(name="plain")(dropped)
    model = keras.Model(inputs, [layers.Dense(2, name="head")(mean), plain])
    graph = LayerGraph.from_model(model)
    assert masked_layers(graph) == dict.fromkeys(("dense", "dropout", "conv", "mean"), "words")
    assert mask_readers(graph) == {"mean": "words"}
    for name, mask in (("dropout", True), ("conv", False), ("mean", False)):  # Keras' own word
        assert (getattr(model.get_layer(name).output, "_keras_mask", None) is not None) == mask
