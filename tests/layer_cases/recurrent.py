"""Networks that are exported: LSTM layers."""

from tests.layer_cases.table import SEQUENCE, case, chain


@case()
def lstm(keras, layers):
    """One on top of the other, behind a convolution; two outputs."""
    x = inputs = keras.Input(SEQUENCE)
    x = layers.Conv1D(5, 3, activation="relu")(x)
    x = layers.LSTM(6, return_sequences=True)(x)
    y = layers.LSTM(4, dropout=0.2, recurrent_dropout=0.1)(x)
    return keras.Model(inputs, [layers.Dense(3)(y), layers.Conv1D(2, 2, activation="relu")(x)])


@case()
def lstm_alone(keras, layers):
    return chain(keras, layers.LSTM(7, use_bias=False, return_sequences=True), shape=(9, 3))


@case()
def lstm_both_directions(keras, layers):
    """Steps that are read from the end, alone and beside those from the start."""
    x = inputs = keras.Input(SEQUENCE)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    y = layers.LSTM(5, return_sequences=True, go_backwards=True)(x)
    back = layers.LSTM(3, go_backwards=True, use_bias=False)
    merged = layers.Bidirectional(layers.LSTM(3), merge_mode="sum", backward_layer=back)(y)
    return keras.Model(inputs, [layers.Dense(3)(merged), layers.Dense(2)(y)])


@case(tokens=20)
def text_lstm(keras, layers):
    """Words by number, read one after the other."""
    embedding = layers.Embedding(20, 6)
    return chain(keras, embedding, layers.LSTM(5), layers.Dense(3, "softmax"), shape=(8,))
