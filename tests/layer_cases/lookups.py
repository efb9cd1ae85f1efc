"""Networks that are exported: softmax inside, attention, words by number."""

from tests.layer_cases.table import case


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
