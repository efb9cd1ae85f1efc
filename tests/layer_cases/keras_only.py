"""Networks with layers that compute in float between quantized tensors; the export refuses them."""

from tests.layer_cases.table import case, chain


@case("keras")
def conv_3d(keras, layers):
    return chain(
        keras,
        layers.Conv3D(4, 2, activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling3D(2),
        layers.Conv3D(3, 1, padding="same"),
        layers.GlobalAveragePooling3D(),
        shape=(5, 6, 5, 2),
    )


@case("keras", tokens=11)
def recurrent(keras, layers):
    """Tokens of which 0 stands for nothing: masks reach every layer that asks for one."""
    x = inputs = keras.Input((7,))
    x = layers.Embedding(11, 6, mask_zero=True)(x)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    x, state = layers.GRU(5, return_sequences=True, return_state=True)(x)
    y = layers.SimpleRNN(3)(x, initial_state=layers.Dense(3)(state))
    return keras.Model(inputs, [layers.Dense(2)(y), layers.GlobalAveragePooling1D()(x)])


@case("keras")
def normed_attention(keras, layers):
    """The output of the second attention has two axes more, so it stays one layer."""
    x = inputs = keras.Input((5, 6))
    y = layers.MultiHeadAttention(2, 3)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    attention = layers.MultiHeadAttention(1, 4, output_shape=(3, 2))
    y, scores = attention(x, y, return_attention_scores=True, use_causal_mask=True)
    return keras.Model(inputs, [layers.GlobalAveragePooling2D()(y), scores])


@case("keras")
def group_normalization(keras, layers):
    return chain(
        keras, layers.Conv2D(6, 3), layers.GroupNormalization(3), layers.Activation("silu"),
        layers.Conv2D(4, 1), layers.GroupNormalization(-1, scale=False), shape=(6, 5, 3),
    )  # fmt: skip


@case("keras")
def time_distributed(keras, layers):
    x = inputs = keras.Input((4, 8, 6, 3))
    x = layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu"))(x)
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D())(x)
    x = layers.Masking(-1.0)(x)
    return keras.Model(inputs, layers.LSTM(3)(x))
