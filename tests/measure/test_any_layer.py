"""Networks that cannot be quantized are counted all the same; figures worked out by hand."""

import pytest

import tfxp
from tfxp.cost import CostSettings, cost_report
from tfxp.keras import keras, layers
from tfxp.measure import uncounted_layers
from tfxp.precision import PrecisionMap


def chain(shape, *stack):
    return keras.Sequential([layers.Input(shape), *stack])


def attention():
    x = inputs = layers.Input((7, 6))
    x = layers.MultiHeadAttention(2, 3)(x, x)
    x = layers.LayerNormalization(center=False, scale=False)(x)  # what is left folds
    return keras.Model(inputs, layers.Dense(2)(x))


def gated():
    x = inputs = layers.Input((7, 6))
    gate = layers.Dense(6, activation="sigmoid")(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Multiply()([x, gate])))


def shared():
    layer = layers.GRU(4, return_sequences=True)
    first, second = layers.Input((5, 3)), layers.Input((5, 3))
    return keras.Model([first, second], layers.Subtract()([layer(first), layer(second)]))


CASES = {
    "conv1d": (lambda: chain((20, 4), layers.Conv1D(8, 3), layers.GlobalAveragePooling1D(),
                             layers.Dense(2)), 18 * 8 * 3 * 4 + 16),
    "conv3d": (lambda: chain((6, 6, 6, 2), layers.Conv3D(4, 3), layers.Flatten()),
               4**3 * 4 * 27 * 2),
    "grouped": (lambda: chain((9, 4), layers.Conv1D(6, 3, groups=2), layers.ELU()), 7 * 6 * 3 * 2),
    "transposed": (lambda: chain((8, 8, 3), layers.Conv2DTranspose(4, 3)), 64 * 9 * 3 * 4),
    "separable": (lambda: chain((9, 4), layers.SeparableConv1D(5, 3)), 7 * (3 * 4 + 4 * 5)),
    "lstm": (lambda: chain((7, 5), layers.LSTM(4)), 7 * (5 * 16 + 4 * 16)),
    "gru": (shared, 2 * 5 * (3 * 12 + 4 * 12)),
    "both ways": (lambda: chain((7, 5), layers.Bidirectional(layers.SimpleRNN(4))),
                  2 * (7 * 5 * 4 + 6 * 4 * 4)),  # the first step has no state
    "embedding": (lambda: chain((7,), layers.Embedding(10, 6), layers.Flatten(), layers.Dense(2)),
                  42 * 2),
    "attention": (attention, 4 * 7 * 36 + 2 * 7 * 7 * 6 + 7 * 12),
    "gated": (gated, 7 * 36 + 7 * 12),
    "by time": (lambda: chain((7, 6), layers.TimeDistributed(layers.Dense(3)), layers.Softmax(),
                              layers.Permute((2, 1))), 7 * 18),
    "einsum": (lambda: chain((7, 6), layers.EinsumDense("abc,cde->abde", (None, 2, 3))),
               7 * 6 * 6),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_work_and_parameters(name):
    make, macs = CASES[name]
    model = make()
    stats = tfxp.count_model(model)
    assert stats.macs == macs
    report = cost_report(stats, PrecisionMap.uniform(4, 8), CostSettings(batch_size=8))
    assert report.total("parameters") == model.count_params()
    assert report.total("traffic_batch_bits") > 0
    assert uncounted_layers(stats) == []


def test_traffic_of_a_recurrent_network():
    model = chain((7, 5), layers.LSTM(4, name="r"), layers.Dense(2, name="d"))
    report = cost_report(tfxp.count_model(model), PrecisionMap.uniform(8, 8))
    # read 35 and 4, written 4 and 2, one byte each; biases of 32 bits
    weights = 8 * (5 * 16 + 4 * 16 + 8) + 32 * (16 + 2)
    assert report.total("traffic_bits") == 8 * (35 + 4 + 4 + 2) + weights
    assert report.total("input_read_bits") == 8 * 35


def test_unknown_work_is_said():
    @keras.utils.register_keras_serializable("tests")
    class Mystery(keras.layers.Layer):
        def build(self, shape):
            self.table = self.add_weight("table", (shape[-1], 3))

        def call(self, x):
            return x @ self.table

    stats = tfxp.count_model(chain((4,), Mystery(name="what"), layers.Dense(2)))
    assert uncounted_layers(stats) == ["what"]
    assert stats.macs == 6 and stats["what"].weight_count == 12
