"""Networks that are exported: softmax inside, attention, words by number."""

import numpy as np

from tests.layer_cases.table import case
from tfxp.keras import tf


@case()
def softmax_inside(keras, layers):
    """Attention over the steps of a sequence, and a gate per position."""
    x = inputs = keras.Input((12, 4))
    x = layers.Conv1D(6, 3, activation="relu")(x)
    weights = layers.Softmax(axis=1)(layers.Dense(1)(x))
    pooled = layers.GlobalAveragePooling1D()(layers.Multiply()([x, weights]))
    gate = layers.Dense(6, activation="softmax")(pooled)
    return keras.Model(inputs, [layers.Dense(3)(layers.Multiply()([pooled, gate])), gate])


# --- products of matrices ------------------------------------------------------------------------


@case()
def attention(keras, layers):
    """Self attention and cross attention; scores are an output."""
    x = inputs = keras.Input((5, 6))
    y = layers.MultiHeadAttention(2, 3, name="self")(x, x)
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.MultiHeadAttention(1, 4, value_dim=3, use_bias=False)(x, y, x)
    y, scores = layers.MultiHeadAttention(2, 4, dropout=0.1)(
        x, inputs, return_attention_scores=True
    )
    return keras.Model(inputs, [layers.GlobalAveragePooling1D()(y), scores])


@case()
def scored_attention(keras, layers):
    """Scores with a learned scale, and scores that are added rather than multiplied."""
    x = inputs = keras.Input((5, 6))
    key = layers.Dense(6, activation="relu")(x)
    x = layers.Attention(use_scale=True)([x, key])
    y, scores = layers.AdditiveAttention()([x, key], return_attention_scores=True)
    return keras.Model(inputs, [layers.Dense(3)(y), scores])


# --- tokens --------------------------------------------------------------------------------------


@case(tokens=50)
def text_classifier(keras, layers):
    """Words by number; one table read twice."""
    x = inputs = keras.Input((9,))
    table = layers.Embedding(50, 6)
    x = layers.Concatenate()([table(x), table(layers.Reshape((9,))(x))])
    x = layers.GlobalAveragePooling1D()(layers.Conv1D(5, 3, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x))


@case(tokens=30)
def recommender(keras, layers):
    """What a user may like, by the products of vectors that stand for either."""
    user, items = keras.Input((1,)), keras.Input((6,))
    x = layers.Embedding(30, 8)(user)
    y = layers.Embedding(40, 8)(items)
    liked = layers.Dot(1)([layers.Flatten()(x), layers.GlobalAveragePooling1D()(y)])
    return keras.Model([user, items], [layers.Dot(2)([y, layers.Attention()([x, y])]), liked])


# --- constants -----------------------------------------------------------------------------------


@case()
def constants(keras, layers):
    """Tensors of a sample's shape: positions, a weight per step, a window; in either order."""
    rng = np.random.default_rng(3)
    positions, window = (rng.normal(size=(6, 4)).astype(np.float32) for _ in range(2))
    steps = np.array([1, 1, 0.5, 0.25, 0, 0], np.float32)[:, None]
    x = inputs = keras.Input((6, 4))
    a = layers.ReLU()(layers.Dense(4)(x) + positions) * window
    minus = keras.ops.subtract if hasattr(keras, "ops") else tf.subtract
    b = minus(positions[None], layers.Dense(4)(x)) * steps
    column = layers.Dense(1)(b) - positions
    return keras.Model(inputs, [layers.Dense(3)(a), b / (2.0 + steps), column])


@case(tokens=20)
def positions(keras, layers):
    """Words and their places, which an embedding of a fixed range gives; one on an image's axes."""
    x = inputs = keras.Input((6,))
    y = layers.Embedding(20, 4)(x)
    y = y + layers.Embedding(6, 4)(np.arange(6))
    y = layers.Dense(4, activation="relu")(y) + layers.Embedding(9, 4)(np.arange(6)[None])
    z = layers.Reshape((2, 3, 4))(y) * np.float32([[0.5], [1.5], [-1.0]])
    return keras.Model(inputs, [layers.GlobalAveragePooling1D()(y), layers.Conv2D(3, 2)(z)])


# --- normalization -------------------------------------------------------------------------------


@case()
def layer_norm(keras, layers):
    """Behind sums, in front of several readers, on images, without scale; lengths and means."""
    x = inputs = keras.Input((6, 8))
    x = layers.LayerNormalization()(layers.Dense(8)(x))
    y = layers.Add()([layers.Dense(8, activation="relu")(x), x])
    image = layers.Reshape((2, 3, 8))(layers.LayerNormalization(epsilon=1e-6)(y))
    image = layers.LayerNormalization(scale=False)(layers.Conv2D(5, 2, padding="same")(image))
    vector = layers.LayerNormalization(center=False)(layers.Flatten()(y))
    return keras.Model(inputs, [layers.Dense(3)(image), layers.UnitNormalization()(vector)])


@case(tokens=5)
def masked_attention(keras, layers):
    """Attention to the words before, of which 0 stands for nothing, and the mean of the others."""
    words = keras.Input((6,))
    x = layers.Embedding(5, 6, mask_zero=True)(words)
    y = layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    x = layers.GlobalAveragePooling1D()(layers.Add()([x, y]))
    return keras.Model(words, layers.Dense(3)(x))


@case(tokens=30)
def transformer(keras, layers):
    """A text classifier: words and places, attention and a dense block with norms behind them."""
    words = keras.Input((7,))
    x = layers.Embedding(30, 8)(words) + layers.Embedding(7, 8)(np.arange(7))
    y = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, y]))
    y = layers.Dense(8)(layers.Dense(12, activation="relu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, layers.Dropout(0.1)(y)]))
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(words, layers.Dense(3, activation="softmax")(x))
