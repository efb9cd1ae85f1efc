"""Networks that are exported: recurrent layers."""

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


@case()
def gru(keras, layers):
    """States that start another layer, both forms of the candidate, a sequence from its end."""
    x = inputs = keras.Input((2, 4))
    x, state = layers.GRU(3, return_sequences=True, return_state=True, name="first")(x)
    x = layers.GRU(3, return_sequences=True, name="second")(x, initial_state=state)
    back = layers.GRU(2, reset_after=False, go_backwards=True, return_sequences=True)(x)
    plain = layers.GRU(4, activation="relu", use_bias=False)
    return keras.Model(inputs, [layers.Dense(3)(plain(back)), layers.Dense(2)(back)])


@case()
def simple_rnn(keras, layers):
    x = inputs = keras.Input((2, 4))
    x = layers.SimpleRNN(5, activation="relu", dropout=0.2, return_sequences=True)(x)
    x = layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True))(x)
    y = layers.Bidirectional(layers.GRU(2), merge_mode="ave")(x)
    return keras.Model(inputs, [layers.Dense(3)(y), layers.SimpleRNN(2)(x)])


@case()
def encoder_decoder(keras, layers):
    """States of one LSTM start another."""
    source, target = keras.Input((3, 3)), keras.Input((2, 3))
    _, hidden, cell = layers.LSTM(4, return_state=True)(source)
    back = layers.LSTM(3, activation="relu", return_sequences=True)
    y = layers.LSTM(4, return_sequences=True)(target, initial_state=[hidden, cell])
    y = layers.Bidirectional(back)(y)
    return keras.Model([source, target], layers.TimeDistributed(layers.Dense(2))(y))


@case()
def film(keras, layers):
    """Pictures one after the other: a small network for each, and an LSTM for all."""
    each = layers.TimeDistributed
    x = inputs = keras.Input((3, 7, 6, 2))
    x = each(layers.Conv2D(4, 3, activation="relu"))(x)
    x = each(layers.MaxPooling2D())(x)
    x = each(layers.SeparableConv2D(3, 2, use_bias=False))(x)
    x = each(layers.ReLU())(each(layers.BatchNormalization())(x))
    x = each(layers.Dense(4))(each(layers.Flatten())(x))
    return keras.Model(inputs, [layers.LSTM(3)(x), each(layers.Dense(2, activation="tanh"))(x)])


@case()
def film_network(keras, layers):
    """A network with a branch inside; its outputs are pooled over time."""
    picture = keras.Input((6, 5, 2))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(picture))
    x = layers.Add()([x, layers.Conv2D(4, 3, padding="same", activation="relu")(x)])
    network = keras.Model(picture, layers.GlobalAveragePooling2D()(x))
    return chain(
        keras, layers.TimeDistributed(network), layers.GlobalMaxPooling1D(), layers.Dense(2),
        shape=(4, 6, 5, 2),
    )  # fmt: skip


@case(tokens=20)
def text_lstm(keras, layers):
    """Words by number, read one after the other."""
    embedding = layers.Embedding(20, 6)
    return chain(keras, embedding, layers.LSTM(5), layers.Dense(3, "softmax"), shape=(8,))
